"""The pass that measures, on a network with one layer that is hard to quantize."""

from pathlib import Path

import numpy as np
import pytest

from compiler.graph.convert import to_model
from compiler.pipeline.sensitivity import Sensitivity, measure_sensitivity
from compiler.quantize.plan import Int8Options
from compiler.verify.metrics import Agreement
from tests.quantize.networks import Quantized, network, quantize, run_all
from tests.support.models import random_feeds

TEXT = """g (float[1, 4, 12, 12] x) => (float[1, 4, 12, 12] y)
<float[4, 4, 3, 3] w, float[4, 4, 3, 3] v, float[4, 4, 3, 3] u>
{ a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) b = Conv<pads = [1, 1, 1, 1]>(r, v)
  s = Relu(b) y = Conv<pads = [1, 1, 1, 1]>(s, u) }"""


def _measure(result: Quantized, samples: int, work: Path) -> Sensitivity:
    feeds = [random_feeds(result.model, seed) for seed in range(samples)]
    return measure_sensitivity(result.graph, result.qdq, result.plan, feeds, work)


@pytest.fixture
def outlier() -> Quantized:
    """One weight of the middle layer is so large that others of its channel round to nothing."""
    graph = network(TEXT)
    graph.tensors()["v"].values[:, 0, 0, 0] = 300.0
    graph.nodes[2].name = "middle=>left"
    return quantize(graph)


def test_the_layer_that_is_hard_to_quantize_is_found(outlier: Quantized, tmp_path: Path) -> None:
    found = _measure(outlier, 2, tmp_path).layers
    assert [layer.layer for layer in found] == ["Conv_a", "middle", "Conv_y"]
    assert [layer.tensor for layer in found] == ["r", "s", "y"]
    assert min(found, key=lambda layer: layer.isolated_sqnr_db).layer == "middle"
    assert [layer.macs for layer in found] == [4 * 4 * 9 * 144] * 3
    assert found[1].accumulated_sqnr_db < found[1].isolated_sqnr_db


def test_accumulated_figures_of_an_output_are_those_of_the_networks(
    outlier: Quantized, tmp_path: Path
) -> None:
    found = _measure(outlier, 2, tmp_path)
    agreement, original = Agreement(), to_model(outlier.graph)
    for seed in range(2):
        feeds = random_feeds(outlier.model, seed)
        agreement.add(run_all(original, feeds)[0], run_all(outlier.model, feeds)[0])
    assert found.layers[-1].accumulated_sqnr_db == pytest.approx(agreement.sqnr_db, abs=2e-3)
    assert found.layers[-1].accumulated_cosine == pytest.approx(agreement.cosine, abs=1e-6)
    assert [tensor.name for tensor in found.tensors] == ["x", "r", "s", "y"]
    assert found.tensors[-1].sqnr_db == found.layers[-1].accumulated_sqnr_db
    assert found.tensors[-1].max_error == pytest.approx(agreement.max_error, rel=1e-3)


def test_it_is_the_same_every_time(outlier: Quantized, tmp_path: Path) -> None:
    assert _measure(outlier, 1, tmp_path) == _measure(outlier, 1, tmp_path)


def test_a_network_without_integers_has_nothing_to_measure(tmp_path: Path) -> None:
    result = quantize(network(TEXT), Int8Options(ops_usingfp=("Conv",)))
    assert _measure(result, 1, tmp_path) == Sensitivity()
    assert not list(tmp_path.iterdir())


def test_values_beyond_float32_are_the_worst_error(tmp_path: Path) -> None:
    result = quantize(network(TEXT))
    feeds = {"x": np.full((1, 4, 12, 12), 1e38, np.float32)}
    found = measure_sensitivity(result.graph, result.qdq, result.plan, [feeds], tmp_path)
    assert {layer.isolated_sqnr_db for layer in found.layers} == {-200.0}
