"""Compiled against original network, one after the other: both need not fit into memory."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from compiler.config.model import BuildConfig, Verify
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, CalibrationError
from compiler.evaluate.masks import Pair, pair_masks, read_classes, read_foreground
from compiler.evaluate.segmentation import ForegroundIou, MeanIou
from compiler.pipeline.build import Latency
from compiler.pipeline.samples import Feeds, Input, Samples, random_feeds
from compiler.pipeline.sessions import Run, give_back_memory, open_model
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import class_mask
from compiler.runner.onnxruntime import cpus, load
from compiler.verify.compare import Tensors, compare
from compiler.verify.result import TaskFigures, VerifyResult

RANDOM_SAMPLES = 2
LATENCY_TURNS = 3
LATENCY_SAMPLES = 10
LATENCY_MILLISECONDS = 500.0


@dataclass(frozen=True, slots=True)
class Task:
    """Images with masks and the metric on them, as the build file names them."""

    verify: Verify
    pairs: tuple[Pair, ...]
    load: Callable[[Path], Feeds]
    output: str
    rule: Postprocessing

    def measure(self, run: Run) -> tuple[float, int]:
        """The metric in points and the number of images that counted.

        Raises:
            CalibrationError: A mask cannot be read or holds values that are no class.
        """
        metric = (
            MeanIou(self.verify.classes or 0, self.verify.ignore)
            if self.verify.metric == "mean_iou"
            else ForegroundIou()
        )
        for pair in self.pairs:
            predicted = class_mask(run(self.load(pair.image))[self.output], self.rule)
            read = read_classes if self.verify.metric == "mean_iou" else read_foreground
            try:
                metric.add(predicted.astype(np.int64), read(pair.mask, predicted.shape))
            except ValueError as error:
                raise CalibrationError(
                    str(error),
                    where=str(pair.mask),
                    fix="correct verify.classes and verify.ignore, or the mask",
                ) from error
        if not metric.images:
            raise CalibrationError(
                f"{self.verify.metric} is undefined: no image has foreground",
                where=str(self.verify.masks),
                fix="give masks with foreground (value 125 or more)",
            )
        return metric.value(), metric.images


def find_task(
    config: BuildConfig,
    chain: Chain | None,
    inputs: Sequence[Input],
    output: str,
    rule: Postprocessing | None,
) -> Task | None:
    """The task of the build file, if it names one.

    Raises:
        BuildFileError: The network or its preprocessing does not suit the metric.
        CalibrationError: Images or masks are missing.
    """
    verify = config.verify
    if verify.images is None or verify.masks is None:
        return None
    if chain is None or rule is None:
        what = "process_ops to prepare images" if chain is None else "an output of shape 1×C×H×W"
        raise BuildFileError(
            f"{verify.metric} needs {what}",
            where=f"{config.name}: verify.metric",
            fix="add dataset.process_ops, or remove images, masks and metric",
        )
    pairs = pair_masks(
        resolve_input(verify.images, config.base_dir, where=f"{config.name}: verify.images"),
        resolve_input(verify.masks, config.base_dir, where=f"{config.name}: verify.masks"),
    )
    name, dtype = inputs[0].name, inputs[0].dtype
    return Task(
        verify, pairs, lambda path: {name: chain(path).astype(dtype, copy=False)}, output, rule
    )


def verification_feeds(
    samples: Samples | None, task: Task | None, inputs: Sequence[Input], count: int
) -> tuple[list[Feeds], str]:
    """Samples to compare on, and where they come from.

    Files that calibration did not use are best: of the data set, else of the task. If there are
    none, calibration's own files have to do, and the origin says so.
    """
    if samples and samples.held_out:
        return list(samples.feeds(samples.held_out[:count])), "held-out samples"
    if task:
        return [task.load(pair.image) for pair in task.pairs[:count]], "held-out samples"
    if samples:
        return list(samples.feeds(samples.calibration[:count])), "calibration samples"
    return list(random_feeds(inputs, RANDOM_SAMPLES)), "random inputs"


def verification_runs(feeds: Sequence[Feeds], task: Task | None) -> int:
    """How many samples `verify_network` runs, both networks counted."""
    return 2 * (len(feeds) + (len(task.pairs) if task else 0))


def verify_network(
    original: Path,
    compiled: Path,
    feeds: Sequence[Feeds],
    origin: str,
    task: Task | None,
    layers: Iterable[tuple[Tensors, Tensors]] | None,
    on_sample: Callable[[int], None],
) -> VerifyResult:
    """Run both networks on the same samples.

    Args:
        original: Model file as the frontend read it, before any pass.
        compiled: Model file of the bundle.
        feeds: Samples.
        origin: Where they come from.
        task: Metric on images with masks.
        layers: For int8, (float, quantized) values of the inner tensors, sample by sample.
        on_sample: Called with the number of samples run so far.
    """
    done = count(1)

    def counted(run: Run) -> Run:
        def run_and_tell(one: Feeds) -> Tensors:
            outputs = run(one)
            on_sample(next(done))
            return outputs

        return run_and_tell

    with open_model(original) as session:
        run = counted(session)
        reference = [run(one) for one in feeds]
        before = task.measure(run) if task else None
    with open_model(compiled) as session:
        run = counted(session)
        outputs = compare(
            (expected, run(one)) for expected, one in zip(reference, feeds, strict=True)
        )
        after = task.measure(run) if task else None
    figures = None
    if task and before and after:
        figures = TaskFigures(
            str(task.verify.metric),
            after[1],
            round(before[0], 4),
            round(after[0], 4),
            task.verify.max_drop,
        )
    return VerifyResult(len(feeds), origin, outputs, compare(layers) if layers else (), figures)


def measure_latency(original: Path, compiled: Path, feeds: Feeds) -> Latency:
    """Median time of one sample in both networks, on all CPUs.

    They take turns, several samples at a time, and are never in memory together.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(LATENCY_TURNS):
        for path, measured in zip((original, compiled), times, strict=True):
            measured += _time_samples(path, feeds)
    return Latency(median(times[0]), median(times[1]), cpus())


def _time_samples(path: Path, feeds: Feeds) -> list[float]:
    session = load(path)
    session.run(feeds)
    times: list[float] = []
    while len(times) < LATENCY_SAMPLES and sum(times) < LATENCY_MILLISECONDS:
        start = time.perf_counter()
        session.run(feeds)
        times.append(1000 * (time.perf_counter() - start))
    session.close()
    give_back_memory()
    return times
