import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes import FLOAT_PASSES
from compiler.passes.prepend_normalization import prepend_normalization
from compiler.passes.run import run_passes
from compiler.preprocess.ops import Normalize
from tests.support.models import model_from_text, ops, run

IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
BYTES_TO_ONE = Normalize(norm_type=None)


def network(conv: str = "Conv<pads = [1, 1, 1, 1]>(x, w, b)") -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 3, 9, 7] x) => (float[1, 4, ?, ?] y)
    <float[4, 3, 3, 3] w, float[4] b> {{ y = {conv} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def random_pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 3, 9, 7), np.uint8)


def normalized(pixels: np.ndarray, *steps: Normalize) -> np.ndarray:
    """What the preprocessing computes, height × width × channels, as the network reads it."""
    values = pixels[0].transpose(1, 2, 0)
    for step in steps:
        values = step(values)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


def assert_reads_pixels(text: str, graph: gs.Graph, *steps: Normalize) -> None:
    pixels = random_pixels()
    after = to_model(graph)
    check_model(after)
    (expected,) = run(model_from_text(text), {"x": normalized(pixels, *steps)})
    (actual,) = run(after, {"x": pixels})
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.ptp(expected))


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        ((IMAGENET,), ["Cast", "Sub", "Mul"]),
        ((BYTES_TO_ONE,), ["Cast", "Mul"]),
        ((Normalize(mean=(104.0, 117.0, 123.0), std=(1.0,), div255=None),), ["Cast", "Sub"]),
        ((BYTES_TO_ONE, Normalize(mean=(0.5,), std=(0.5,), div255=None)), ["Cast", "Sub", "Mul"]),
        ((), ["Cast"]),
    ],
)
def test_a_network_on_pixels_computes_what_it_computed_on_normalized_values(
    steps: tuple[Normalize, ...], before: list[str]
) -> None:
    graph = graph_of(network())
    result = prepend_normalization(graph, steps=steps)
    assert (result.changed, ops(graph)) == (1, [*before, "Conv"])
    (pixels,) = graph.inputs
    assert (pixels.name, pixels.dtype, pixels.shape) == ("x", np.uint8, [1, 3, 9, 7])
    assert_reads_pixels(network(), graph, *steps)


@pytest.mark.parametrize(
    ("conv", "left"),
    [
        ("Conv<pads = [1, 1, 1, 1]>(x, w, b)", ["Cast", "Sub", "Conv"]),
        ("Conv(x, w)", ["Cast", "Conv"]),
        ('Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)', ["Cast", "Sub", "Conv"]),
    ],
)
def test_the_first_convolution_takes_in_what_padding_allows(conv: str, left: list[str]) -> None:
    graph = graph_of(network(conv))
    prepend_normalization(graph, steps=[IMAGENET])
    run_passes(graph, FLOAT_PASSES)
    assert ops(graph) == left
    assert_reads_pixels(network(conv), graph, IMAGENET)


@given(
    mean=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
    div255=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_normalization_is_exact_to_float32(
    mean: list[float], std: list[float], div255: bool
) -> None:
    factor = 1 if div255 else 255
    step = Normalize(
        mean=tuple(factor * value for value in mean),
        std=tuple(factor * value for value in std),
        div255=div255,
    )
    graph = graph_of(network())
    prepend_normalization(graph, steps=[step])
    run_passes(graph, FLOAT_PASSES)
    assert_reads_pixels(network(), graph, step)


def test_as_many_means_as_channels_are_needed() -> None:
    graph = graph_of(network())
    with pytest.raises(ValueError, match=r"2 numbers for 3 channel\(s\)"):
        prepend_normalization(graph, steps=[Normalize(mean=(0.1, 0.2), std=(1.0,))])
