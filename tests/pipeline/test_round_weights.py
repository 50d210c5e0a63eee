"""Adaptive rounding as a stage: which layers, on which samples, and through the cache."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from calibration.dataset import Sample
from compiler.config.backend import Backend
from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel
from compiler.graph.convert import to_model
from compiler.pipeline import round_weights
from compiler.pipeline.calibrate import int8_options
from compiler.pipeline.observation import observe
from compiler.pipeline.quantizer import Quantizer
from compiler.pipeline.round_weights import adapt_weights, adaptable_layers, read, write
from compiler.pipeline.samples import Feeds, Samples
from compiler.quantize.insert_qdq import round_to_nearest
from compiler.quantize.plan import find_kept_float
from compiler.quantize.weights import RoundedWeights
from compiler.verify.metrics import Agreement
from tests.quantize.networks import network, run_all
from tests.support.models import random_feeds

TEXT = """g (float[1, 3, 12, 12] x) => (float[1, 4, 8] y)
<float[16, 3, 3, 3] w, float[16, 16, 3, 3] v, float[144, 8] t, int64[3] s = {1, 4, 144}>
{ a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) p = MaxPool<kernel_shape = [2, 2],
  strides = [2, 2]>(r) b = Conv<pads = [1, 1, 1, 1]>(p, v) k = Relu(b) z = Reshape(k, s)
  y = MatMul(z, t) }"""
LAYERS = ["Conv_a", "Conv_b", "MatMul_y"]
SAMPLES = 12

Weights = Mapping[str, RoundedWeights]


def samples_of(graph: gs.Graph) -> Samples:
    """Smooth images, as photographs are: neighbours are alike."""

    def load(path: Path) -> Feeds:
        drawn = random_feeds(to_model(graph), int(path.name))["x"]
        smooth = sum(np.roll(drawn, step, axis) for axis in (2, 3) for step in (0, 1, 2))
        return {"x": np.asarray(smooth + 2, np.float32)}

    return Samples(tuple(Sample(Path(f"{i}"), f"{i}", "") for i in range(SAMPLES)), (), load)


def prepare(text: str, work: Path, **quantize: object) -> tuple[Quantizer, Samples]:
    """Everything up to the stage."""
    options = {"bias_correction": False, **quantize}
    backend = Backend.model_validate(
        {"dtype": "int8", "quantize": options, "optimize": {"keep_float": False}}
    )
    graph = network(text)
    kept = find_kept_float(graph, int8_options(backend.quantize))
    quantizer = Quantizer(graph, backend, kept, CostModel(BUILT_IN, "int8"))
    samples = samples_of(graph)
    names, axes = quantizer.wanted()
    seen = observe(graph, names, axes, samples, work, lambda done: None)
    quantizer.histograms = dict(seen.histograms)
    return quantizer, samples


def adapt(quantizer: Quantizer, samples: Samples, work: Path) -> dict[str, RoundedWeights]:
    layers = adaptable_layers(quantizer)
    return adapt_weights(quantizer, layers, samples, work, lambda done: None)


def sqnr_db(quantizer: Quantizer, samples: Samples) -> float:
    """Of the network's output, over all samples."""
    original, quantized = to_model(quantizer.graph), to_model(quantizer.quantize().graph)
    agreement = Agreement()
    for feeds in samples.feeds(samples.calibration):
        agreement.add(run_all(original, feeds)[0], run_all(quantized, feeds)[0])
    return agreement.sqnr_db


def parts(weights: Weights) -> list[tuple[str, bytes, bytes, int, tuple[int, ...]]]:
    return [
        (name, one.values.tobytes(), one.scale.tobytes(), one.levels, one.values.shape)
        for name, one in weights.items()
    ]


def nearest(quantizer: Quantizer) -> dict[str, NDArray[np.int8]]:
    options = int8_options(quantizer.backend.quantize)
    return {
        layer.node.name: round_to_nearest(layer.weight, layer.axis, options).values
        for layer in adaptable_layers(quantizer)
    }


@pytest.mark.parametrize(
    "quantize",
    [{}, {"weight_scale": "mse", "reduce_range": True}, {"quantize_per_channel": False}],
    ids=["default", "7 bits", "one scale"],
)
def test_the_output_is_nearer_to_that_of_the_float_network(
    quantize: dict[str, object], tmp_path: Path
) -> None:
    quantizer, samples = prepare(TEXT, tmp_path, calibrate_mode="max", **quantize)
    before = sqnr_db(quantizer, samples)
    quantizer.weights = adapt(quantizer, samples, tmp_path)
    assert list(quantizer.weights) == LAYERS
    assert sqnr_db(quantizer, samples) > before + 1
    for name, values in nearest(quantizer).items():
        moved = np.abs(quantizer.weights[name].values.astype(int) - values)
        assert moved.max() == 1


def test_it_is_the_same_every_time_and_through_the_cache(tmp_path: Path) -> None:
    quantizer, samples = prepare(TEXT, tmp_path)
    weights = adapt(quantizer, samples, tmp_path)
    assert parts(adapt(quantizer, samples, tmp_path)) == parts(weights)
    write(tmp_path, weights)
    assert parts(read(tmp_path)) == parts(weights)


def test_one_scale_per_tensor_keeps_its_shape_through_the_cache(tmp_path: Path) -> None:
    weights = {"a/b=>c\0": RoundedWeights(np.ones((2, 3), np.int8), np.array(0.5, np.float32), 63)}
    write(tmp_path, weights)
    assert parts(read(tmp_path)) == parts(weights)
    assert read(tmp_path)["a/b=>c\0"].scale.shape == ()


def test_it_depends_neither_on_the_rule_nor_on_the_lists(tmp_path: Path) -> None:
    found = [
        parts(adapt(*prepare(TEXT, tmp_path, **options), tmp_path))
        for options in (
            {"calibrate_mode": "max"},
            {"calibrate_mode": "kl_divergence"},
            {"exclude_layers": ["Conv_b"]},
        )
    ]
    assert found[0] == found[1] == found[2]


def test_a_layer_in_float_keeps_its_weights(tmp_path: Path) -> None:
    quantizer, samples = prepare(TEXT, tmp_path, exclude_layers=["Conv_b"])
    quantizer.weights = adapt(quantizer, samples, tmp_path)
    graph = quantizer.quantize().graph
    (node,) = (node for node in graph.nodes if node.name == "Conv_b")
    np.testing.assert_array_equal(node.inputs[1].values, quantizer.graph.tensors()["v"].values)


def test_a_layer_that_cannot_run_on_integers_is_absent(tmp_path: Path) -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 4, 9, 9] y)
    <float[4, 3, 3, 3] w, float[4, 4, 2, 2] v>
    { a = Conv<pads = [1, 1, 1, 1]>(x, w) y = ConvTranspose(a, v) }"""
    quantizer, samples = prepare(text, tmp_path)
    assert list(adapt(quantizer, samples, tmp_path)) == ["Conv_a"]


def test_a_convolution_with_too_many_weights_is_left_alone(tmp_path: Path) -> None:
    text = """g (float[1, 513, 5, 5] x) => (float[1, 2, 3, 3] y, float[1, 2, 5, 5] z)
    <float[2, 513, 3, 3] w, float[2, 513, 1, 1] v> { y = Conv(x, w) z = Conv(x, v) }"""
    quantizer, samples = prepare(text, tmp_path)
    assert list(adapt(quantizer, samples, tmp_path)) == ["Conv_z"]


def test_groups_of_layers_bound_the_memory_and_hardly_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantizer, samples = prepare(TEXT, tmp_path)
    together = adapt(quantizer, samples, tmp_path)
    monkeypatch.setattr(round_weights, "GROUP_BYTES", 1)
    steps: list[int] = []
    layers = adaptable_layers(quantizer)
    alone = adapt_weights(quantizer, layers, samples, tmp_path, steps.append)
    assert list(alone) == list(together)
    assert steps == [1, 2, 3]
    for name, one in alone.items():
        # Which tensors leave the network may change the kernels, and the last bits of the inputs.
        assert np.mean(one.values != together[name].values) < 0.01


def test_weights_that_are_not_finite_are_left_to_the_error_that_names_them(tmp_path: Path) -> None:
    quantizer, samples = prepare(TEXT, tmp_path)
    layers = adaptable_layers(quantizer)
    broken = replace(layers[0], weight=np.full_like(layers[0].weight, np.nan))
    found = adapt_weights(quantizer, [broken, *layers[1:]], samples, tmp_path, lambda done: None)
    assert list(found) == LAYERS[1:]


def test_a_network_without_integers_has_nothing_to_round(tmp_path: Path) -> None:
    text = "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Tanh(x) }"
    backend = Backend.model_validate({"dtype": "int8"})
    graph = network(text)
    kept = find_kept_float(graph, int8_options(backend.quantize))
    quantizer = Quantizer(graph, backend, kept, CostModel(BUILT_IN, "int8"))
    assert adapt(quantizer, samples_of(graph), tmp_path) == {}
    assert not list(tmp_path.iterdir())
