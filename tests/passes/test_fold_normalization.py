import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.fold_normalization import fold_normalization
from compiler.passes.result import Skip
from tests.support.models import model_from_text, ops, run

MEANS = "float[1, 3, 1, 1] m = {123.675, 116.28, 103.53}"
PADDED = "Conv<pads = [1, 1, 1, 1]>(s, w, b)"


def network(
    conv: str = PADDED,
    *,
    normalize: str = "s = Sub(f, m)",
    means: str = MEANS,
    kernel: str = "6, 3, 3, 3",
    shape: str = "1, 3, 8, 6",
    pixels: str = "uint8",
) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g ({pixels}[{shape}] x, float[{kernel}] v) => (float[?, 6, ?, ?] y)
    <float[{kernel}] w, float[6] b, {means}, float[3, 1, 1] k = {{0.017, 0.018, -0.02}}>
    {{ f = Cast<to = 1>(x) {normalize} y = {conv} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_folds(text: str, count: int = 1) -> gs.Graph:
    graph = graph_of(text)
    result = fold_normalization(graph)
    assert (result.changed, result.skipped) == (count, [])
    after = to_model(graph)
    check_model(after)
    before = model_from_text(text)
    random = np.random.default_rng(0)
    shapes = [
        [size.dim_value for size in one.type.tensor_type.shape.dim] for one in before.graph.input
    ]
    feeds = {
        "x": random.integers(0, 256, shapes[0], np.uint8),
        "v": random.normal(size=shapes[1]).astype(np.float32),
    }
    for actual, expected in zip(run(after, feeds), run(before, feeds), strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    return graph


def test_a_fourth_channel_marks_the_padding_and_nothing_is_subtracted() -> None:
    graph = assert_folds(network())
    assert ops(graph) == ["Pad", "Concat", "Cast", "Conv"]
    (conv,) = (node for node in graph.nodes if node.op == "Conv")
    assert conv.inputs[1].shape == (6, 4, 3, 3)
    assert conv.attrs["pads"] == [0, 0, 0, 0]
    (concat,) = (node for node in graph.nodes if node.op == "Concat")
    ring = concat.inputs[1].values
    assert ring.dtype == np.uint8
    assert ring[0, 0, 0].tolist() == [255] * 8
    assert ring[0, 0, 1].tolist() == [255, *[0] * 6, 255]
    assert fold_normalization(graph).changed == 0


@given(
    data=st.data(),
    pads=st.tuples(*[st.integers(0, 3)] * 4).filter(any),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    dilations=st.tuples(*[st.integers(1, 2)] * 2),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    channels=st.integers(1, 4),
    bias=st.booleans(),
    batch=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_any_padded_convolution_is_the_same_up_to_rounding(
    data: st.DataObject,
    pads: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    kernel: tuple[int, int],
    channels: int,
    bias: bool,
    batch: int,
) -> None:
    height, width = (data.draw(st.integers(7, 12)) for _ in range(2))
    mean = data.draw(st.lists(st.integers(1, 2550), min_size=channels, max_size=channels))
    attrs = f"pads = {list(pads)}, strides = {list(strides)}, dilations = {list(dilations)}"
    text = network(
        f"Conv<{attrs}>(s, w{', b' if bias else ''})",
        kernel=f"6, {channels}, {kernel[0]}, {kernel[1]}",
        shape=f"{batch}, {channels}, {height}, {width}",
        means=f"float[1, {channels}, 1, 1] m = {{{', '.join(str(value / 10) for value in mean)}}}",
    )
    assert_folds(text)


def test_one_mean_for_all_channels_will_do() -> None:
    assert_folds(network(means="float m = {127.5}"))


def test_a_scale_that_still_stands_before_it_is_folded_too() -> None:
    graph = assert_folds(network(normalize="c = Sub(f, m) s = Mul(c, k)"))
    assert ops(graph) == ["Pad", "Concat", "Cast", "Conv"]


def test_every_convolution_that_reads_the_pixels_is_folded() -> None:
    normalize = "s = Sub(f, m) p = Conv<pads = [1, 1, 1, 1]>(s, w)"
    text = network(normalize=f"{normalize} q = {PADDED}", conv="Add(p, q)")
    graph = assert_folds(text, 2)
    assert "Sub" not in ops(graph)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network("Conv<pads = [1, 1, 1, 1]>(s, v)"), "its weights are not constant"),
        (
            network("Conv<pads = [1, 1, 1, 1], group = 3>(s, w, b)", kernel="6, 1, 3, 3"),
            "it has groups",
        ),
        (
            network(means="float[1, 3, 8, 6] m"),
            "it is not normalized by one constant per channel",
        ),
        (
            network(normalize="a = Abs(m) s = Sub(f, a)"),
            "it is not normalized by one constant per channel",
        ),
        (
            network(normalize="c = Sub(f, m) s = Mul(c, c)"),
            "it is not normalized by one constant per channel",
        ),
    ],
)
def test_what_cannot_be_folded_stays_with_a_reason(text: str, reason: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = fold_normalization(graph)
    assert result.skipped == [Skip("y", reason)]
    assert (result.changed, ops(graph)) == (0, before)


@pytest.mark.parametrize(
    "text",
    [
        network(pixels="int32"),
        network("Conv(s, w, b)"),
        network(normalize="s = Add(f, m)"),
        network(normalize="t = Relu(f) s = Sub(t, m)"),
    ],
)
def test_other_convolutions_are_no_sites(text: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = fold_normalization(graph)
    assert (result.changed, result.skipped, ops(graph)) == (0, [], before)
