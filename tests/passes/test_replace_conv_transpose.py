from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel, Precision
from compiler.cost.work import total_macs
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.replace_conv_transpose import replace_conv_transpose
from compiler.passes.result import Skip
from tests.support.machines import FREE
from tests.support.models import model_from_text, ops, run
from tests.support.rewrites import rewritten

SHUFFLE = ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]


def network(
    attributes: str = "kernel_shape = [2, 2], strides = [2, 2]",
    *,
    x: str = "2, 4, 5, 3",
    w: str = "4, 6, 2, 2",
    inputs: str = "x, w, b",
) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[{x}] x, float[{w}] dynamic) => (float[?, ?, ?, ?] y)
    <float[{w}] w, float[6] b> {{ y = ConvTranspose<{attributes}>({inputs}) }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_replaced(text: str, precision: Precision = "int8") -> gs.Graph:
    graph = graph_of(text)
    before = to_model(graph)
    x = np.random.default_rng(1).normal(size=graph.inputs[0].shape).astype(np.float32)
    feeds = {"x": x, "dynamic": np.zeros(graph.inputs[1].shape, np.float32)}
    (expected,) = run(before, feeds)
    result = replace_conv_transpose(graph, cost=CostModel(FREE, precision))
    assert (result.changed, result.skipped) == (1, [])
    assert "ConvTranspose" not in ops(graph)
    infer_shapes(graph)
    after = to_model(graph)
    check_model(after)
    (actual,) = run(after, feeds)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1.0, np.ptp(expected)))
    return graph


def test_a_kernel_as_large_as_its_strides_is_one_conv_in_int8() -> None:
    graph = assert_replaced(network())
    assert ops(graph) == ["Conv", *SHUFFLE]
    assert graph.nodes[0].inputs[1].shape == (4 * 6, 4, 1, 1)
    assert total_macs(graph) == total_macs(graph_of(network())) == 4 * 4 * 6 * 2 * 5 * 3


def test_in_float32_phases_are_interleaved_by_concat() -> None:
    graph = assert_replaced(network(), "fp32")
    names = ops(graph)
    assert [names.count(op) for op in ("Conv", "Concat", "Reshape")] == [4, 3, 7]
    assert len(names) == 14
    assert total_macs(graph) == total_macs(graph_of(network()))


@pytest.mark.parametrize(
    ("attributes", "kernel", "expected"),
    [
        # 4 taps at stride 2: 2x2 for each phase, and a row and a column to crop.
        ("strides = [2, 2], pads = [1, 1, 1, 1]", "4, 4", [(24, 4, 2, 2)]),
        # 3 taps at stride 2: other phases have other taps.
        (
            "strides = [2, 2], pads = [1, 1, 1, 1]",
            "3, 3",
            [(6, 4, 1, 1), (6, 4, 1, 2), (6, 4, 2, 1), (6, 4, 2, 2)],
        ),
        ("strides = [1, 1], pads = [1, 0, 2, 1]", "3, 2", [(6, 4, 3, 2)]),
        ("strides = [1, 2], output_padding = [0, 1]", "3, 2", [(12, 4, 3, 1)]),
        ('strides = [2, 2], auto_pad = "VALID"', "2, 2", [(24, 4, 1, 1)]),
        # Every other row and column is the bias alone.
        ("strides = [2, 2]", "1, 1", [(6, 4, 1, 1)] * 4),
    ],
)
def test_every_form_is_exact(attributes: str, kernel: str, expected: list[tuple[int, ...]]) -> None:
    text = network(attributes, w=f"4, 6, {kernel}")
    graph = assert_replaced(text)
    assert [node.inputs[1].shape for node in graph.nodes if node.op == "Conv"] == expected
    assert_replaced(text, "fp32")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_groups_and_an_absent_bias_are_kept(precision: Precision) -> None:
    text = network("strides = [2, 2], group = 2", w="4, 3, 2, 2", inputs="x, w")
    graph = assert_replaced(text, precision)
    convs = [node for node in graph.nodes if node.op == "Conv"]
    assert {node.attrs["group"] for node in convs} == {2}
    assert {len(node.inputs) for node in convs} == {2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(inputs="x, dynamic"), "its weights are not constant"),
        (network("strides = [2, 2], dilations = [2, 2]"), "it has dilations"),
        (
            network('strides = [2, 2], auto_pad = "SAME_UPPER"'),
            "its pads follow from its output_shape or auto_pad",
        ),
        (
            network("strides = [2, 2], output_shape = [10, 6]"),
            "its pads follow from its output_shape or auto_pad",
        ),
    ],
)
def test_what_must_stay_is_left_alone_and_reported(text: str, reason: str) -> None:
    graph = graph_of(text)
    result = replace_conv_transpose(graph, cost=CostModel(FREE, "int8"))
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])
    assert ops(graph) == ["ConvTranspose"]


def test_one_dimension_and_unknown_sizes_stay() -> None:
    text = network("strides = [2]", x="1, 4, 5", w="4, 6, 2").replace("?, ?, ?, ?", "?, ?, ?")
    result = replace_conv_transpose(graph_of(text), cost=CostModel(FREE, "int8"))
    assert result.skipped == [Skip("y", "it is not two-dimensional")]
    graph = graph_of(network())
    graph.inputs[0].shape = ["N", 4, 5, 3]
    result = replace_conv_transpose(graph, cost=CostModel(FREE, "int8"))
    assert result.skipped == [Skip("y", "its shapes are not static")]


def test_the_cost_decides() -> None:
    """A Conv computes on integers, where ConvTranspose converts to float32 and back."""
    graph = graph_of(network())
    dear = replace(FREE, node=1.0)
    result = replace_conv_transpose(graph, cost=CostModel(dear, "int8"))
    (skip,) = result.skipped
    assert skip.reason.startswith("it would not pay: 0.0 MMAC in ")
    assert (result.changed, ops(graph)) == (0, ["ConvTranspose"])

    large = network(x="1, 256, 32, 32", w="256, 6, 2, 2")
    result = replace_conv_transpose(graph_of(large), cost=CostModel(BUILT_IN, "int8"))
    assert (result.changed, result.skipped) == (1, [])


@settings(max_examples=60, deadline=None)
@given(
    strides=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    size=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    group=st.sampled_from([1, 2]),
    precision=st.sampled_from(["fp32", "int8"]),
)
def test_random_forms_are_replaced_exactly(
    strides: tuple[int, int],
    kernel: tuple[int, int],
    pads: list[int],
    size: tuple[int, int],
    padding: tuple[int, int],
    group: int,
    precision: Precision,
) -> None:
    for axis in (0, 1):
        cropped = pads[axis] + pads[2 + axis]
        assume(padding[axis] < strides[axis])
        full = (size[axis] - 1) * strides[axis] + kernel[axis] + padding[axis]
        assume(full > cropped)
    attributes = (
        f"strides = {list(strides)}, pads = {pads}, output_padding = {list(padding)}, "
        f"group = {group}"
    )
    assert_replaced(
        network(
            attributes,
            x=f"1, 4, {size[0]}, {size[1]}",
            w=f"4, {6 // group}, {kernel[0]}, {kernel[1]}",
        ),
        precision,
    )


def test_a_phase_that_sees_nothing_of_the_input_yields_the_bias() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 1, 1, 10] x) => (float y) <float[1, 2, 3, 3] w, float[2] b>
    { y = ConvTranspose<strides = [2, 2], pads = [2, 2, 0, 2]>(x, w, b) }"""
    for precision in ("fp32", "int8"):
        _, result = rewritten(text, replace_conv_transpose, FREE, precision)
        assert result.changed == 1
