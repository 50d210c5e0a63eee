"""The preprocessing linter: would the network rather have its images prepared in another way?

The fp32 network runs on a few calibration images as the build file prepares them, and as it does
with one change: red and blue exchanged, values of another scale (÷ 255 or not, normalised once
more or less), another way to the network's size. What counts is certainty that survives a mirror
(`certainty`), image by image, so that the same images are compared; where the build file has masks,
points of its metric decide.

Images differ, and so a network that hardly minds a change seems to like it on eight images by
chance. Whatever is ahead but not far ahead is therefore looked at again on five times as many
images, and must then be ahead by twice the standard error of the difference.

A crop shows larger things, padding smaller ones, and both move certainty without being right or
wrong (by a factor of 1.3 for networks that were certainly trained on stretched images): of ways to
the network's size, only masks decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from compiler.config.model import BuildConfig
from compiler.errors import ModcError
from compiler.evaluate.metric import Metric, Vector
from compiler.evaluate.pairs import Pair
from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import save_model
from compiler.pipeline.alternatives import Kind, list_alternatives, unchanged
from compiler.pipeline.certainty import find_head
from compiler.pipeline.network import checkpoint_of, postprocessing_of
from compiler.pipeline.open_sizes import shapes_of, size_at_largest
from compiler.pipeline.record import inputs_of, specs_of
from compiler.pipeline.samples import Samples, find_build_samples
from compiler.pipeline.sessions import open_as_deployed
from compiler.pipeline.spread import spread
from compiler.pipeline.task import Task, find_task
from compiler.pipeline.try_preprocessing import Bench, Trial
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Postprocessing

MORE_IMAGES: Final = 5
"""Times as many images for what is ahead, but not far ahead."""

PAIRS: Final = 16
"""Most images with masks."""

LEAST_GAIN: Final = 1.05
FAR_AHEAD: Final = 1.25
"""How many times as certain an alternative must be: at all, and to need no more images."""

CLOSE: Final = 0.75
"""Share of the best certainty from which on an alternative may yet turn out to be the best."""

STANDARD_ERRORS: Final = 2.0
FEWEST_IMAGES: Final = 4
"""Enough to leave out what is hopeless; fewer prove nothing."""

LEAST_CERTAINTY: Final = 0.02
"""Below it no alternative is worth a finding."""

POOR_CERTAINTY: Final = 0.05
"""Below it a network tells next to nothing apart."""

LEAST_POINTS: Final = 5.0
"""By which masks alone must say that an alternative is better."""

HOPELESS: Final = 0.5
"""Share of the best certainty below which a change is not looked at further."""

TINY: Final = 1e-6
"""Certainty that stands for none in a ratio."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A row of the linter's table.

    Args:
        alternative: A few words; the first row is "as it is".
        kind: What differs: "order", "values" or "resize"; None for the first row.
        certainty: Mean over images; None where none can be told.
        gain: It over that of the first row, on the same images; None likewise.
        points: Of the build file's metric; None without masks or where it was not measured.
        images: Images behind the certainty.
    """

    alternative: str
    kind: Kind | None
    certainty: float | None
    gain: float | None
    points: float | None
    images: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Another preprocessing that suits the network far better.

    Args:
        alternative: A few words.
        what: What it is, in one sentence.
        certainty: Under it; None where none can be told, as for `certainty_now`.
        certainty_now: As the build file is, on the same images.
        points: Of the build file's metric, under it; None without masks.
        points_now: As the build file is.
        advice: The change to the build file that makes it so.
    """

    alternative: str
    what: str
    certainty: float | None
    certainty_now: float | None
    points: float | None
    points_now: float | None
    advice: str


@dataclass(frozen=True, slots=True)
class Lint:
    """What the linter found.

    Args:
        findings: The best alternative if it is far better; else empty.
        trials: All that was tried, the build file's own preprocessing first.
        unit: What certainty is counted in; empty where none can be told.
        metric: Of the points; empty without masks.
        pairs: Images with masks that were compared.
        notes: What could not be looked at, and why, one sentence each.
    """

    findings: tuple[Finding, ...]
    trials: tuple[Tried, ...]
    unit: str
    metric: str
    pairs: int
    notes: tuple[str, ...]


def lint_preprocessing(
    config: BuildConfig, *, images: int = 8, allow_custom_code: bool = False
) -> Lint:
    """Look for a preprocessing that suits the network of a build file far better than its own.

    Example:
        for finding in lint_preprocessing(load_config("net.yaml")).findings:
            print(finding.what, finding.advice)

    Args:
        config: The build file; what `graph` asks for is left aside.
        images: Calibration images to begin with.
        allow_custom_code: Let a CustomFunc of the build file run its Python code.

    Raises:
        ModcError: The network, its preprocessing or its data set cannot be used.
    """
    graph = load_onnx(checkpoint_of(config), shapes_of(config)).graph
    size_at_largest(graph, shapes_of(config))
    inputs = inputs_of(graph)
    plain = config.graph.model_copy(update={"fold_normalization": False})
    samples, chain = find_build_samples(
        config.model_copy(update={"graph": plain}),
        inputs,
        held_out=0,
        needed=False,
        allow_custom_code=allow_custom_code,
    )
    if chain is None:
        return _nothing("the data are arrays: there is no preprocessing to change")
    notes = []
    task = None
    rule = postprocessing_of(graph)
    try:
        task = find_task(config, chain, inputs, specs_of(graph.outputs)[0], rule)
    except ModcError as error:
        notes.append(f"masks are not used: {error.what}")
    if samples is None and task is None:
        return _nothing("there are no images to look at")
    head = find_head(graph)
    if head is None:
        notes.append(
            "certainty cannot be told: the first output is neither one score per class nor a map "
            "of classes"
        )
    files = _files(samples, task.pairs if task else (), images * MORE_IMAGES)
    with TemporaryDirectory(prefix="modc_lint_") as folder:
        model = Path(folder) / "net.onnx"
        save_model(graph, model, model.with_suffix(".params"))
        with open_as_deployed(model) as run:
            bench = Bench(run, inputs[0], graph.outputs[0].name, head)
            linter = _Linter(bench, chain)
            linter.look(files, images)
            if task is not None:
                linter.compare(task)
    if not linter.images:
        return _nothing("none of the images can be used")
    return linter.result(tuple(notes))


class _Linter:
    """The trials of one chain, and what to make of them."""

    def __init__(self, bench: Bench, chain: Chain) -> None:
        self.bench = bench
        self.chain = chain
        pixels = bench.image.dtype == np.uint8
        ways = [unchanged(chain), *list_alternatives(chain, pixels=pixels)]
        self.now, *self.others = map(Trial, ways)
        self.images = 0
        self.pairs = 0
        self.metric: Metric | None = None

    def look(self, files: Sequence[Path], count: int) -> None:
        """Let all trials answer for a few images, and what is not hopeless for more.

        Args:
            files: Images, as many as may be looked at.
            count: How many of them to begin with.
        """
        order = spread(files, count)
        more = [one for one in files if one not in order]
        looked = self.bench.look([self.now, *self.others], order[:FEWEST_IMAGES])
        self.others = [trial for trial in self.others if trial.differs]
        hopeful = [
            trial
            for trial in self.others
            if trial.alternative.kind != "resize" and not self._is_hopeless(trial)
        ]
        self.images = looked + self.bench.look([self.now, *hopeful], order[FEWEST_IMAGES:])
        ahead = self._contenders()
        if ahead and not (len(ahead) == 1 and self._is_far_better(ahead[0], FAR_AHEAD)):
            self.bench.look([self.now, *ahead], more)

    def compare(self, task: Task) -> None:
        """Measure what is not hopeless on some of the images with masks."""
        pairs = spread(task.pairs, PAIRS)
        hopeful = [
            trial
            for trial in self.others
            if trial.alternative.kind == "resize" or not self._is_hopeless(trial)
        ]
        self.metric = replace(task, rule=Postprocessing("classes"), see=None).metric()
        self.pairs = self.bench.compare(
            [self.now, *hopeful], pairs, self.metric, task.rule, self.chain.shape
        )

    def result(self, notes: tuple[str, ...]) -> Lint:
        """The best alternative, if it is far better, and the table."""
        better = [trial for trial in self.others if self._is_finding(trial)]
        better.sort(key=lambda trial: (self._points(trial) or 0.0, self._gain(trial)), reverse=True)
        head = self.bench.head
        certain = self.bench.certainties(self.now, len(self.now.answers))
        if len(certain) and not better and certain.mean() < POOR_CERTAINTY:
            poor = (
                "the network tells next to nothing apart under any of these: it may need another "
                "mean and std, or what it looks for is rare in these images"
            )
            notes = (*notes, poor)
        return Lint(
            tuple(map(self._finding, better[:1])),
            tuple(map(self._row, [self.now, *self.others])),
            head.unit if head else "",
            self.metric.figure if self.metric and self.pairs else "",
            self.pairs,
            notes,
        )

    def _contenders(self) -> list[Trial]:
        """What is ahead of the present way, and not far behind the best."""
        ahead = [
            trial
            for trial in self.others
            if trial.alternative.kind != "resize" and self._gain(trial) > 1
        ]
        best = max(map(self._gain, ahead), default=0.0)
        return [trial for trial in ahead if self._gain(trial) >= CLOSE * best]

    def _is_hopeless(self, trial: Trial) -> bool:
        best = max(map(self._gain, self.others))
        return self._gain(trial) < HOPELESS * max(1.0, best)

    def _is_finding(self, trial: Trial) -> bool:
        certain = trial.alternative.kind != "resize" and self._is_far_better(trial, LEAST_GAIN)
        points, now = self._points(trial), self._points(self.now)
        if now is None:
            return certain
        if points is None:
            return False
        return points > now + LEAST_POINTS or (certain and points > now)

    def _is_far_better(self, trial: Trial, least: float) -> bool:
        """Whether certainty is higher by a factor, and by more than chance."""
        certain, now = self._certainties(trial)
        if len(now) < FEWEST_IMAGES or certain.mean() < LEAST_CERTAINTY:
            return False
        more = certain - now
        error = more.std(ddof=1) / np.sqrt(len(more))
        return bool(certain.mean() >= least * now.mean() and more.mean() > STANDARD_ERRORS * error)

    def _certainties(self, trial: Trial) -> tuple[Vector, Vector]:
        """Of a trial and of the present way, on the same images."""
        count = len(trial.answers)
        return self.bench.certainties(trial, count), self.bench.certainties(self.now, count)

    def _gain(self, trial: Trial) -> float:
        """Certainty over that of the present way, on the same images; 1 where none can be told."""
        certain, now = self._certainties(trial)
        return float(certain.mean() / max(now.mean(), TINY)) if len(now) else 1.0

    def _points(self, trial: Trial) -> float | None:
        if self.metric is None or not trial.statistics:
            return None
        statistics = np.stack(trial.statistics)
        if not self.metric.use(statistics).used:
            return None
        return self.metric.values(statistics)[self.metric.figure]

    def _row(self, trial: Trial) -> Tried:
        way = trial.alternative
        certain, _ = self._certainties(trial)
        mean = float(certain.mean()) if len(certain) else None
        gain = self._gain(trial) if len(certain) else None
        return Tried(way.name, way.kind, mean, gain, self._points(trial), len(trial.answers))

    def _finding(self, trial: Trial) -> Finding:
        row = self._row(trial)
        now = float(self._certainties(trial)[1].mean()) if row.certainty is not None else None
        points = self._points(self.now)
        facts = []
        if row.points is not None and points is not None:
            facts.append(f"{row.points:.1f} points instead of {points:.1f}")
        if row.certainty is not None and now is not None:
            facts.append(f"certainty {row.certainty:.3f} instead of {now:.3f}")
        way = trial.alternative
        what = f"the network seems to be trained {way.is_so}: {', '.join(facts)}"
        return Finding(way.name, what, row.certainty, now, row.points, points, way.advice)


def _files(samples: Samples | None, pairs: Sequence[Pair], count: int) -> tuple[Path, ...]:
    """Images to look at, spread over the calibration data; else over the pairs."""
    if samples is not None:
        return tuple(sample.path for sample in spread(samples.calibration, count))
    return tuple(pair.image for pair in spread(pairs, count))


def _nothing(why: str) -> Lint:
    return Lint((), (), "", "", 0, (why,))
