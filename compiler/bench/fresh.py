"""What loading a bundle takes, and what it takes to hold one: measured in fresh processes.

Each start is a new Python process. Its steps are told apart: Python itself until its first own
line; the imports of the runner, numpy and the engine; reading the manifest and comparing every
file with its hash; opening the session; and the first run. A "cold" start follows a request to the
system to drop the bundle's files from memory, so that reading them is part of its steps (the
libraries stay in memory); `cached` says what share of them stayed. A "warm" start finds them there.
"nothing kept" is a warm start without the user's cache, where an engine may keep what it has
compiled before. Starts of all kinds take turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from compiler import errors
from compiler.bench.memory import NOTHING, Memory, memory_by_file
from compiler.bench.page_cache import cached_share, evict
from compiler.bench.progress import Progress, silent
from compiler.bench.statistics import Spread, spread_of
from compiler.errors import BundleError
from compiler.runner.engine import EngineName
from compiler.runner.read import Bundle
from compiler.runner.user_cache import kept_folders

Start: TypeAlias = Literal["cold", "warm", "nothing kept"]
STARTS: Final[tuple[Start, ...]] = ("cold", "warm", "nothing kept")
STEPS: Final = ("python", "imports", "check", "open", "first_run")
MORE_RUNS: Final = 3
"""Runs after the first one, before memory is read."""


@dataclass(frozen=True, slots=True)
class Loading:
    """What starts of one kind took.

    Args:
        engine: That ran.
        threads: Of one operator.
        start: What was there before.
        cached: What share of their pages was, before the start; None where nothing tells.
        milliseconds: By step, as in `STEPS`, and in "total".
    """

    engine: EngineName
    threads: int
    start: Start
    cached: float | None
    milliseconds: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class Holding:
    """Memory of a process that holds a bundle and ran it.

    Args:
        engine: That ran.
        threads: Of one operator.
        before: After the imports, before the bundle is touched.
        after: After some runs.
        peak: Largest resident memory until then, in bytes.
    """

    engine: EngineName
    threads: int
    before: Memory | None
    after: Memory | None
    peak: int | None


@dataclass(frozen=True, slots=True)
class Sharing:
    """Memory of several processes that hold one bundle at the same time.

    Args:
        engine: That ran.
        threads: Of one operator.
        processes: How many.
        alone: The first process, before the others started, by what its pages are.
        together: All of them added up, likewise.
    """

    engine: EngineName
    threads: int
    processes: int
    alone: Mapping[str, Memory]
    together: Mapping[str, Memory]


@dataclass(frozen=True, slots=True)
class Held:
    """A process that holds a bundle: its number, and the answer of `compiler.bench.child`."""

    process: int
    answer: Mapping[str, Any]  # Any: JSON


def measure_loading(
    bundle: Bundle,
    engines: Sequence[tuple[EngineName, int]],
    starts: int,
    *,
    progress: Progress = silent,
) -> tuple[tuple[Loading, ...], tuple[Holding, ...]]:
    """Times of starts of all kinds, and memory after a warm one.

    Args:
        bundle: On disk; nobody may have it open, else its pages stay in memory.
        engines: Engines and threads.
        starts: Of each kind.
        progress: Called as progress(stage, done, total).

    Raises:
        ModcError: The bundle does not load.
    """
    files = [bundle.folder / name for name in bundle.manifest.files]
    answers: dict[tuple[EngineName, int, Start], list[Mapping[str, Any]]] = {}
    cached: dict[tuple[EngineName, int, Start], float | None] = {}
    kinds = [(engine, threads, start) for engine, threads in engines for start in STARTS]
    for number, key in enumerate(starts * kinds):
        progress("start", number, starts * len(kinds))
        engine, threads, start = key
        if start == "cold":
            evict(files)
        cached[key] = cached_share(files)
        with hold(bundle.prefix, engine, threads, kept=start != "nothing kept") as held:
            answers.setdefault(key, []).append(held.answer)
    progress("start", starts * len(kinds), starts * len(kinds))
    loadings = tuple(
        _loading(*key, cached[key], [one["milliseconds"] for one in found])
        for key, found in answers.items()
    )
    return loadings, tuple(
        _holding(engine, threads, found[-1])
        for (engine, threads, start), found in answers.items()
        if start == "warm"
    )


def measure_sharing(
    bundle: Bundle, engine: EngineName, threads: int, processes: int
) -> Sharing | None:
    """Memory of several processes on one bundle; None where the system does not tell.

    Raises:
        ModcError: The bundle does not load.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(hold(bundle.prefix, engine, threads))]
        alone = memory_by_kind(bundle.folder, held)
        for _ in range(processes - 1):
            held.append(stack.enter_context(hold(bundle.prefix, engine, threads)))
        together = memory_by_kind(bundle.folder, held)
    if alone is None or together is None:
        return None
    return Sharing(engine, threads, processes, alone, together)


def memory_by_kind(folder: Path, held: Sequence[Held]) -> dict[str, Memory] | None:
    """Memory of processes, added up, by what their pages are; None as `memory_by_file`.

    Returns:
        "bundle" (pages of its files, and of those that the engine made of them and keeps in the
        user's cache; processes share both), "libraries" (of all other files) and "anonymous" (heap,
        tensors, and weights that the engine holds in a form of its own).
    """
    folders = {folder.resolve(), *kept_folders()}
    kinds: dict[str, list[Memory]] = {"bundle": [], "libraries": [], "anonymous": []}
    for one in held:
        files = memory_by_file(one.process)
        if files is None:
            return None
        for name, memory in files.items():
            if not name.startswith("/"):
                kind = "anonymous"
            elif not folders.isdisjoint(Path(name).parents):
                kind = "bundle"
            else:
                kind = "libraries"
            kinds[kind].append(memory)
    return {kind: sum(found, NOTHING) for kind, found in kinds.items()}


@contextmanager
def hold(prefix: Path, engine: EngineName, threads: int, *, kept: bool = True) -> Iterator[Held]:
    """A fresh process that has loaded and run a bundle, and holds it until the block is left.

    Args:
        prefix: Of the bundle.
        engine: What runs it.
        threads: Of one operator.
        kept: Whether it may use what earlier processes left in the user's cache.

    Raises:
        ModcError: The bundle does not load there.
    """
    order = {
        "prefix": str(prefix.absolute()),
        "engine": engine,
        "threads": threads,
        "more_runs": MORE_RUNS,
        "spawned": time.monotonic(),
    }
    paths = [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if not kept:
        environment["MODC_CACHE"] = "off"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "compiler.bench.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )
    with process:
        assert process.stdin is not None  # as asked for
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise BundleError(
                    f"the process that loads it ended: {process.stderr.read().strip()[-500:]}",
                    where=str(prefix),
                    fix="check that the machine has memory for it, and that it runs: modc verify",
                )
            answer = json.loads(line)
            if "error" in answer:
                kind, what, where, fix = answer["error"]
                raise getattr(errors, kind)(what, where=where, fix=fix)
            yield Held(process.pid, answer)
        finally:
            process.stdin.close()


def _loading(
    engine: EngineName,
    threads: int,
    start: Start,
    cached: float | None,
    starts: Sequence[Mapping[str, float]],
) -> Loading:
    steps = {step: spread_of([start[step] for start in starts]) for step in STEPS}
    total = spread_of([sum(start.values()) for start in starts])
    return Loading(engine, threads, start, cached, steps | {"total": total})


def _holding(engine: EngineName, threads: int, answer: Mapping[str, Any]) -> Holding:
    before, after = (
        Memory(**answer[key]) if answer[key] is not None else None for key in ("before", "after")
    )
    return Holding(engine, threads, before, after, answer["peak"])
