"""The form of Conv after Resize that int8 builds use; `rewrite_resize_conv` chooses it."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.cost.machine import Machine
from compiler.passes.rewrite_resize_conv import rewrite_resize_conv
from tests.support.models import ops
from tests.support.rewrites import machine, rewritten

ARITHMETIC = machine(conv_int8=1.0, matmul_int8_left=0.1, resize_plain=1.0, resize_int8=1.0)
FEW_NODES = machine(conv_int8=1.0, resize_plain=1.0, resize_int8=1.0, node=1e-3)
LINEAR = 'mode = "linear"'


def network(
    resize: str = LINEAR,
    *,
    size: tuple[int, int] = (8, 6),
    to: tuple[int, int] = (16, 12),
    kernel: tuple[int, int] = (3, 3),
    conv: str = "pads = [1, 1, 1, 1]",
    group: int = 1,
) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 4, {size[0]}, {size[1]}] x) => (float[?, ?, ?, ?] y)
    <int64[4] sizes = {{2, 4, {to[0]}, {to[1]}}},
     float[6, {4 // group}, {kernel[0]}, {kernel[1]}] w,
     float[6] b>
    {{ u = Resize<{resize}>(x, , , sizes)
       y = Conv<{conv}, group = {group}>(u, w, b) }}"""


def test_channels_are_mixed_first_and_interpolated_between_transposes() -> None:
    graph, result = rewritten(network(), rewrite_resize_conv, FEW_NODES, "int8")
    assert (result.changed, result.skipped) == (1, [])
    assert [op for op in ops(graph) if op != "Reshape"] == [
        "Conv",
        "Transpose",
        "Transpose",
        "MatMul",
        "MatMul",
        "Transpose",
    ]
    assert graph.nodes[0].inputs[1].shape == (54, 4, 1, 1)


def test_products_are_cut_into_strips_where_arithmetic_costs() -> None:
    graph, _ = rewritten(network(), rewrite_resize_conv, ARITHMETIC, "int8")
    assert ops(graph).count("MatMul") == 20
    assert ops(graph).count("Concat") == 2


@pytest.mark.parametrize("costs", [FEW_NODES, ARITHMETIC], ids=["dense", "strips"])
@settings(deadline=None, max_examples=25)
@given(
    mode=st.sampled_from([LINEAR, 'mode = "cubic"', 'mode = "nearest", nearest_mode = "floor"']),
    coordinates=st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    size=st.tuples(*[st.integers(3, 6)] * 2),
    factor=st.tuples(*[st.sampled_from([1.5, 2, 3])] * 2),
    kernel=st.tuples(*[st.integers(1, 3)] * 2),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    strides=st.tuples(*[st.integers(1, 2)] * 2),
    dilations=st.tuples(*[st.integers(1, 2)] * 2),
)
def test_any_geometry_gives_the_same_result(
    costs: Machine,
    mode: str,
    coordinates: str,
    size: tuple[int, int],
    factor: tuple[float, float],
    kernel: tuple[int, int],
    pads: tuple[int, ...],
    strides: tuple[int, int],
    dilations: tuple[int, int],
) -> None:
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        assume(reach <= int(size[axis] * factor[axis]) + pads[axis] + pads[axis + 2])
    text = network(
        f'{mode}, coordinate_transformation_mode = "{coordinates}"',
        size=size,
        to=(int(size[0] * factor[0]), int(size[1] * factor[1])),
        kernel=kernel,
        conv=f"pads = {list(pads)}, strides = {list(strides)}, dilations = {list(dilations)}",
    )
    rewritten(text, rewrite_resize_conv, costs, "int8")


def test_the_bias_is_added_at_the_end_where_every_tap_reaches_the_padding() -> None:
    text = network(kernel=(2, 1), conv="pads = [9, 0, 9, 0], dilations = [9, 1]")
    graph, result = rewritten(text, rewrite_resize_conv, machine(resize_int8=1.0), "int8")
    assert result.changed == 1
    assert ops(graph)[-1] == "Add"


def test_groups_are_declined() -> None:
    _, result = rewritten(network(group=2), rewrite_resize_conv, FEW_NODES, "int8")
    assert [skip.reason for skip in result.skipped] == ["it has groups"]
