"""Observed magnitudes, and what float16 may hold of a network because of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from calibration.dataset import Sample
from compiler.config.load import load_config
from compiler.errors import CalibrationError
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes import FLOAT_PASSES
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.run import run_passes
from compiler.pipeline.float16 import MOST_SAMPLES, observe_largest
from compiler.pipeline.network import load_network
from compiler.pipeline.record import inputs_of
from compiler.pipeline.samples import Feeds, Samples, find_build_samples
from compiler.pipeline.sessions import open_model, save_with_outputs
from tests.support.models import SHARED, model_from_text

NETWORKS = Path(__file__).resolve().parents[1] / "networks"
TEXT = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y, int64[1, 1, 4, 4] i)
<float k = {1000.0}, float[1] s = {0.001}>
{ a = Mul(x, k)  b = Neg(a)  c = Mul(b, s)  y = Relu(c)  i = ArgMax<axis = 1>(b) }"""


def network(text: str = TEXT) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def samples_of(*sizes: float, skip: bool = False) -> Samples:
    """Sample `n` holds the number `sizes[n]` everywhere, NaN for one that cannot be read."""

    def load(path: Path) -> Feeds:
        size = sizes[int(path.name)]
        if np.isnan(size):
            raise CalibrationError("torn", where=path.name, fix="repair it")
        return {"x": np.full((1, 2, 4, 4), size, np.float32)}

    files = tuple(Sample(Path(f"{n}"), f"{n:04}", "") for n in range(len(sizes)))
    return Samples(files, (), load, skip)


def test_the_largest_magnitude_of_every_float_tensor_over_all_samples(tmp_path: Path) -> None:
    graph = network()
    before = to_model(graph)
    done: list[int] = []
    largest = observe_largest(graph, samples_of(1.0, -70.0, 3.0), tmp_path, done.append)
    expected = {"x": 70.0, "a": 70_000.0, "b": 70_000.0, "c": 70.0, "y": 70.0}
    assert largest == pytest.approx(expected)
    assert done == [1, 2, 3]
    assert to_model(graph) == before


def test_what_overflows_in_float32_is_infinite(tmp_path: Path) -> None:
    largest = observe_largest(network(), samples_of(1e38), tmp_path, lambda _: None)
    assert largest["x"] == pytest.approx(1e38)
    assert largest["a"] == np.inf


def test_tensors_without_values_have_no_magnitude(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
    <int64[1] zero = {0}> { e = Slice(x, zero, zero)  y = Concat<axis = 0>(e, x) }"""
    largest = observe_largest(network(text), samples_of(2.0), tmp_path, lambda _: None)
    assert largest == {"x": 2.0, "y": 2.0}


def test_a_sample_that_cannot_be_read_ends_it_or_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="torn"):
        observe_largest(network(), samples_of(np.nan, 5.0), tmp_path, lambda _: None)
    torn = samples_of(np.nan, 5.0, skip=True)
    assert observe_largest(network(), torn, tmp_path, lambda _: None)["x"] == 5.0
    assert torn.skipped == ["0000"]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(1, [0]), (16, list(range(16))), (17, list(range(0, 17, 2))), (50, list(range(0, 50, 4)))],
)
def test_few_samples_are_chosen_among_all(count: int, chosen: list[int]) -> None:
    few = samples_of(*np.zeros(count)).spread(MOST_SAMPLES)
    assert [int(sample.name) for sample in few.calibration] == chosen
    assert len(chosen) <= MOST_SAMPLES


def test_what_was_observed_to_overflow_float16_does_not(tmp_path: Path) -> None:
    graph, samples = network(), samples_of(70.0)
    blind = network()
    cast_float16(blind)
    assert not held_in_float16_is_finite(blind, samples, tmp_path)
    largest = observe_largest(graph, samples, tmp_path, lambda _: None)
    result = cast_float16(graph, largest=largest)
    assert [skip.where for skip in result.skipped] == ["a", "b", "c"]
    assert held_in_float16_is_finite(graph, samples, tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="the trained networks are not beside the clone")
def test_a_network_beyond_the_range_of_float16_stays_finite(tmp_path: Path) -> None:
    """Activations of prisma_nchw reach 90,000; what is near that stays in float32."""
    config = load_config(str(NETWORKS / "prisma_nchw.yaml"))
    graph = load_network(config)[0].graph
    samples, _ = find_build_samples(
        config, inputs_of(graph), held_out=0, needed=True, allow_custom_code=False
    )
    assert samples is not None
    seen = replace(samples, calibration=samples.calibration[:-4])
    unseen = replace(samples, calibration=samples.calibration[-4:])
    run_passes(graph, FLOAT_PASSES)
    largest = observe_largest(graph, seen.spread(MOST_SAMPLES), tmp_path, lambda _: None)
    assert max(largest.values()) > 75_000
    result = cast_float16(graph, largest=largest)
    check_model(to_model(graph))
    assert 30 < len(result.skipped) < 100 < result.changed
    assert held_in_float16_is_finite(graph, unseen, tmp_path)


def held_in_float16_is_finite(graph: gs.Graph, samples: Samples, folder: Path) -> bool:
    """Whether every float16 tensor is, where each is really rounded to float16."""
    half = [
        name
        for name, tensor in graph.tensors().items()
        if isinstance(tensor, gs.Variable) and tensor.dtype == np.float16
    ]
    save_with_outputs(graph, half, folder / "half.onnx", folder / "half.params")
    with open_model(folder / "half.onnx") as run:
        outputs = [run(feeds) for feeds in samples.feeds(samples.calibration)]
    assert all(one[name].dtype == np.float16 for one in outputs for name in half)
    return all(np.isfinite(one[name]).all() for one in outputs for name in half)
