"""Compiled against original network, one after the other: both need not fit into memory."""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path

from compiler.pipeline.samples import Feeds, Input, Samples, random_feeds
from compiler.pipeline.sessions import Run, open_model
from compiler.pipeline.task import Task
from compiler.verify.compare import Tensors, compare
from compiler.verify.result import TaskFigures, VerifyResult

RANDOM_SAMPLES = 2
"""Random inputs cost no files, and say little: two show whether the network works."""


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
    layers: Iterable[tuple[Tensors, Tensors]],
    on_sample: Callable[[int], None],
) -> VerifyResult:
    """Run both networks on the same samples.

    Args:
        original: Model file as the frontend read it, before any pass.
        compiled: Model file of the bundle.
        feeds: Samples.
        origin: Where they come from.
        task: Metric on images with masks.
        layers: For int8 (else empty), sample by sample, (float, quantized) values of the inner
            tensors.
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
    return VerifyResult(len(feeds), origin, outputs, compare(layers), figures)
