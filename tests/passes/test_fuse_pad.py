import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.fuse_pad import fuse_pad
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

MINUS_INFINITY = str(float(np.finfo(np.float32).min))


def network(
    reader: str,
    *,
    pads: str = "0, 0, 1, 2, 0, 0, 0, 1",
    value: str = "0.0",
    pad: str = "Pad(x, pads, value)",
    opset: int = 17,
    more: str = "",
    outputs: str = "float[1, ?, ?, ?] y",
    axes: str = "2, 3",
) -> str:
    count, axis_count = len(pads.split(",")), len(axes.split(","))
    return f"""<ir_version: 9, opset_import: ["" : {opset}]>
    g (float[1, 4, 9, 9] x, int64[{count}] dynamic) => ({outputs})
    <int64[{count}] pads = {{{pads}}}, float value = {{{value}}}, float[6, 4, 3, 3] w,
     int64[{axis_count}] axes = {{{axes}}}, float low = {{0.0}}, float high = {{6.0}}>
    {{ {more} p = {pad}  y = {reader} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_folds(text: str, left: list[str]) -> gs.Graph:
    graph = graph_of(text)
    result = fuse_pad(graph)
    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (1, [])
    model = model_from_text(text)
    x = np.random.default_rng(1).normal(size=(1, 4, 9, 9)).astype(np.float32)
    count = model.graph.input[1].type.tensor_type.shape.dim[0].dim_value
    feeds = {"x": x, "dynamic": np.zeros(count, np.int64)}
    assert_close(run(after, feeds), run(model, feeds), rtol=1e-5, atol=1e-5)
    return graph


def assert_stays(text: str, reason: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = fuse_pad(graph)
    assert result.skipped == [Skip("p", reason)]
    assert (result.changed, ops(graph)) == (0, before)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", [1, 2, 0, 1]),
        ("<pads = [1, 1, 1, 1], strides = [2, 2]>", [2, 3, 1, 2]),
        ('<auto_pad = "VALID">', [1, 2, 0, 1]),
    ],
)
def test_zero_padding_adds_to_the_pads_of_conv(attributes: str, expected: list[int]) -> None:
    graph = assert_folds(network(f"Conv{attributes}(p, w)"), ["Conv"])
    assert graph.nodes[0].attrs["pads"] == expected
    assert "auto_pad" not in graph.nodes[0].attrs


def test_the_value_may_be_left_out() -> None:
    assert_folds(network("Conv(p, w)", pad="Pad(x, pads)"), ["Conv"])


def test_axes_of_opset_18_are_understood() -> None:
    text = network("Conv(p, w)", pads="1, 2, 0, 1", pad="Pad(x, pads, , axes)", opset=18)
    graph = assert_folds(text, ["Conv"])
    assert graph.nodes[0].attrs["pads"] == [1, 2, 0, 1]


def test_negative_axes_are_understood() -> None:
    text = network(
        "Conv(p, w)", pads="1, 2, 0, 1", pad="Pad(x, pads, , axes)", opset=18, axes="-1, -2"
    )
    assert assert_folds(text, ["Conv"]).nodes[0].attrs["pads"] == [2, 1, 1, 0]


def test_axes_of_a_tensor_of_unknown_rank_stay() -> None:
    graph = graph_of(network("Conv(p, w)", pads="1, 2, 0, 1", pad="Pad(x, pads, , axes)", opset=18))
    graph.inputs[0].shape = None
    assert fuse_pad(graph).skipped == [Skip("p", "the rank of 'x' is unknown")]


@pytest.mark.parametrize(
    ("pool", "count"),
    [
        ("AveragePool<kernel_shape = [3, 4]>(p)", 1),
        ("AveragePool<kernel_shape = [3, 4], strides = [2, 2]>(p)", 1),
        ("AveragePool<kernel_shape = [4, 4], pads = [1, 1, 1, 1], count_include_pad = 1>(p)", 1),
    ],
)
def test_zero_padding_is_counted_by_average_pools(pool: str, count: int) -> None:
    graph = assert_folds(network(pool), ["AveragePool"])
    assert graph.nodes[0].attrs["count_include_pad"] == count


@pytest.mark.parametrize("value", ["-inf", MINUS_INFINITY])
def test_padding_with_the_lowest_value_adds_to_the_pads_of_max_pools(value: str) -> None:
    text = network("MaxPool<kernel_shape = [3, 3], strides = [2, 2]>(p)", value="0.0")
    graph = graph_of(text)
    graph.tensors()["value"].values = np.array(float(value), np.float32)
    before = to_model(graph)
    assert fuse_pad(graph).changed == 1
    assert_close(run(to_model(graph)), run(before), rtol=0, atol=0)


@pytest.mark.parametrize("producer", ["Relu(x)", "Abs(x)", "Clip(x, low, high)"])
def test_zero_padding_goes_into_max_pools_of_tensors_that_are_not_negative(producer: str) -> None:
    text = network(
        "MaxPool<kernel_shape = [3, 3]>(p)", more=f"r = {producer}", pad="Pad(r, pads, value)"
    )
    assert_folds(text, [producer.partition("(")[0], "MaxPool"])


CONV, AVERAGE, MAX = (
    "Conv(p, w)",
    "AveragePool<kernel_shape = [3, 3]",
    "MaxPool<kernel_shape = [3, 3]",
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(CONV, pad='Pad<mode = "reflect">(x, pads)'), "its mode is reflect"),
        (network(CONV, pad="Pad(x, dynamic)"), "not constant: dynamic"),
        (network(CONV, pads="0, 0, -1, 0, 0, 0, 1, 0"), "it crops: a pad is negative"),
        (
            network(CONV, pads="0, 0, 1, 0, 1, 0, 1, 0"),
            "it pads the batch or channel axis",
        ),
        (network(CONV, value="0.5"), "it pads with 0.5, Conv with 0"),
        (network("Relu(p)"), "its reader Relu cannot pad"),
        (
            network('Conv<auto_pad = "SAME_UPPER">(p, w)'),
            "Conv pads by auto_pad = SAME_UPPER",
        ),
        (
            network(CONV + " z = Relu(p)", outputs="float[1,?,?,?] y, float[1,?,?,?] z"),
            "'p' has another reader",
        ),
        (network(CONV, outputs="float[1,?,?,?] y, float[1,?,?,?] p"), "'p' has another reader"),
        (network(f"{AVERAGE}, ceil_mode = 1>(p)"), "AveragePool rounds up or has dilations"),
        (network(f"{MAX}, dilations = [2, 2]>(p)"), "MaxPool rounds up or has dilations"),
        (
            network(f"{AVERAGE}>(p)", pads="0, 0, 3, 0, 0, 0, 0, 0"),
            "the pads would reach the kernel of AveragePool",
        ),
        (network(f"{AVERAGE}>(p)", value="1.0"), "it pads with 1, AveragePool with 0"),
        (
            network("AveragePool<kernel_shape = [4, 4], pads = [1, 1, 1, 1]>(p)"),
            "AveragePool does not count its own pads",
        ),
        (network(f"{MAX}>(p)"), "it pads with 0, MaxPool with -inf"),
        (
            network(f"{MAX}>(p)", more="r = Clip(x)", pad="Pad(r, pads, value)"),
            "it pads with 0, MaxPool with -inf",
        ),
    ],
)
def test_what_must_stay_is_left_alone_and_reported(text: str, reason: str) -> None:
    # An output of batch 2 contradicts the declared shape only where the batch is padded.
    if "batch" in reason:
        text = text.replace("float[1, ?, ?, ?] y", "float[?, ?, ?, ?] y")
    assert_stays(text, reason)


def test_a_max_pool_with_indices_stays() -> None:
    text = network("Relu(p)").replace("y = Relu(p)", "y, i = MaxPool<kernel_shape = [3, 3]>(p)")
    assert_stays(text, "MaxPool yields indices")


def test_a_padded_weight_is_not_padding_of_the_data() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 1, 9, 9] x, float[1, 1, 1, 1] k) => (float[1, 1, 7, 7] y)
    <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}> { p = Pad(k, pads)  y = Conv(x, p) }"""
    assert_stays(text, "its reader Conv cannot pad")


@settings(max_examples=30, deadline=None)
@given(
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    own=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    strides=st.integers(1, 3),
    reader=st.sampled_from(["Conv", "AveragePool", "MaxPool"]),
)
def test_random_paddings_fold_exactly(
    pads: list[int], own: list[int], strides: int, reader: str
) -> None:
    """Kernels of the pools are larger than all pads together."""
    attributes = f"pads = {own}, strides = [{strides}, {strides}]"
    counted = f"kernel_shape = [6, 6], count_include_pad = 1, {attributes}"
    layer = {
        "Conv": f"Conv<{attributes}>(p, w)",
        "AveragePool": f"AveragePool<{counted}>(p)",
        "MaxPool": f"MaxPool<kernel_shape = [6, 6], {attributes}>(p)",
    }[reader]
    top, left, bottom, right = pads
    text = network(
        layer,
        more="r = Relu(x)",
        pad="Pad(r, pads, value)",
        pads=f"0, 0, {top}, {left}, 0, 0, {bottom}, {right}",
    )
    assert_folds(text, ["Relu", reader])
