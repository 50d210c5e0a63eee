"""What one pass over the calibration samples remembers of a float network."""

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from calibration.dataset import Sample
from calibration.histogram import Histogram
from compiler.errors import CalibrationError
from compiler.graph.convert import infer_shapes, to_bytes, to_graph, to_model
from compiler.pipeline.observation import EXTREMES_SAMPLES, observe, observe_extremes
from compiler.pipeline.samples import Feeds, Samples
from tests.support.models import model_from_text, run

NETWORK = model_from_text(
    """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 6, 5] image) => (float[1, 4, 6, 5] out) <float[4, 3, 1, 1] w, float[4] b>
    { c = Conv(image, w, b)
      r = Relu(c)
      out = Sigmoid(r) }"""
)
INNER = ("image", "c", "r", "out")
COUNT = 20


def _image(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(size=(1, 3, 6, 5)).astype(np.float32) * number


def _load(path: Path) -> Feeds:
    number = int(path.stem)
    if number == 13:
        raise CalibrationError("no image", where=str(path), fix="repair it")
    return {"image": _image(number)}


def _samples(count: int = COUNT, *, skip: bool = True) -> Samples:
    files = tuple(Sample(Path(f"{n}.png"), f"{n}.png", f"{n:064x}") for n in range(count))
    return Samples(files, (), _load, skip)


def _values(number: int) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the network, computed apart."""
    graph = to_graph(NETWORK)
    infer_shapes(graph)
    tensors = graph.tensors()
    graph.outputs = [tensors[name] for name in INNER[1:]]
    feeds = {"image": _image(number)}
    return dict(zip(INNER, [feeds["image"], *run(to_model(graph), feeds)], strict=True))


@pytest.fixture
def graph() -> gs.Graph:
    graph = to_graph(NETWORK)
    infer_shapes(graph)
    return graph


def test_histograms_count_what_the_network_computes(graph: gs.Graph, tmp_path: Path) -> None:
    before, told = to_bytes(to_model(graph)), list[int]()
    samples = _samples()
    seen = observe(graph, INNER, {}, samples, tmp_path, told.append)
    assert set(seen.histograms) == set(INNER)
    assert seen.means == {}
    expected = {name: Histogram() for name in INNER}
    for number in range(COUNT):
        if number != 13:
            for name, array in _values(number).items():
                expected[name].add(array)
    for name, histogram in expected.items():
        assert seen.histograms[name].total == histogram.total == 19 * _values(1)[name].size
        # Kernels differ in their last bits.
        assert seen.histograms[name].minimum == pytest.approx(histogram.minimum, rel=1e-5)
        assert seen.histograms[name].maximum == pytest.approx(histogram.maximum, rel=1e-5)
    assert (seen.histograms["image"].counts == expected["image"].counts).all()
    assert samples.skipped == ["13.png"]
    assert told[-1] == COUNT - 1
    assert to_bytes(to_model(graph)) == before


def test_means_are_those_of_all_pixels_of_all_samples(graph: gs.Graph, tmp_path: Path) -> None:
    axes = {"c": 1, "image": 1, "r": 3}
    seen = observe(graph, ["r"], axes, _samples(), tmp_path, lambda done: None)
    assert list(seen.histograms) == ["r"]
    for name, axis in axes.items():
        arrays = [np.moveaxis(_values(n)[name], axis, 0) for n in range(COUNT) if n != 13]
        pixels = [array.reshape(len(array), -1) for array in arrays]
        expected = np.concatenate(pixels, axis=1).astype(np.float64).mean(axis=1)
        assert seen.means[name].dtype == np.float64
        np.testing.assert_allclose(seen.means[name], expected, rtol=1e-4, atol=1e-5)


def test_extremes_are_those_of_a_few_samples(graph: gs.Graph, tmp_path: Path) -> None:
    used = [number for number in range(0, COUNT, 3) if number != 13]
    assert len(used) <= EXTREMES_SAMPLES
    before = to_bytes(to_model(graph))
    found = observe_extremes(graph, ["c", "out"], _samples(), tmp_path)
    assert set(found) == {"c", "out"}
    for name in found:
        arrays = np.concatenate([_values(number)[name] for number in used])
        expected = np.stack([arrays.min(axis=(0, 2, 3)), arrays.max(axis=(0, 2, 3))])
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)
    assert to_bytes(to_model(graph)) == before


def test_without_tensors_there_is_nothing_to_run(graph: gs.Graph, tmp_path: Path) -> None:
    assert observe_extremes(graph, [], _samples(), tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_must_not_be_skipped_ends_it(graph: gs.Graph, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no image"):
        observe(graph, ["c"], {}, _samples(skip=False), tmp_path, lambda done: None)


def test_files_of_which_none_can_be_used_end_it(graph: gs.Graph, tmp_path: Path) -> None:
    samples = _samples()
    samples.calibration = samples.calibration[13:14]
    with pytest.raises(CalibrationError, match="none of the calibration files can be used"):
        observe_extremes(graph, ["c"], samples, tmp_path)
