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
from compiler.passes.commute_resize_conv import commute_resize_conv, draft_commuted_conv
from compiler.passes.conv_site import conv_site
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip
from tests.support.models import model_from_text, ops, run

ALWAYS = replace(BUILT_IN, conv_float=1e3, depthwise_float=1e3)
"""Only convolutions take time, so that they go wherever the map is smaller."""
SLOW_RESIZE = replace(BUILT_IN, resize_float=1e3, resize_plain=1e3)


def network(
    *,
    resize: str = 'Resize<mode = "linear">(x, , , sizes)',
    sizes: str = "2, 4, 10, 12",
    scales: str = "1.0, 1.0, 2.0, 2.0",
    weight: str = "6, 4, 1, 1",
    conv: str = "group = 1",
    opset: int = 19,
) -> str:
    size, scale = len(sizes.split(",")), len(scales.split(","))
    return f"""<ir_version: 9, opset_import: ["" : {opset}]>
    g (float[2, 4, 5, 6] x) => (float[?, ?, ?, ?] y)
    <float[{weight}] w, float[6] b, int64[{size}] sizes = {{{sizes}}},
     float[{scale}] scales = {{{scales}}}, float[0] roi = {{}}>
    {{ u = {resize}  y = Conv<{conv}>(u, w, b) }}"""


def commuted(text: str, machine: Machine = ALWAYS) -> tuple[gs.Graph, PassResult]:
    """The network after the pass; its output must have stayed, to 2e-6 of the range."""
    before = model_from_text(text)
    graph = to_graph(before)
    infer_shapes(graph)
    result = commute_resize_conv(graph, cost=CostModel(machine, "fp32"))
    after = to_model(graph)
    check_model(after)
    (expected,), (actual,) = run(before), run(after)
    assert np.abs(actual - expected).max() <= 2e-6 * np.ptp(expected)
    return graph, result


def test_a_conv_of_pixels_runs_before_the_resize() -> None:
    graph, result = commuted(network())
    assert ops(graph) == ["Conv", "Resize"]
    assert (result.changed, result.skipped) == (1, [])
    assert total_macs(graph) == 2 * 6 * 4 * 5 * 6


@pytest.mark.parametrize(
    "resize",
    [
        'Resize<mode = "cubic">(x, , scales)',
        'Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, roi, scales)',
        'Resize<mode = "nearest">(x, , scales)',
    ],
)
def test_the_other_inputs_of_the_resize_stay(resize: str) -> None:
    graph, _ = commuted(network(resize=resize, opset=17))
    assert ops(graph) == ["Conv", "Resize"]


@pytest.mark.parametrize(("axes", "sizes"), [("2, 3", "10, 12"), ("-3, 3, 2", "4, 12, 10")])
def test_sizes_may_be_given_for_some_axes(axes: str, sizes: str) -> None:
    text = network(resize=f'Resize<mode = "linear", axes = [{axes}]>(x, , , sizes)', sizes=sizes)
    assert ops(commuted(text)[0]) == ["Conv", "Resize"]


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    transformation=st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    size=st.tuples(st.integers(6, 20), st.integers(6, 20)),
    groups=st.sampled_from([1, 2]),
)
def test_random_resizes_commute(
    mode: str, transformation: str, size: tuple[int, int], groups: int
) -> None:
    attributes = f'mode = "{mode}", coordinate_transformation_mode = "{transformation}"'
    text = network(
        resize=f"Resize<{attributes}>(x, , , sizes)",
        sizes=f"2, 4, {size[0]}, {size[1]}",
        weight=f"6, {4 // groups}, 1, 1",
        conv=f"group = {groups}",
    )
    graph, _ = commuted(text)
    assert ops(graph) == (["Resize", "Conv"] if size == (5, 6) else ["Conv", "Resize"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(conv="strides = [2, 2]"), "it is no 1x1 convolution of every pixel"),
        (network(conv="pads = [0, 1, 0, 0]"), "it is no 1x1 convolution of every pixel"),
        (network(conv='auto_pad = "SAME_UPPER"'), "it pads by auto_pad = SAME_UPPER"),
        (
            network(resize='Resize<mode = "linear", antialias = 1>(x, , , sizes)'),
            "its Resize filters (antialias)",
        ),
    ],
)
def test_what_does_not_commute_is_reported(text: str, reason: str) -> None:
    graph, result = commuted(text)
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])
    assert ops(graph) == ["Resize", "Conv"]


@pytest.mark.parametrize(
    "body",
    [
        "u = Relu(x) y = Conv(u, w)",
        "y = Conv(x, w)",
        'u = Resize<mode = "linear">(x, , scales) y = Conv<pads = [1, 1, 1, 1]>(u, k)',
    ],
)
def test_other_convs_are_no_sites(body: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["" : 19]>
    g (float[1, 4, 5, 6] x) => (float[?, ?, ?, ?] y)
    <float[6, 4, 1, 1] w, float[6, 4, 3, 3] k, float[4] scales = {{1.0, 1.0, 2.0, 2.0}}>
    {{ {body} }}"""
    graph, result = commuted(text)
    assert (result.changed, result.skipped) == (0, [])
    site = conv_site(graph.nodes[-1])
    assert not isinstance(site, str)
    draft = Draft(graph, "y")
    reason = draft_commuted_conv(draft, site)
    assert reason in ("its input is not resized", "it is no 1x1 convolution of every pixel")
    assert draft.nodes == []


def test_a_resize_that_would_get_dearer_stays() -> None:
    assert commuted(network(), SLOW_RESIZE)[1].skipped[0].reason.startswith("it would not pay")
