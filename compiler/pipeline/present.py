"""The int8 network that a build file makes now, opened for changes and measured."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from compiler.config.backend import Accuracy
from compiler.config.model import BuildConfig
from compiler.errors import CalibrationError
from compiler.pipeline.accuracy import Measure, find_measure
from compiler.pipeline.cache import StageCache, default_folder
from compiler.pipeline.clock import Clock
from compiler.pipeline.int8 import OpenQuantizer
from compiler.pipeline.network import postprocessing_of
from compiler.pipeline.prepare import prepare
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.record import inputs_of, specs_of
from compiler.pipeline.relative_latency import RelativeLatency
from compiler.pipeline.samples import find_build_samples
from compiler.pipeline.sessions import open_as_deployed, open_model
from compiler.pipeline.workbench import Workbench, open_network, save
from compiler.runner.engine import EngineName
from compiler.verify.compare import Tensors

FEEDS: Final = 4
"""Samples behind figures of noise."""

_TASK_METRICS: Final = MappingProxyType({"mean_iou": "miou", "foreground_iou": "fg_iou"})


@dataclass(frozen=True, slots=True)
class Score:
    """How accurate a network is.

    Args:
        metric: What points mean; see `pipeline.accuracy`.
        measure: Measures them.
        float_points: Of the float network.
        points: Of the int8 network.
    """

    metric: str
    measure: Measure
    float_points: float
    points: float

    @property
    def lost(self) -> float:
        """Points that int8 costs."""
        return self.float_points - self.points


@dataclass(frozen=True, slots=True)
class Present:
    """A network and what it was measured at.

    Args:
        bench: Makes others of the same build file.
        layers: Names that the lists of a build file may give.
        opened: The float network, observed.
        quantized: The int8 network.
        model: Its file.
        score: Its accuracy.
        expected: Outputs of the float network on the bench's few samples.
        noise: Noise-to-signal ratio of the int8 network's.
    """

    bench: Workbench
    layers: frozenset[str]
    opened: OpenQuantizer
    quantized: Quantized
    model: Path
    score: Score
    expected: Sequence[Tensors]
    noise: float


@contextmanager
def open_present(
    config: BuildConfig, folder: Path, images: int, *, allow: bool
) -> Iterator[Present]:
    """Build and measure the int8 network of a build file; it is kept loaded during the block.

    Args:
        config: The build file.
        folder: For files; empty.
        images: Most images to measure accuracy on.
        allow: Whether its preprocessing may run Python code.

    Raises:
        BuildFileError: The network is not to be found, or the metric does not suit it.
        CalibrationError: The data cannot be used.
    """
    # Every network that is tried finds the float one in a cache, if need be one of this run.
    cache = StageCache(default_folder() or folder / "stages")
    float_folder, int8_folder = folder / "float", folder / "int8"
    float_folder.mkdir()
    int8_folder.mkdir()
    prepared = prepare(config, cache, float_folder, Clock(None))
    inputs, rule = inputs_of(prepared.interface), postprocessing_of(prepared.interface)
    samples, chain = find_build_samples(
        config, inputs, held_out=0, needed=True, allow_custom_code=allow
    )
    if samples is None:
        raise CalibrationError(
            "there is no calibration data",
            where=f"{config.name}: dataset.path",
            fix="name a folder of images or arrays",
        )
    output = specs_of(prepared.interface.outputs)[0]
    measures = [
        (one.metric, find_measure(config, one, samples, chain, inputs, output, rule))
        for one in _accuracies(config, images)
    ]
    opened = open_network(config, samples, cache, int8_folder)
    quantized = opened.quantizer.quantize(opened.floats)
    model = save(quantized.graph, int8_folder)
    score = _first_loss(measures, prepared.original, model, folder, config.backend.build_engine)
    few = samples.spread(FEEDS)
    feeds = list(few.feeds(few.calibration))
    with open_model(prepared.original) as run:
        expected = [run(one) for one in feeds]
    with open_as_deployed(model, config.backend.build_engine) as run:
        latency = RelativeLatency(run, feeds[0], time.perf_counter)
        bench = Workbench(config, samples, cache, score.measure, latency, feeds, folder)
        noise = bench.noise(quantized.graph, expected)
        names = frozenset(prepared.layers)
        yield Present(bench, names, opened, quantized, model, score, expected, noise)


def _accuracies(config: BuildConfig, images: int) -> tuple[Accuracy, ...]:
    """What to measure: the metric of the build file, then noise against the float network."""
    asked, task = config.backend.quantize.accuracy, config.verify.metric
    noise = Accuracy(metric="sqnr", images=images)
    if asked is not None:
        first = asked.model_copy(update={"images": images})
        return first, first.model_copy(update={"metric": "sqnr"})
    return (Accuracy(metric=_TASK_METRICS[task], images=images), noise) if task else (noise,)


def _first_loss(
    measures: Sequence[tuple[str, Measure]],
    original: Path,
    model: Path,
    folder: Path,
    engine: EngineName,
) -> Score:
    """By the first measure by which int8 loses anything, else by the last."""
    for metric, measure in measures:
        reference = folder / f"points_{metric}"
        reference.mkdir(exist_ok=True)
        with open_model(original) as run:
            float_points = measure.reference(run, reference)
        with open_model(model, engine=engine) as run:
            score = Score(metric, measure, float_points, measure.points(run))
        if score.lost > 0:
            break
    return score
