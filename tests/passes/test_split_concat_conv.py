from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel
from compiler.cost.work import total_macs
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.result import Skip
from compiler.passes.split_concat_conv import split_concat_conv
from tests.support.models import model_from_text, ops, run

SLOW_CONV = CostModel(replace(BUILT_IN, node=0.0, conv_float=1.0), "fp32")
FREE_BYTES = CostModel(replace(SLOW_CONV.machine, byte=0.0), "fp32")
PADDED = "pads = [1, 1, 1, 1]"
SPREAD = "Resize<mode = 'linear'>({}, , , size)"


def network(
    nodes: str = "u = Resize<mode = 'linear'>(g, , , size) m = Concat<axis = 1>(x, u)",
    *,
    conv: str = "",
    kernel: str = "1, 1",
    channels: int = 7,
    size: int = 9,
    outputs: str = "",
) -> str:
    """x has 3 channels of size x size pixels; g, a map of 4 values, and h are 1x1."""
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    net (float[2, 3, {size}, {size}] x, float[2, 4, 1, 1] g, float[2, 4, 1, 1] h)
    => (float[?, ?, ?, ?] y{outputs})
    <int64[4] size = {{2, 4, {size}, {size}}}, float[6, {channels}, {kernel}] w, float[6] b>
    {{ {nodes} y = Conv{conv and f"<{conv}>"}(m, w, b) }}""".replace("'", '"')


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def split(text: str, cost: CostModel = SLOW_CONV) -> gs.Graph:
    """The graph after the pass, proved equal to the one before it."""
    graph = graph_of(text)
    result = split_concat_conv(graph, cost=cost)
    assert (result.changed, result.skipped) == (1, [])
    after = to_model(graph)
    check_model(after)
    for actual, expected in zip(run(after), run(model_from_text(text)), strict=True):
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= 1e-5 * np.ptp(expected)
    return graph


def test_a_constant_operand_becomes_a_map_of_one_pixel_that_is_added() -> None:
    graph = split(network())
    assert sorted(ops(graph)) == ["Add", "Conv", "Conv"]
    assert graph.nodes[-1].outputs[0].name == "y"
    assert total_macs(graph) == 2 * 6 * (3 * 81 + 4)


def test_the_convolution_that_stays_bears_the_bias() -> None:
    graph = split(network())
    inputs = {node.outputs[0].shape[-1]: len(node.inputs) for node in graph.nodes[:-1]}
    assert inputs == {1: 2, 9: 3}


def test_the_operands_that_stay_are_concatenated() -> None:
    nodes = f"u = {SPREAD.format('g')} a = Abs(x) m = Concat<axis = -3>(x, u, a)"
    graph = split(network(nodes, channels=10))
    concat = next(node for node in graph.nodes if node.op == "Concat")
    assert [tensor.name for tensor in concat.inputs] == ["x", "a"]


def test_concatenations_of_concatenations_are_looked_into() -> None:
    nodes = f"u = {SPREAD.format('g')} n = Concat<axis = 1>(u, x) m = Concat<axis = 1>(x, n)"
    graph = split(network(nodes, channels=10))
    assert sorted(ops(graph)) == ["Add", "Concat", "Conv", "Conv"]


def test_a_concatenation_that_others_read_is_one_operand() -> None:
    nodes = f"u = {SPREAD.format('g')} n = Concat<axis = 1>(u, x) m = Concat<axis = 1>(x, n)"
    graph = graph_of(network(nodes, channels=10, outputs=", float[?, ?, ?, ?] n"))
    result = split_concat_conv(graph, cost=SLOW_CONV)
    assert (result.changed, result.skipped) == (0, [])


@pytest.mark.parametrize("kernel", ["1, 1", "3, 3"])
def test_constant_operands_alone_need_one_bias_and_no_full_convolution(kernel: str) -> None:
    nodes = f"u = {SPREAD.format('g')} v = {SPREAD.format('h')} m = Concat<axis = 1>(u, v)"
    graph = split(network(nodes, channels=8, kernel=kernel))
    assert ops(graph) == ["Conv", "Conv", "Add", "Expand"]
    assert sorted(len(node.inputs) for node in graph.nodes[:2]) == [2, 3]


def test_small_terms_are_added_before_the_convolution() -> None:
    nodes = f"u = {SPREAD.format('g')} v = {SPREAD.format('h')} m = Concat<axis = 1>(u, x, v)"
    graph = split(network(nodes, channels=11))
    adds = [node for node in graph.nodes if node.op == "Add"]
    assert [node.outputs[0].shape[2:] for node in adds] == [[1, 1], [9, 9]]


def test_an_operand_that_does_not_pay_stays() -> None:
    """Both need slow MatMuls; only the Resize of h dies for it, that of g has another reader."""
    nodes = (
        f"u = {SPREAD.format('g')} v = {SPREAD.format('h')} z = Relu(u)"
        " m = Concat<axis = 1>(u, x, v)"
    )
    machine = replace(BUILT_IN, node=0.0, matmul_float=1.0, resize_float=1e3, resize_plain=1e3)
    text = network(nodes, channels=11, kernel="3, 3", conv=PADDED, outputs=", float[?, ?, ?, ?] z")
    graph = split(text, CostModel(machine, "fp32"))
    concat = next(node for node in graph.nodes if node.op == "Concat")
    assert [tensor.name for tensor in concat.inputs] == ["u", "x"]


def test_the_cost_model_decides() -> None:
    slow_matmul = CostModel(replace(BUILT_IN, node=0.0, matmul_float=1.0), "fp32")
    graph = graph_of(network(kernel="3, 3", conv=PADDED))
    result = split_concat_conv(graph, cost=slow_matmul)
    assert (result.changed, ops(graph)) == (0, ["Resize", "Concat", "Conv"])
    assert [skip.where for skip in result.skipped] == ["y"]
    assert result.skipped[0].reason.startswith("it would not pay: 0.0 MMAC in 0.0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(conv="auto_pad = 'SAME_LOWER'"), "it pads by auto_pad = SAME_LOWER"),
        (
            network(
                f"u = {SPREAD.format('g')} v = {SPREAD.format('h')} m = Concat<axis = 1>(u, v)",
                channels=4,
                conv="group = 2",
            ),
            "it has groups",
        ),
    ],
)
def test_convolutions_that_cannot_be_split_are_reported(text: str, reason: str) -> None:
    graph = graph_of(text)
    assert split_concat_conv(graph, cost=SLOW_CONV).skipped == [Skip("y", reason)]


@pytest.mark.parametrize(
    "text",
    [
        network("m = Concat<axis = 1>(x, x)", channels=6),
        network("m = Concat<axis = 2>(x, x)", channels=3),
        network("m = Relu(x)", channels=3),
        network("m = Concat<axis = 1>(x)", channels=3),
    ],
)
def test_convolutions_with_nothing_to_win_are_passed_over(text: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = split_concat_conv(graph, cost=SLOW_CONV)
    assert (result.changed, result.skipped, ops(graph)) == (0, [], before)


@pytest.mark.parametrize(
    "upsample",
    [
        "Resize<mode = 'linear', coordinate_transformation_mode = 'align_corners'>(x, , twice)",
        "Resize<mode = 'cubic'>(x, , twice)",
        "Resize<mode = 'nearest', coordinate_transformation_mode = 'asymmetric',"
        " nearest_mode = 'floor'>(x, , twice)",
        "ConvTranspose<strides = [2, 2]>(x, t, c)",
    ],
)
def test_upsampled_operands_are_convolved_at_low_resolution(upsample: str) -> None:
    nodes = f"u = {upsample} r = Tile(x, repeats) m = Concat<axis = 1>(r, u)"
    text = network(nodes, channels=6, kernel="3, 3", conv=PADDED, size=6)
    more = """float[4] twice = {1.0, 1.0, 2.0, 2.0}, int64[4] repeats = {1, 1, 2, 2},
     float[3, 3, 2, 2] t, float[3] c, float[6, 6, 3, 3] w"""
    text = text.replace("float[6, 6, 3, 3] w", more)
    graph = split(text, FREE_BYTES)
    assert {"Resize", "ConvTranspose"}.isdisjoint(ops(graph))
    staying = [node for node in graph.nodes if node.inputs[0].name == "r"]
    assert [(node.op, len(node.inputs)) for node in staying] == [("Conv", 3)]


@settings(max_examples=25, deadline=None)
@given(
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.integers(1, 2),
    dilations=st.integers(1, 2),
    operands=st.permutations(["x", "u", "v", "x"]),
    count=st.integers(2, 4),
)
def test_random_splits_are_exact(
    pads: list[int],
    kernel: tuple[int, int],
    strides: int,
    dilations: int,
    operands: list[str],
    count: int,
) -> None:
    taken = operands[:count]
    assume({"u", "v"} & set(taken))
    text = network(
        f"u = {SPREAD.format('g')} w0 = {SPREAD.format('h')} v = Relu(w0)"
        f" m = Concat<axis = 1>({', '.join(taken)})",
        channels=sum(3 if name == "x" else 4 for name in taken),
        kernel=f"{kernel[0]}, {kernel[1]}",
        conv=f"pads = {pads}, strides = [{strides}, {strides}], "
        f"dilations = [{dilations}, {dilations}]",
    )
    split(text, FREE_BYTES)
