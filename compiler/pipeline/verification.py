"""Compiled against original network, one after the other: both need not fit into memory."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from calibration.dataset import Sample
from compiler.errors import GraphError
from compiler.graph.open_sizes import is_open
from compiler.pipeline.clock import Clock
from compiler.pipeline.samples import Feeds, Input, Samples, random_feeds
from compiler.pipeline.sessions import Run, open_model
from compiler.pipeline.stages import Source
from compiler.pipeline.stored_arrays import load_arrays, save_arrays
from compiler.pipeline.task import Task
from compiler.runner.engine import EngineName
from compiler.verify.compare import Tensors, compare
from compiler.verify.result import TaskFigures, TensorFigures, VerifyResult

RANDOM_SAMPLES = 2
"""Random inputs cost no files, and say little: two show whether the network works."""


@dataclass(frozen=True, slots=True)
class VerificationSamples:
    """Samples to compare on.

    Args:
        feeds: One by one.
        names: Of their files, in that order; empty for random inputs.
        origin: Where they come from, as in `VerifyResult`.
    """

    feeds: Sequence[Feeds]
    names: Sequence[str]
    origin: str


def verification_samples(
    samples: Samples | None, task: Task | None, inputs: Sequence[Input], count: int
) -> VerificationSamples:
    """Samples to compare on.

    Files that calibration did not use are best: of the data set, else of the task. If there are
    none, calibration's own files have to do, and the origin says so.
    """
    if samples and samples.held_out:
        return _of_data_set(samples, samples.held_out[:count], "held-out samples")
    if task:
        images = [pair.image for pair in task.pairs[:count]]
        feeds, names = [task.load(image) for image in images], [image.name for image in images]
        return VerificationSamples(feeds, names, "held-out samples")
    if samples:
        return _of_data_set(samples, samples.calibration[:count], "calibration samples")
    return VerificationSamples(list(random_feeds(inputs, RANDOM_SAMPLES)), (), "random inputs")


def check_smallest(
    model: Path,
    inputs: Sequence[Input],
    *,
    what: str,
    fix: str,
    bfloat16: bool = False,
    engine: EngineName = "onnxruntime",
) -> None:
    """Run a network at the smallest of its open sizes; everything else runs at the largest.

    Args:
        model: Model file.
        inputs: Its inputs; nothing is done where no size is open.
        what: Which network it is, for the error.
        fix: What to do when it fails.
        bfloat16: Whether it multiplies in bfloat16.
        engine: What runs it.

    Raises:
        GraphError: The network cannot run.
    """
    if not any(is_open(one.shape) for one in inputs):
        return
    *_, smallest = random_feeds(inputs, 2)
    with open_model(model, bfloat16=bfloat16, engine=engine) as run:
        try:
            run(smallest)
        except GraphError as error:
            raise GraphError(
                f"{what} does not run at its smallest size: {error.what}",
                where="frontend.shape",
                fix=fix,
            ) from error


@dataclass(frozen=True, slots=True)
class Reference:
    """What the original network makes of the samples.

    Args:
        outputs: Sample by sample.
        points: Its metric on the task's images; None without a task.
    """

    outputs: Sequence[Tensors]
    points: float | None


def find_reference(
    original: Path, feeds: Sequence[Feeds], task: Task | None, source: Source, clock: Clock
) -> Reference:
    """Run the original network, or take what it made of the same samples before.

    Args:
        original: Model file as the frontend read it, before any pass.
        feeds: Samples.
        task: Metric on images with masks.
        source: Of the original network.
        clock: Times the stage.
    """
    facts = {"feeds": _digest(feeds), "task": "none" if task is None else task.facts()}
    with clock.stage("reference", len(feeds) + (len(task.pairs) if task else 0)) as step:
        found = source.load("reference", facts, _read)
        if found is None:
            with open_model(original) as session:
                run = _counted(session, step)
                outputs = [run(one) for one in feeds]
                found = Reference(outputs, task.measure(run)[0] if task else None)
            source.store("reference", facts, partial(_write, found))
    return found


def verify_network(
    reference: Reference,
    compiled: Path,
    feeds: Sequence[Feeds],
    origin: str,
    task: Task | None,
    layers: tuple[TensorFigures, ...],
    clock: Clock,
    *,
    bfloat16: bool = False,
    engine: EngineName = "onnxruntime",
    look: Callable[[Tensors], None] | None = None,
) -> VerifyResult:
    """Run the compiled network on the samples of the reference.

    Args:
        reference: Of the original network.
        compiled: Model file of the bundle.
        feeds: Samples.
        origin: Where they come from.
        task: Metric on images with masks.
        layers: For int8, the figures of its inner tensors.
        clock: Times the stage.
        bfloat16: Whether the compiled network multiplies in bfloat16.
        engine: What runs the compiled network; ONNX Runtime has run the original one.
        look: Called with what the compiled network makes of each sample.
    """
    steps = len(feeds) + (len(task.pairs) if task else 0)
    with (
        clock.stage("verify", steps) as step,
        open_model(compiled, bfloat16=bfloat16, engine=engine) as session,
    ):
        run = _counted(session, step)
        outputs = compare(zip(reference.outputs, _seen_by(look, map(run, feeds)), strict=True))
        after = task.measure(run) if task else None
    figures = None
    if task and after and reference.points is not None:
        figures = TaskFigures(
            str(task.verify.metric),
            after[1],
            round(reference.points, 4),
            round(after[0], 4),
            task.verify.max_drop,
        )
    return VerifyResult(len(feeds), origin, outputs, layers, figures)


def _of_data_set(samples: Samples, chosen: Sequence[Sample], origin: str) -> VerificationSamples:
    feeds = list(samples.feeds(chosen))
    names = [one.name for one in chosen if one.name not in samples.skipped]
    return VerificationSamples(feeds, names, origin)


def _seen_by(look: Callable[[Tensors], None] | None, found: Iterable[Tensors]) -> Iterator[Tensors]:
    for outputs in found:
        if look is not None:
            look(outputs)
        yield outputs


def _counted(run: Run, on_sample: Callable[[int], None]) -> Run:
    done = count(1)

    def run_and_tell(one: Feeds) -> Tensors:
        outputs = run(one)
        on_sample(next(done))
        return outputs

    return run_and_tell


def _digest(feeds: Sequence[Feeds]) -> str:
    digest = sha256()
    for one in feeds:
        for name, values in one.items():
            digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _write(reference: Reference, folder: Path) -> None:
    for number, outputs in enumerate(reference.outputs):
        save_arrays(outputs, folder / f"{number}.npz")
    facts = {"samples": len(reference.outputs), "points": reference.points}
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(folder: Path) -> Reference:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    outputs = [load_arrays(folder / f"{number}.npz") for number in range(facts["samples"])]
    return Reference(outputs, facts["points"])


_FACTS: Final = "facts.json"
