from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cost.machine import BUILT_IN, Machine
from compiler.cost.model import CostModel
from compiler.cost.work import total_macs
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.graph.query import only_reader
from compiler.passes.conv_site import conv_site
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip
from compiler.passes.rewrite_resize_conv import draft_resize_conv, rewrite_resize_conv
from tests.support.models import model_from_text, ops, run

ALWAYS = replace(BUILT_IN, node=1e4, resize_float=1e9, resize_plain=1e9, resize_cubic=1e9)
"""Resize takes so long that everything is rewritten, and nodes so long that one band is best."""
BANDED = replace(ALWAYS, node=0.0, byte=0.0, matmul_float=1.0)
"""Only arithmetic takes time, so that many bands are best."""
SLOW_NODES = replace(BUILT_IN, node=1e6)

LINEAR = 'mode = "linear"'
CUBIC = 'mode = "cubic"'


def network(
    *,
    shape: str = "1, 4, 5, 6",
    weight: str = "6, 4, 3, 3",
    attributes: str = "pads = [1, 1, 1, 1]",
    resize: str = LINEAR,
    sizes: str = "1, 4, 10, 12",
    bias: bool = True,
    before: str = "",
) -> str:
    outputs = weight.split(",")[0]
    return f"""<ir_version: 9, opset_import: ["" : 19]>
    g (float[{shape}] x) => (float[?, ?, ?, ?] y)
    <float[{weight}] w, float[{outputs}] b, int64[4] sizes = {{{sizes}}}>
    {{ {before} u = Resize<{resize}>(x, , , sizes)
       y = Conv<{attributes}>(u, w{", b" if bias else ""}) }}"""


def rewritten(
    text: str, machine: Machine = ALWAYS, *, error: float = 2e-6
) -> tuple[gs.Graph, PassResult]:
    """The network after the pass; its output must have stayed, to `error` of the range."""
    before = model_from_text(text)
    graph = to_graph(before)
    infer_shapes(graph)
    result = rewrite_resize_conv(graph, cost=CostModel(machine, "fp32"))
    after = to_model(graph)
    check_model(after)
    (expected,), (actual,) = run(before), run(after)
    assert np.abs(actual - expected).max() <= error * np.abs(expected).max()
    return graph, result


def test_a_conv_runs_at_low_resolution_and_two_products_interpolate() -> None:
    graph, result = rewritten(network())
    assert (result.changed, result.skipped) == (1, [])
    compute = [node.op for node in graph.nodes if node.op != "Reshape"]
    assert compute == ["Conv", "MatMul", "Transpose", "MatMul"]
    mix = 4 * 54 * 5 * 6
    rows, columns = 3 * 6 * 10 * (3 * 5) * 6, 6 * 10 * (3 * 6) * 12
    assert total_macs(graph) == mix + rows + columns


@st.composite
def networks(draw: st.DrawFn) -> str:
    side = st.integers(1, 7)
    batch, groups, inputs, outputs = (draw(st.integers(1, limit)) for limit in (2, 2, 3, 3))
    low = draw(side), draw(side)
    high = tuple(size + draw(st.integers(1, 13)) for size in low)
    strides, dilations = ([draw(st.integers(1, 2)), draw(st.integers(1, 2))] for _ in range(2))
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    kernel = [
        draw(st.integers(1, min(3, 1 + (size + first + last - 1) // step)))
        for size, first, last, step in zip(high, pads[:2], pads[2:], dilations, strict=True)
    ]
    modes = [LINEAR, CUBIC, 'mode = "nearest"']
    transformations = ["half_pixel", "align_corners", "asymmetric"]
    resize = (
        draw(st.sampled_from(modes))
        + ", coordinate_transformation_mode = "
        + draw(st.sampled_from([f'"{one}"' for one in transformations]))
    )
    return network(
        shape=f"{batch}, {groups * inputs}, {low[0]}, {low[1]}",
        weight=f"{groups * outputs}, {inputs}, {kernel[0]}, {kernel[1]}",
        attributes=f"pads = {pads}, strides = {strides}, dilations = {dilations}, group = {groups}",
        resize=resize,
        sizes=f"{batch}, {groups * inputs}, {high[0]}, {high[1]}",
    )


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from([ALWAYS, BANDED]))
def test_random_sites_keep_their_output(text: str, machine: Machine) -> None:
    assert rewritten(text, machine)[1].changed == 1


def test_a_kernel_of_one_column_needs_no_transpose() -> None:
    graph, _ = rewritten(network(weight="6, 4, 3, 1", attributes="pads = [1, 0, 1, 0]"))
    assert [node.op for node in graph.nodes if node.op != "Reshape"] == ["Conv", "MatMul", "MatMul"]


def test_a_tap_that_stays_inside_carries_the_bias() -> None:
    assert "Add" not in ops(rewritten(network())[0])


def test_a_bias_is_added_where_every_tap_leaves_the_map() -> None:
    graph, _ = rewritten(network(weight="6, 4, 1, 1", attributes="pads = [1, 1, 1, 1]"))
    assert ops(graph)[-1] == "Add"
    graph, _ = rewritten(network(weight="6, 4, 1, 1", attributes="pads = [1, 1, 1, 1]", bias=False))
    assert "Add" not in ops(graph)


def test_bands_are_used_where_arithmetic_is_dear_and_nodes_are_cheap() -> None:
    text = network(shape="1, 4, 32, 32", sizes="1, 4, 64, 64")
    graph, _ = rewritten(text, BANDED)
    assert ops(graph).count("MatMul") == ops(graph).count("Slice") == 2 * 32
    assert ops(graph).count("Concat") == 2
    assert ops(rewritten(text, ALWAYS)[0]).count("MatMul") == 2


def test_resizes_in_a_row_are_taken_as_one() -> None:
    text = network(before='v = Resize<mode = "cubic">(x, , , sizes)', sizes="1, 4, 10, 12").replace(
        "(x, , , sizes)\n", "(v, , two)\n"
    )
    text = text.replace("<float[6, 4", "<float[4] two = {1.0, 1.0, 2.0, 2.0}, float[6, 4")
    graph, _ = rewritten(text)
    assert "Resize" not in ops(graph)
    assert graph.nodes[0].inputs[0].name == "x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(sizes="1, 4, 5, 5"), "its Resize does not enlarge"),
        (network(resize=f"{LINEAR}, antialias = 1"), "its Resize filters (antialias)"),
        (network(attributes='auto_pad = "SAME_UPPER"'), "it pads by auto_pad = SAME_UPPER"),
    ],
)
def test_what_cannot_be_rewritten_is_reported(text: str, reason: str) -> None:
    graph, result = rewritten(text)
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])
    assert ops(graph) == ["Resize", "Conv"]


def test_the_cost_model_decides() -> None:
    text = network(shape="1, 64, 8, 8", weight="8, 64, 3, 3", sizes="1, 64, 32, 32")
    assert rewritten(text, BUILT_IN)[1].changed == 1
    graph, result = rewritten(text, SLOW_NODES)
    assert ops(graph) == ["Resize", "Conv"]
    (skip,) = result.skipped
    assert skip.where == "y"
    assert skip.reason.startswith("it would not pay: 0.6 MMAC in")
    assert "instead of 4.7 MMAC in" in skip.reason


def test_a_conv_of_something_else_is_no_site() -> None:
    text = """<ir_version: 9, opset_import: ["" : 19]>
    g (float[1, 4, 5, 6] x) => (float[?, ?, ?, ?] y) <float[6, 4, 3, 3] w>
    { r = Relu(x)  y = Conv(r, w) }"""
    graph, result = rewritten(text)
    assert (result.changed, result.skipped) == (0, [])
    (conv,) = [node for node in graph.nodes if node.op == "Conv"]
    site = conv_site(conv)
    assert not isinstance(site, str)
    draft = Draft(graph, "y")
    new = draft_resize_conv(draft, site, CostModel(BUILT_IN, "fp32"))
    assert (new, draft.nodes) == ("its input is not resized", [])
    assert only_reader(graph, conv.inputs[0]) is conv
