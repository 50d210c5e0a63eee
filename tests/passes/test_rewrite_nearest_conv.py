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
from compiler.passes.conv_site import conv_site
from compiler.passes.draft import Draft
from compiler.passes.result import Skip
from compiler.passes.rewrite_nearest_conv import draft_nearest_conv, rewrite_nearest_conv
from tests.support.models import model_from_text, ops, run

# Only arithmetic costs: whatever has fewer multiply-accumulates pays.
ARITHMETIC = replace(
    BUILT_IN, byte=0.0, transpose_int8=0.0, resize_float=1e6, resize_int8=1e6, quantize=0.0, node=0
)
# Only memory traffic costs: what makes more passes over the tensors does not pay.
TRAFFIC = replace(BUILT_IN, conv_float=0.0, depthwise_float=0.0, resize_float=0.0, byte=1.0)
ASYMMETRIC = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


def network(
    scales: tuple[int, int] = (2, 2),
    *,
    x: str = "2, 4, 5, 3",
    kernel: tuple[int, int] = (3, 3),
    conv: str = "pads = [1, 1, 1, 1]",
    resize: str = ASYMMETRIC,
    group: int = 1,
    sizes: bool = False,
    given: str = "",
) -> str:
    batch, channels, height, width = (int(size) for size in x.split(","))
    down, across = scales
    values = given or f"1.0, 1.0, {down}.0, {across}.0"
    target = f"{batch}, {channels}, {height * down}, {width * across}"
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[{x}] x) => (float[?, ?, ?, ?] y)
    <float[4] scales = {{{values}}}, int64[4] sizes = {{{target}}},
     float[6, {channels // group}, {kernel[0]}, {kernel[1]}] w, float[6] b>
    {{ u = Resize<mode = "nearest", {resize}>(x, {", , sizes" if sizes else ", scales"})
       y = Conv<{conv}, group = {group}>(u, w, b) }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_rewritten(text: str, precision: Precision = "fp32") -> gs.Graph:
    graph = graph_of(text)
    (expected,) = run(to_model(graph))
    result = rewrite_nearest_conv(graph, cost=CostModel(ARITHMETIC, precision))
    assert (result.changed, result.skipped) == (1, [])
    assert "Resize" not in ops(graph)
    infer_shapes(graph)
    after = to_model(graph)
    check_model(after)
    (actual,) = run(after)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * max(1.0, np.ptp(expected)))
    return graph


def assert_stays(text: str, reason: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = rewrite_nearest_conv(graph, cost=CostModel(ARITHMETIC, "fp32"))
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])
    assert ops(graph) == before


@pytest.mark.parametrize(
    ("text", "before", "products"),
    [
        # Per low pixel, input and output channel: 4 products for 16, 9 for 36, 9 for 144.
        (network(kernel=(2, 2), conv="pads = [0, 0, 1, 1]"), 16, 4),
        (network(), 36, 9),
        (network((4, 4)), 144, 9),
        (network((1, 2)), 18, 9),
    ],
)
def test_the_differences_of_neighbours_need_the_fewest_products(
    text: str, before: int, products: int
) -> None:
    pixels = 2 * 4 * 6 * 5 * 3
    assert total_macs(graph_of(text)) == before * pixels
    graph = assert_rewritten(text)
    dense = [node for node in graph.nodes if node.op == "Conv" and node.attrs["group"] == 1]
    assert len(dense) == products
    graph.nodes = dense
    assert total_macs(graph) == products * pixels


@pytest.mark.parametrize(
    ("text", "products", "convs"),
    [
        (network(kernel=(2, 2), conv="pads = [0, 0, 1, 1]"), 9, 4),  # 1, 1x2, 2x1 and 2x2 taps
        (network((3, 3)), 25, 9),  # 2, 1 and 2 taps
    ],
)
def test_in_int8_taps_that_meet_the_same_pixel_are_added(
    text: str, products: int, convs: int
) -> None:
    graph = assert_rewritten(text, "int8")
    assert total_macs(graph) == products * 2 * 4 * 6 * 5 * 3
    assert ops(graph).count("Conv") == convs


def test_in_int8_phases_of_equally_many_taps_are_one_conv() -> None:
    graph = assert_rewritten(network(), "int8")
    assert ops(graph) == ["Conv", *["Transpose", "Reshape"] * 2, "Slice", "Transpose"]
    assert total_macs(graph) == 16 * 2 * 4 * 6 * (5 + 1) * (3 + 1)


def test_a_kernel_that_loses_pixels_at_the_border_is_rewritten_as_phases() -> None:
    graph = assert_rewritten(network(conv="pads = [0, 0, 0, 0]"))
    assert total_macs(graph) == 16 * 2 * 4 * 6 * 4 * 2


def test_a_scale_of_one_leaves_the_conv_alone_on_the_input() -> None:
    assert ops(assert_rewritten(network((1, 1), conv="pads = [2, 0, 0, 3]"))) == ["Conv"]


@pytest.mark.parametrize(
    "resize",
    [
        ASYMMETRIC,
        'coordinate_transformation_mode = "half_pixel", nearest_mode = "round_prefer_floor"',
        'coordinate_transformation_mode = "pytorch_half_pixel"',
        'nearest_mode = "round_prefer_ceil"',
    ],
)
@pytest.mark.parametrize("sizes", [False, True])
def test_every_way_to_repeat_pixels_is_recognized(resize: str, sizes: bool) -> None:
    assert_rewritten(network((2, 3), resize=resize, sizes=sizes))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(conv="strides = [2, 2]"), "it has strides or dilations"),
        (network(conv="dilations = [2, 1]"), "it has strides or dilations"),
        (network(conv='auto_pad = "SAME_UPPER"'), "it pads by auto_pad = SAME_UPPER"),
        (
            network(resize='coordinate_transformation_mode = "asymmetric", nearest_mode = "ceil"'),
            "the Resize does not repeat every pixel equally often",
        ),
        (
            network(resize='coordinate_transformation_mode = "half_pixel", nearest_mode = "floor"'),
            "the Resize does not repeat every pixel equally often",
        ),
        (
            network(resize='coordinate_transformation_mode = "align_corners"'),
            "the Resize transforms coordinates by align_corners",
        ),
        (network(given="1.0, 1.0, 1.5, 2.0"), "the Resize has no whole scales"),
        (network(given="1.0, 1.0, 2.1, 2.0"), "the Resize has no whole scales"),
        (network(given="2.0, 1.0, 2.0, 2.0"), "the Resize enlarges the batch or channel axis"),
    ],
)
def test_what_is_something_else_stays_and_is_reported(text: str, reason: str) -> None:
    assert_stays(text, reason)


def test_a_resize_of_chosen_axes_or_unknown_shape_stays() -> None:
    graph = graph_of(network())
    graph.nodes[0].attrs["axes"] = [2, 3]
    result = rewrite_nearest_conv(graph, cost=CostModel(ARITHMETIC, "fp32"))
    assert result.skipped == [Skip("y", "the Resize has axes")]
    graph.inputs[0].shape = None
    result = rewrite_nearest_conv(graph, cost=CostModel(ARITHMETIC, "fp32"))
    reason = "the shapes of the Resize are not static or not of rank 4"
    assert result.skipped == [Skip("y", reason)]


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_other_interpolations_are_not_even_reported(mode: str) -> None:
    graph = graph_of(network().replace('"nearest"', f'"{mode}"'))
    result = rewrite_nearest_conv(graph, cost=CostModel(ARITHMETIC, "fp32"))
    assert (result.changed, result.skipped) == (0, [])
    site = conv_site(graph.nodes[1])
    assert not isinstance(site, str)
    reason = "its input comes from no Resize to nearest neighbours"
    assert draft_nearest_conv(Draft(graph, "y"), site) == reason


def test_the_cost_decides() -> None:
    graph = graph_of(network())
    before = ops(graph)
    result = rewrite_nearest_conv(graph, cost=CostModel(TRAFFIC, "fp32"))
    (skip,) = result.skipped
    assert skip.reason.startswith("it would not pay: 0.0 MMAC in ")
    assert (result.changed, ops(graph)) == (0, before)


@settings(max_examples=60, deadline=None)
@given(
    scales=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    pads=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    size=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    group=st.sampled_from([1, 2]),
    precision=st.sampled_from(["fp32", "int8"]),
)
def test_random_convolutions_are_rewritten_exactly(
    scales: tuple[int, int],
    kernel: tuple[int, int],
    pads: list[int],
    size: tuple[int, int],
    group: int,
    precision: Precision,
) -> None:
    for axis in (0, 1):
        assume(size[axis] * scales[axis] + pads[axis] + pads[2 + axis] >= kernel[axis])
    text = network(
        scales,
        x=f"1, 4, {size[0]}, {size[1]}",
        kernel=kernel,
        conv=f"pads = {pads}",
        group=group,
    )
    graph = graph_of(text)
    site = conv_site(graph.nodes[1])
    assert not isinstance(site, str)
    draft = Draft(graph, "y")
    y = draft_nearest_conv(draft, site, precision)
    assert isinstance(y, gs.Variable)
    (expected,) = run(to_model(graph))
    graph.nodes.extend(draft.nodes)
    graph.outputs = [y]
    graph.cleanup().toposort()
    (actual,) = run(to_model(graph))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1.0, np.ptp(expected)))
