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
from compiler.passes.conv_site import ConvSite, conv_site
from compiler.passes.draft import Draft
from compiler.passes.result import Skip
from compiler.passes.rewrite_constant_branch import draft_constant_branch, rewrite_constant_branch
from tests.support.models import model_from_text, ops, run

COST = CostModel(BUILT_IN, "fp32")
FREE_NODES = CostModel(replace(BUILT_IN, node=0.0), "fp32")


def network(
    spread: str = "Resize<mode = 'linear'>(g, , , size)",
    *,
    conv: str = "",
    kernel: str = "3, 3",
    plane: str = "8, 8",
    channels: int = 4,
    groups: int = 1,
    more: str = "",
    small: str = "2, 4, 1, 1",
) -> str:
    text = f"""<ir_version: 9, opset_import: ["" : 17]>
    net (float[{small}] g, int64[4] dynamic) => (float[?, ?, ?, ?] y)
    <int64[4] size = {{2, 4, {plane}}}, int64[4] repeats = {{1, 1, {plane}}},
     float[4] area = {{0.0, 0.0, 1.0, 1.0}}, float low = {{0.0}}, float high = {{1.0}},
     float[6, {channels // groups}, {kernel}] w, float[6] b>
    {{ m = {spread} {more} y = Conv<group = {groups}{conv}>({"f" if more else "m"}, w, b) }}"""
    return text.replace("'", '"')


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def rewritten(text: str, cost: CostModel = FREE_NODES) -> gs.Graph:
    """The graph after the pass, proved equal to the one before it."""
    graph = graph_of(text)
    result = rewrite_constant_branch(graph, cost=cost)
    assert (result.changed, result.skipped) == (1, [])
    assert_equal(text, graph)
    return graph


def assert_equal(text: str, graph: gs.Graph) -> None:
    after = to_model(graph)
    check_model(after)
    before = model_from_text(text)
    rng = np.random.default_rng(5)
    shape = [size.dim_value for size in before.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"g": rng.normal(size=shape).astype("f4"), "dynamic": np.ones(4, np.int64)}
    (expected,), (actual,) = run(before, feeds), run(after, feeds)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * np.ptp(expected)


def test_without_padding_the_output_is_constant_too() -> None:
    graph = rewritten(network(conv=", strides = [2, 1]"))
    assert ops(graph) == ["Conv", "Expand"]
    assert graph.nodes[0].inputs[1].shape == (6, 4, 1, 1)
    assert total_macs(graph) == 2 * 6 * 4


def test_zero_padding_leaves_three_kinds_of_rows_and_columns() -> None:
    graph = rewritten(network(conv=", pads = [1, 1, 1, 1]"))
    assert ops(graph) == ["Conv", "Reshape", "MatMul", "MatMul"]
    assert graph.nodes[0].outputs[0].shape == [2, 9 * 6, 1, 1]
    assert total_macs(graph) == 2 * 6 * (9 * 4 + 3 * 3 * 8 + 3 * 8 * 8)


@pytest.mark.parametrize("pads", [[1, 0, 0, 0], [0, 2, 0, 0]])
def test_an_axis_without_padding_needs_no_one_hot_map(pads: list[int]) -> None:
    graph = rewritten(network(conv=f", pads = {pads}", kernel="3, 3"))
    assert ops(graph) == ["Conv", "Reshape", "MatMul", "Expand"]


@pytest.mark.parametrize(
    "spread",
    [
        "Resize<mode = 'nearest'>(g, , , size)",
        "Resize<mode = 'cubic'>(g, , , size)",
        "Resize<mode = 'linear', coordinate_transformation_mode = 'align_corners'>(g, , , size)",
        "Expand(g, size)",
        "Tile(g, repeats)",
    ],
)
def test_whatever_spreads_a_map_of_one_value_makes_it_constant(spread: str) -> None:
    assert ops(rewritten(network(spread))) == ["Conv", "Expand"]


def test_pointwise_functions_are_computed_before_spreading() -> None:
    graph = rewritten(network(more="c = Clip(m, low, high) f = LeakyRelu<alpha = 0.5>(c)"))
    assert ops(graph) == ["Clip", "LeakyRelu", "Conv", "Expand"]
    assert graph.nodes[1].outputs[0].shape == [2, 4, 1, 1]


def test_a_chain_of_convolutions_collapses() -> None:
    text = network(more="r = Conv(m, k) f = Relu(r)").replace(
        "float[6] b", "float[6] b, float[4, 4, 3, 3] k"
    )
    graph = graph_of(text)
    assert rewrite_constant_branch(graph, cost=FREE_NODES).changed == 2
    assert ops(graph) == ["Conv", "Relu", "Conv", "Expand"]
    assert_equal(text, graph)


def test_an_output_of_one_pixel_is_not_spread() -> None:
    assert ops(rewritten(network(plane="3, 3"))) == ["Conv"]


@pytest.mark.parametrize(
    "text",
    [
        network("Abs(g)", small="2, 4, 8, 8"),
        network(small="2, 4, 1, 2"),
        network(more="f = Cast<to = 1>(m)"),
        network(more="c = Shape(g) d = Cast<to = 1>(c) e = ReduceMax(d) f = Clip(m, , e)"),
        network("Expand(g, dynamic)"),
        network(
            "Resize<mode = 'linear', coordinate_transformation_mode = 'tf_crop_and_resize'>"
            "(g, area, , size)"
        ),
        network("Expand(g, size)", small="2, 1, 1, 1"),
    ],
)
def test_what_is_not_constant_or_not_known_to_be_is_left_alone(text: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = rewrite_constant_branch(graph, cost=FREE_NODES)
    assert (result.changed, result.skipped, ops(graph)) == (0, [], before)


def test_nothing_is_drafted_for_a_map_that_is_not_constant() -> None:
    graph = graph_of(network("Abs(g)", small="2, 4, 8, 8"))
    site, draft = conv_site(graph.nodes[-1]), Draft(graph, "y")
    assert isinstance(site, ConvSite)
    assert draft_constant_branch(draft, site) == "its input is not spatially constant"
    assert draft.nodes == []


def test_a_convolution_that_cannot_be_rewritten_is_reported() -> None:
    graph = graph_of(network(conv=", auto_pad = 'SAME_UPPER'"))
    result = rewrite_constant_branch(graph, cost=FREE_NODES)
    assert result.skipped == [Skip("y", "it pads by auto_pad = SAME_UPPER")]


def test_the_cost_model_decides() -> None:
    text = network(conv=", pads = [1, 1, 1, 1]")
    slow_matmul = CostModel(replace(BUILT_IN, node=0.0, matmul_float=1.0), "fp32")
    graph = graph_of(text)
    result = rewrite_constant_branch(graph, cost=slow_matmul)
    assert ops(graph) == ["Resize", "Conv"]
    assert [skip.where for skip in result.skipped] == ["y"]
    assert result.skipped[0].reason.startswith("it would not pay: 0.0 MMAC in 0.0")


@settings(max_examples=40, deadline=None)
@given(
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    plane=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    transformation=st.sampled_from(
        ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    ),
)
def test_random_convolutions_of_constant_maps_are_exact(
    pads: list[int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    plane: tuple[int, int],
    groups: int,
    mode: str,
    transformation: str,
) -> None:
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    assume(all(plane[i] + pads[i] + pads[i + 2] >= reach[i] for i in (0, 1)))
    assume(max(plane) > 1)
    text = network(
        f"Resize<mode = '{mode}', coordinate_transformation_mode = '{transformation}'>"
        "(g, , , size)",
        conv=f", pads = {pads}, strides = {list(strides)}, dilations = {list(dilations)}",
        kernel=f"{kernel[0]}, {kernel[1]}",
        plane=f"{plane[0]}, {plane[1]}",
        groups=groups,
    )
    graph = graph_of(text)
    generous = CostModel(
        replace(BUILT_IN, node=0.0, byte=0.0, resize_float=1e6, resize_plain=1e6), "fp32"
    )
    result = rewrite_constant_branch(graph, cost=generous)
    assert (result.changed, result.skipped) == (1, [])
    assert_equal(text, graph)
