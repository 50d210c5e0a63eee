"""Everything that `modc bench` tells of a bundle, measured.

Order: what fresh processes take to load it and to hold it (`fresh`), while nobody has its files
open; then all settings in turns, in this process (`turns`). Every figure comes with the number of
rounds behind it and its spread: on a machine with other work, trust the ratios of contestants that
took turns, not figures of different days.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from compiler.bench.energy import EnergyMeter
from compiler.bench.fresh import (
    Holding,
    Loading,
    Sharing,
    measure_loading,
    measure_sharing,
)
from compiler.bench.machine import Machine, this_machine
from compiler.bench.networks import Network, Opener, inputs_of, open_bundle, open_file
from compiler.bench.progress import Progress, silent
from compiler.bench.settings import Setting
from compiler.bench.statistics import Spread, Summary, ratio_of, spread_of, summarise
from compiler.bench.turns import (
    Contestant,
    Course,
    Limit,
    Turn,
    share,
    take_turns,
    warm_up,
)
from compiler.errors import BuildFileError
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineChoice, EngineName
from compiler.runner.load import Runner
from compiler.runner.read import Bundle, find_bundle, read_bundle

WARM_UP: Final = 0.3
"""Seconds of each contestant, before the first round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Args:
        settings: One or more.
        rounds: Turns of each contestant.
        seconds: Of each contestant, all its turns together; unless `iterations` is given.
        iterations: Requests of each contestant, all its turns together.
        image: Feeds the networks; None for random values.
        preprocess: Also time the way from the image file to the outputs.
        compare: Another bundle, or an ONNX file, that takes turns with the bundle.
        starts: Cold and warm starts of each engine; 0 leaves loading and memory out.
        processes: That hold the bundle at the same time; 1 leaves sharing out.
        allow_custom_code: Whether preprocessing may run a Python file.
    """

    settings: Sequence[Setting] = (Setting(),)
    rounds: int = 10
    seconds: float = 3.0
    iterations: int | None = None
    image: Path | None = None
    preprocess: bool = False
    compare: str | None = None
    starts: int = 3
    processes: int = 1
    allow_custom_code: bool = False

    def limits(self) -> list[Limit]:
        """Of a turn, round by round."""
        if self.iterations is None:
            return [Limit(self.seconds / self.rounds)] * self.rounds
        return share(self.iterations, min(self.rounds, self.iterations))


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant and its figures.

    Args:
        path: As the user named it.
        asked: Engine asked for; None is what the bundle names.
        engine: That ran.
        threads: Of one operator.
        instances: Requests at the same time.
        batch: Samples of one request.
        course: What a request is: a batch through the network alone, or an image file.
        milliseconds: Latency of all requests.
        samples: How many were run.
        throughput: Samples per second, round by round.
        joules: Of the sockets per sample; None where nothing tells.
    """

    path: str
    asked: EngineChoice | None
    engine: EngineName
    threads: int
    instances: int
    batch: int
    course: Course
    milliseconds: Summary
    samples: int
    throughput: Spread
    joules: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The bundle against the other in one setting.

    Args:
        row: Index of the bundle's row.
        other: Index of the other's.
        latency: How many times as long a request takes in the other: the ratio of the medians of
            a round, of which it is the median and the quartiles.
        throughput: How many times as many samples per second the bundle runs, likewise.
    """

    row: int
    other: int
    latency: Spread
    throughput: Spread


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All that was measured of a bundle.

    Args:
        prefix: As the user named it.
        name: Of the bundle.
        digest: SHA-256 of its `mod.json`.
        dtype: Its precision.
        fed: What it read, in words.
        plan: What was asked for.
        machine: What it was measured on.
        rows: Figures by contestant; those of a setting stand together.
        ratios: Against the other, where there is one.
        loadings: Times of starts.
        holdings: Memory after a start.
        sharings: Memory of several processes.
        no_energy: Why no row has joules; None if they have.
        load_after: As `Machine.load`, after the measurement.
    """

    prefix: str
    name: str
    digest: str
    dtype: str
    fed: str
    plan: Plan
    machine: Machine
    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    loadings: tuple[Loading, ...]
    holdings: tuple[Holding, ...]
    sharings: tuple[Sharing, ...]
    no_energy: str | None
    load_after: float | None


def bench(prefix: str, plan: Plan, *, progress: Progress = silent) -> Benchmark:
    """Measure a bundle.

    Args:
        prefix: As for `Runner`.
        plan: What to measure.
        progress: Called as progress(stage, done, total).

    Raises:
        ModcError: The bundle, the other one, the image or an engine cannot be used.
    """
    bundle = read_bundle(prefix)
    if plan.preprocess and plan.image is None:
        raise BuildFileError(
            "--preprocess times the way from an image file, and none was given",
            where="modc bench",
            fix="name one with --image",
        )
    _check_rival(plan.compare)
    machine = this_machine()
    loadings, holdings, sharings = _fresh(bundle, plan, progress)
    meter = EnergyMeter()
    with ExitStack() as stack:
        entered = _enter(prefix, plan, stack)
        contestants = [one.contestant for one in entered]
        warm_up(contestants, WARM_UP)
        turns = take_turns(contestants, plan.limits(), meter=meter, progress=progress)
    rows = tuple(_row(one, own) for one, own in zip(entered, turns, strict=True))
    return Benchmark(
        prefix=prefix,
        name=bundle.manifest.name,
        digest=bundle.digest,
        dtype=str(bundle.manifest.quantization.get("dtype", "fp32")),
        fed="seeded random values" if plan.image is None else str(plan.image),
        plan=plan,
        machine=machine,
        rows=rows,
        ratios=_ratios(entered, turns),
        loadings=loadings,
        holdings=holdings,
        sharings=sharings,
        no_energy=meter.reason,
        load_after=this_machine().load,
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A contestant, what it was made from, and which one it is compared with."""

    path: str
    setting: Setting
    contestant: Contestant
    rival: int | None = None


def _enter(prefix: str, plan: Plan, stack: ExitStack) -> list[_Entry]:
    """Contestants of all settings; batches of one setting share a session."""
    own = partial(
        open_bundle, prefix=prefix, image=plan.image, allow_custom_code=plan.allow_custom_code
    )
    entries: list[_Entry] = []
    opened: dict[tuple[int, Setting], Network] = {}

    def network(side: int, opener: Opener, setting: Setting) -> Network:
        key = side, replace(setting, batch=1)
        if key not in opened:
            opened[key] = opener(setting)
            stack.callback(opened[key].close)
        return opened[key]

    for setting in plan.settings:
        mine = network(0, own, setting)
        theirs = plan.compare and network(1, _rival(plan, mine), setting)
        for image in (None, plan.image) if plan.preprocess else (None,):
            entries.append(_Entry(prefix, setting, Contestant(mine, setting.batch, image)))
            if theirs and (image is None or theirs.stream is not None):
                rival = Contestant(theirs, setting.batch, image)
                entries.append(_Entry(str(plan.compare), setting, rival, len(entries) - 1))
    return entries


def _check_rival(path: str | None) -> None:
    """Refuse a wrong path before anything is measured."""
    if path is not None and Path(path).suffix == ".onnx":
        inputs_of(Path(path))
    elif path is not None:
        find_bundle(path)


def _rival(plan: Plan, mine: Network) -> Opener:
    """How to open what the bundle is compared with."""
    assert plan.compare is not None  # checked by the caller
    if Path(plan.compare).suffix == ".onnx":
        return partial(open_file, path=Path(plan.compare), engine=mine.engine, given=mine.feeds)
    return partial(
        open_bundle,
        prefix=plan.compare,
        image=plan.image,
        allow_custom_code=plan.allow_custom_code,
    )


def _row(entry: _Entry, turns: Sequence[Turn]) -> Row:
    network = entry.contestant.network
    samples = sum(turn.samples for turn in turns)
    joules = [turn.joules for turn in turns if turn.joules is not None]
    return Row(
        path=entry.path,
        asked=entry.setting.engine,
        engine=network.engine,
        threads=network.threads,
        instances=network.instances,
        batch=entry.contestant.batch,
        course=entry.contestant.course,
        milliseconds=summarise([time for turn in turns for time in turn.milliseconds]),
        samples=samples,
        throughput=spread_of([turn.throughput for turn in turns]),
        joules=sum(joules) / samples if len(joules) == len(turns) else None,
    )


def _ratios(entries: Sequence[_Entry], turns: Sequence[Sequence[Turn]]) -> tuple[Ratio, ...]:
    pairs = [(one.rival, index) for index, one in enumerate(entries) if one.rival is not None]
    return tuple(
        Ratio(
            mine,
            theirs,
            ratio_of(
                [turn.milliseconds for turn in turns[theirs]],
                [turn.milliseconds for turn in turns[mine]],
            ),
            ratio_of(
                [[turn.throughput] for turn in turns[mine]],
                [[turn.throughput] for turn in turns[theirs]],
            ),
        )
        for mine, theirs in pairs
    )


def _fresh(
    bundle: Bundle, plan: Plan, progress: Progress
) -> tuple[tuple[Loading, ...], tuple[Holding, ...], tuple[Sharing, ...]]:
    """What fresh processes tell."""
    loadings: tuple[Loading, ...] = ()
    holdings: tuple[Holding, ...] = ()
    sharings: list[Sharing | None] = []
    engines = _engines(bundle, plan) if plan.starts or plan.processes > 1 else []
    if plan.starts:
        loadings, holdings = measure_loading(bundle, engines, plan.starts, progress=progress)
    if plan.processes > 1:
        sharings = [measure_sharing(bundle, *one, plan.processes) for one in engines]
    return loadings, holdings, tuple(one for one in sharings if one is not None)


def _engines(bundle: Bundle, plan: Plan) -> list[tuple[EngineName, int]]:
    """Each engine that a setting comes to, with the threads of the first such setting."""
    found: dict[EngineName, int] = {}
    for setting in plan.settings:
        engine = setting.engine or bundle.manifest.engine
        threads = setting.threads or cpus()
        if engine == "auto":
            with Runner(bundle.prefix, engine=engine, threads=threads) as runner:
                engine = runner.engine
        found.setdefault(engine, threads)
    return list(found.items())
