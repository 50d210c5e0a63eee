from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel, Precision
from compiler.cost.work import total_macs
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.compose_conv_transpose import (
    compose_conv_transpose,
    draft_composed_transpose,
)
from compiler.passes.conv_site import conv_site
from compiler.passes.draft import Draft
from compiler.passes.fold_constants import fold_constants
from compiler.passes.result import Skip
from tests.support.machines import FREE
from tests.support.models import model_from_text, ops, run


def network(
    transpose: str = "strides = [2, 2]",
    conv: str = "pads = [1, 1, 1, 1]",
    *,
    x: str = "2, 4, 5, 3",
    kernels: tuple[str, str] = ("2, 2", "3, 3"),
    groups: tuple[int, int] = (1, 1),
    inputs: str = "x, t, tb",
) -> str:
    inner, outer = groups
    shape = f"4, {6 // inner}, {kernels[0]}"
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[{x}] x, float[{shape}] dynamic) => (float[?, ?, ?, ?] y)
    <float[{shape}] t, float[6] tb, float[8, {6 // outer}, {kernels[1]}] w, float[8] b>
    {{ u = ConvTranspose<{transpose}, group = {inner}>({inputs})
       y = Conv<{conv}, group = {outer}>(u, w, b) }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def run_graph(graph: gs.Graph) -> NDArray[np.float64]:
    feeds = {
        tensor.name: np.random.default_rng(1).normal(size=tensor.shape).astype(np.float32)
        for tensor in graph.inputs
    }
    (result,) = run(to_model(graph), feeds)
    return result.astype(np.float64)


def assert_composed(text: str, precision: Precision = "fp32") -> gs.Graph:
    graph = graph_of(text)
    expected = run_graph(graph)
    result = compose_conv_transpose(graph, cost=CostModel(FREE, precision))
    assert (result.changed, result.skipped) == (1, [])
    assert "ConvTranspose" not in ops(graph)
    infer_shapes(graph)
    check_model(to_model(graph))
    actual = run_graph(graph)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1.0, np.ptp(expected)))
    return graph


def macs(*products: int) -> int:
    """Multiply-accumulates of `products` per pixel of the small map and pair of channels."""
    transpose, conv, composed = products
    return (transpose * 4 * 6 + conv * 6 * 8 + composed * 4 * 8) * 2 * 5 * 3


def test_four_convs_of_the_small_map_take_the_place_of_both() -> None:
    text = network()
    assert total_macs(graph_of(text)) == macs(4, 36, 0)
    graph = assert_composed(text)
    assert total_macs(graph) == macs(0, 0, 16)
    assert [n.inputs[1].shape for n in graph.nodes if n.op == "Conv"] == [(8, 4, 2, 2)] * 4


def test_in_int8_it_is_one_conv() -> None:
    graph = assert_composed(network(), "int8")
    shuffle = [*["Transpose", "Reshape"] * 2, "Slice", "Transpose"]
    assert [op for op in ops(graph) if op != "Gather"] == ["Conv", *shuffle, "Add"]
    assert total_macs(graph) == 16 * 4 * 8 * 2 * (5 + 1) * (3 + 1)


def test_the_bias_of_the_border_is_stored_once_for_every_kind_of_row_and_column() -> None:
    graph = assert_composed(network())
    (first, second) = (node for node in graph.nodes if node.op == "Gather")
    assert first.inputs[0].shape == (1, 8, 3, 3)
    border = np.abs(first.inputs[0].values).sum(axis=(0, 1))
    assert np.count_nonzero(border) == 8  # the rows and columns between the edges need none
    assert second.outputs[0].shape == [1, 8, 10, 6]
    assert fold_constants(graph, limit=10**6).changed == 2


@pytest.mark.parametrize(
    ("text", "adds"),
    [
        (network(inputs="x, t"), 0),
        (network(conv="pads = [0, 0, 0, 0]"), 0),
        (network(conv="pads = [0, 1, 0, 0]"), 1),
        (network(kernels=("2, 2", "1, 1"), conv="pads = [0, 0, 0, 0]"), 0),
    ],
)
def test_only_a_bias_beside_padding_needs_a_map(text: str, adds: int) -> None:
    assert ops(assert_composed(text)).count("Add") == adds


@pytest.mark.parametrize("kernel", ["3, 3", "4, 2", "1, 1"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_any_kernel_and_output_padding_compose(kernel: str, precision: Precision) -> None:
    text = network("strides = [2, 2], output_padding = [1, 0]", kernels=(kernel, "3, 2"))
    assert_composed(text, precision)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(inputs="x, dynamic"), "ConvTranspose '{}': its weights are not constant"),
        (network("strides = [2, 2], pads = [0, 1, 0, 0]"), "the ConvTranspose crops its result"),
        (network(conv="strides = [2, 1]"), "it has strides or dilations"),
        (network(conv="dilations = [2, 1]"), "it has strides or dilations"),
        (network(conv='auto_pad = "SAME_UPPER"'), "it pads by auto_pad = SAME_UPPER"),
        (network(groups=(2, 1)), "it or the ConvTranspose has groups"),
        (network(groups=(1, 2)), "it or the ConvTranspose has groups"),
    ],
)
def test_what_must_stay_is_left_alone_and_reported(text: str, reason: str) -> None:
    graph = graph_of(text)
    result = compose_conv_transpose(graph, cost=CostModel(FREE, "fp32"))
    assert result.skipped == [Skip("y", reason.format(graph.nodes[0].name))]
    assert (result.changed, ops(graph)) == (0, ["ConvTranspose", "Conv"])


def test_a_conv_of_something_else_is_not_even_reported() -> None:
    graph = graph_of("""<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 4, 5, 5] x) => (float[?, ?, ?, ?] y) <float[6, 4, 3, 3] w>
    { r = Relu(x) y = Conv(r, w) }""")
    result = compose_conv_transpose(graph, cost=CostModel(FREE, "fp32"))
    assert (result.changed, result.skipped) == (0, [])
    site = conv_site(graph.nodes[1])
    assert not isinstance(site, str)
    draft = Draft(graph, "y")
    assert draft_composed_transpose(draft, site) == "its input comes from no ConvTranspose"


def test_one_part_of_a_concat_is_drafted_without_the_bias_of_the_conv() -> None:
    """The Conv is the sum of its parts: that of `skip` is the Conv itself where x is 0."""
    graph = graph_of("""<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 4, 3, 3] x, float[1, 2, 6, 6] skip) => (float[?, ?, ?, ?] y)
    <float[4, 6, 2, 2] t, float[8, 8, 3, 3] w, float[8] b>
    { u = ConvTranspose<strides = [2, 2]>(x, t)
      c = Concat<axis = 1>(skip, u)
      y = Conv<pads = [1, 1, 1, 1]>(c, w, b) }""")
    rng = np.random.default_rng(0)
    x, skip = (rng.normal(size=shape).astype("f4") for shape in [(1, 4, 3, 3), (1, 2, 6, 6)])
    before = to_model(graph)
    (whole,) = run(before, {"x": x, "skip": skip})
    (of_skip,) = run(before, {"x": 0 * x, "skip": skip})
    site = conv_site(graph.nodes[2])
    assert not isinstance(site, str)
    draft = Draft(graph, "y")
    y = draft_composed_transpose(draft, site.part(graph.nodes[0].outputs[0], 2, bias=False))
    assert isinstance(y, gs.Variable)
    graph.nodes.extend(draft.nodes)
    graph.outputs = [y]
    (of_x,) = run(to_model(graph), {"x": x, "skip": skip})
    np.testing.assert_allclose(of_x + of_skip, whole, rtol=0, atol=2e-5)


def test_the_cost_decides() -> None:
    text = network(x="1, 4, 32, 32")
    arithmetic = replace(FREE, conv_float=1.0)
    graph = graph_of(text)
    assert compose_conv_transpose(graph, cost=CostModel(arithmetic, "fp32")).changed == 1

    graph = graph_of(text)
    before = ops(graph)
    result = compose_conv_transpose(graph, cost=CostModel(replace(BUILT_IN, byte=1.0), "fp32"))
    (skip,) = result.skipped
    assert skip.reason.startswith("it would not pay: 0.5 MMAC in ")
    assert (result.changed, ops(graph)) == (0, before)


@settings(max_examples=60, deadline=None)
@given(
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    inner=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    outer=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    pads=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    precision=st.sampled_from(["fp32", "int8"]),
)
def test_random_pairs_are_composed_exactly(
    strides: tuple[int, int],
    inner: tuple[int, int],
    outer: tuple[int, int],
    pads: list[int],
    size: tuple[int, int],
    precision: Precision,
) -> None:
    for axis in (0, 1):
        middle = (size[axis] - 1) * strides[axis] + inner[axis]
        assume(middle + pads[axis] + pads[2 + axis] >= outer[axis])
    text = network(
        f"strides = {list(strides)}",
        f"pads = {pads}",
        x=f"1, 4, {size[0]}, {size[1]}",
        kernels=(f"{inner[0]}, {inner[1]}", f"{outer[0]}, {outer[1]}"),
    )
    assert_composed(text, precision)
