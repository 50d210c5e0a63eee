import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.graph.convert import infer_shapes, to_graph
from compiler.passes.interpolation import misjudged_size, resize_operators, upsampled
from tests.support.models import model_from_text, run

TRANSFORMATIONS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def network(
    attributes: str,
    *,
    size: tuple[int, int] = (3, 4),
    scales: tuple[float, ...] = (),
    sizes: tuple[int, ...] = (),
    opset: int = 19,
    channels: int = 2,
) -> onnx.ModelProto:
    height, width = size
    given = f"float[{len(scales)}] f = {{{', '.join(map(str, scales))}}}" if scales else ""
    given = f"int64[{len(sizes)}] n = {{{', '.join(map(str, sizes))}}}" if sizes else given
    operands = "x, , f" if scales else "x, , , n"
    return model_from_text(
        f"""<ir_version: 9, opset_import: ["" : {opset}]>
        g (float[1, {channels}, {height}, {width}] x) => (float[?, ?, ?, ?] y)
        <{given}> {{ y = Resize<{attributes}>({operands}) }}"""
    )


def graph_of(model: onnx.ModelProto) -> gs.Graph:
    graph = to_graph(model)
    infer_shapes(graph)
    return graph


def probe(model: onnx.ModelProto, size: tuple[int, int]) -> NDArray[np.float32]:
    """Response of the Resize to every unit map: shape (h * w, H', W')."""
    height, width = size
    units = np.eye(height * width, dtype=np.float32).reshape(1, -1, height, width)
    response: NDArray[np.float32] = run(model, {"x": units})[0][0]
    return response


def assert_agrees_with_onnxruntime(model: onnx.ModelProto, size: tuple[int, int]) -> None:
    (resize,) = graph_of(model).nodes
    operators = resize_operators(resize)
    assert not isinstance(operators, str)
    vertical, horizontal = operators
    for operator in operators:
        np.testing.assert_allclose(operator.sum(axis=1), 1, rtol=0, atol=1e-12)
    expected = np.einsum("ah,bw->hwab", vertical, horizontal)
    actual = probe(model, size)
    np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=0, atol=2e-5)


@st.composite
def interpolations(draw: st.DrawFn) -> str:
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    known = [one for one in TRANSFORMATIONS if (mode, one) != ("nearest", "half_pixel_symmetric")]
    transformation = draw(st.sampled_from(known))
    attributes = f'mode = "{mode}", coordinate_transformation_mode = "{transformation}"'
    if mode == "nearest":
        return f'{attributes}, nearest_mode = "{draw(st.sampled_from(ROUNDINGS))}"'
    if mode == "cubic":
        a, exclude = draw(st.sampled_from([-0.75, -0.5])), draw(st.integers(0, 1))
        return f"{attributes}, cubic_coeff_a = {a}, exclude_outside = {exclude}"
    return attributes


@settings(max_examples=150, deadline=None)
@given(
    interpolation=interpolations(),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    after=st.tuples(st.integers(1, 19), st.integers(1, 19)),
)
def test_operators_for_sizes_are_those_of_onnxruntime(
    interpolation: str, size: tuple[int, int], after: tuple[int, int]
) -> None:
    pixels = size[0] * size[1]
    model = network(interpolation, size=size, sizes=(1, pixels, *after), channels=pixels)
    assert_agrees_with_onnxruntime(model, size)


@settings(max_examples=150, deadline=None)
@given(
    interpolation=interpolations(),
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    scales=st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 1.3, 1.5, 2.0, 2.7, 3.0, 4.0, 7.0])] * 2),
)
def test_operators_for_scales_are_those_of_onnxruntime(
    interpolation: str, size: tuple[int, int], scales: tuple[float, float]
) -> None:
    pixels = size[0] * size[1]
    model = network(interpolation, size=size, scales=(1.0, 1.0, *scales), channels=pixels)
    assert_agrees_with_onnxruntime(model, size)


def test_a_resize_to_the_same_size_copies() -> None:
    model = network('mode = "linear"', size=(2, 2), scales=(1.0, 1.0, 1.0, 1.3), channels=4)
    assert_agrees_with_onnxruntime(model, (2, 2))


@pytest.mark.parametrize("axes", ["2, 3", "-2, -1", "3, 2"])
def test_scales_may_be_given_for_some_axes(axes: str) -> None:
    scales = (3.0, 2.5) if axes != "3, 2" else (2.5, 3.0)
    attributes = f'mode = "linear", axes = [{axes}]'
    model = network(attributes, size=(3, 4), scales=scales, channels=12)
    assert_agrees_with_onnxruntime(model, (3, 4))


def test_linear_doubling_has_the_weights_of_the_textbook() -> None:
    (resize,) = graph_of(network('mode = "linear"', size=(2, 1), scales=(1.0, 1.0, 2.0, 1.0))).nodes
    operators = resize_operators(resize)
    assert not isinstance(operators, str)
    assert operators[0].tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert operators[1].tolist() == [[1]]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            network('coordinate_transformation_mode = "tf_crop_and_resize"', sizes=(1, 2, 9, 9)),
            "its Resize is nearest with tf_crop_and_resize",
        ),
        (
            network('coordinate_transformation_mode = "half_pixel_symmetric"', sizes=(1, 2, 9, 9)),
            "its Resize is nearest with half_pixel_symmetric",
        ),
        (
            # 5 * 2.6 is 12.99... in double precision and 13 in ONNX Runtime, which uses float32.
            network('mode = "linear"', size=(5, 5), scales=(1.0, 1.0, 2.6, 1.0)),
            "its Resize makes another size than was inferred",
        ),
        (
            network('mode = "linear", antialias = 1', sizes=(1, 2, 9, 9)),
            "its Resize filters (antialias)",
        ),
        (
            network('keep_aspect_ratio_policy = "not_larger"', sizes=(1, 2, 9, 9)),
            "its Resize keeps the aspect ratio",
        ),
        (
            network('mode = "nearest"', sizes=(1, 4, 9, 9)),
            "its Resize changes the batch or the channels",
        ),
    ],
)
def test_what_is_no_spatial_interpolation_is_declined(model: onnx.ModelProto, reason: str) -> None:
    (resize,) = graph_of(model).nodes
    assert resize_operators(resize) == reason
    assert upsampled(resize.outputs[0]) == reason


def test_sizes_that_are_not_known_are_declined() -> None:
    graph = graph_of(network('mode = "nearest"', sizes=(1, 2, 9, 9)))
    (resize,) = graph.nodes
    resize.inputs = [*resize.inputs[:3], gs.Variable("n", np.int64, [4])]
    assert resize_operators(resize) == "its Resize has no constant size"
    resize.inputs = resize.inputs[:3]
    assert resize_operators(resize) == "its Resize has no constant size"
    resize.outputs[0].shape = None
    assert resize_operators(resize) == "its Resize is not over two axes of static size"


def test_resizes_in_a_row_compose_down_to_the_smallest_tensor() -> None:
    text = """<ir_version: 9, opset_import: ["" : 19]>
    g (float[1, 12, 6, 8] x) => (float[1, 12, ?, ?] y)
    <float[4] half = {1.0, 1.0, 0.5, 0.5}, float[4] two = {1.0, 1.0, 2.0, 2.0},
     int64[4] sizes = {1, 12, 13, 15}>
    { s = Resize(x, , half)  m = Resize<mode = "cubic">(s, , two)
      y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(m, , , sizes) }
    """
    model = model_from_text(text)
    graph = graph_of(model)
    found = upsampled(graph.outputs[0])
    assert not isinstance(found, str)
    assert (found.low.name, found.vertical.shape, found.horizontal.shape) == ("s", (13, 3), (15, 4))
    s = np.random.default_rng(0).normal(size=(1, 12, 3, 4)).astype(np.float32)
    x = s.repeat(2, axis=2).repeat(2, axis=3)
    expected = found.vertical @ s @ found.horizontal.T
    np.testing.assert_allclose(run(model, {"x": x})[0], expected, rtol=0, atol=1e-5)


def test_a_tensor_that_is_not_enlarged_has_no_smaller_source() -> None:
    graph = graph_of(network('mode = "nearest"', sizes=(1, 2, 2, 2)))
    assert upsampled(graph.inputs[0]) == "its input is not resized"
    assert upsampled(graph.outputs[0]) == "its Resize does not enlarge"


@pytest.mark.parametrize(("scale", "expected"), [(1.4, True), (1.5, False)])
def test_sizes_on_which_onnx_and_onnx_runtime_disagree_are_noticed(
    scale: float, expected: bool
) -> None:
    graph = graph_of_resize(scale)
    (node,) = graph.nodes
    assert misjudged_size(node) is expected
    node.inputs = [node.inputs[0], gs.Variable.empty(), gs.Variable.empty()]
    assert not misjudged_size(node)


def graph_of_resize(scale: float) -> gs.Graph:
    model = model_from_text(
        f"""<ir_version: 9, opset_import: ["" : 17]>
        g (float[1, 1, 40, 40] x) => (float y) <float[4] s = {{1.0, 1.0, {scale}, {scale}}}>
        {{ y = Resize<mode = "linear">(x, , s) }}"""
    )
    graph = to_graph(model)
    infer_shapes(graph)
    return graph
