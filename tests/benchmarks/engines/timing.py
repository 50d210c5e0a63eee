"""Contestants that take turns, and what their outputs are worth."""

import gc
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compiler.pipeline.sessions import give_back_memory
from compiler.runner.cpu import cpus
from compiler.verify.metrics import Agreement
from tests.benchmarks.engines.columns import COLUMNS, REFERENCE, Column
from tests.benchmarks.engines.results import Measured
from tests.benchmarks.engines.sessions import Floats, Loaded, Run, open_column, open_unoptimized

PAUSE = 0.08
"""Seconds before each run, in which the threads of the engine before stop spinning."""

logger = logging.getLogger(__name__)


def measure(
    columns: Mapping[str, Column],
    paths: Mapping[str, Path],
    images: Sequence[Floats],
    *,
    rounds: int,
    threads: Sequence[int],
    input_name: str = "input",
) -> dict[str, Measured]:
    """Measure all contestants on one network.

    Args:
        columns: Contestants; `REFERENCE` is one of them.
        paths: File of each graph.
        images: Inputs of the network. All are compared, the first is timed.
        rounds: Samples per contestant and number of threads.
        threads: Numbers of threads, measured one after the other.
        input_name: The networks' only input.
    """
    milliseconds: dict[str, dict[int, tuple[float, ...]]] = {key: {} for key in columns}
    seconds: dict[str, dict[int, float]] = {key: {} for key in columns}
    for count in threads:
        loaded: dict[str, Loaded] = {}
        for key, column in columns.items():
            loaded[key] = open_column(column, paths[column.graph], count, input_name=input_name)
            seconds[key][count] = loaded[key].load_seconds
        logger.info("  threads %d: %d graphs loaded", count, len(loaded))
        runs = {key: one.run for key, one in loaded.items()}
        agreements = _compare(runs, images[:1] if count != threads[-1] else images)
        clock = time.process_time if count == 1 else time.perf_counter
        for key, samples in _in_turns(runs, images[0], rounds, clock).items():
            milliseconds[key][count] = samples
        precisions = {key: one.precision for key, one in loaded.items()}
        runs.clear()
        loaded.clear()
        gc.collect()
        give_back_memory()
    return {
        key: Measured(milliseconds[key], seconds[key], precisions[key], *agreements[key])
        for key in columns
    }


def measure_rounding(path: Path, images: Sequence[Floats]) -> float:
    """What rounding alone changes: the network in ONNX Runtime, optimized against not optimized.

    Returns:
        max|error| / range.
    """
    reference = open_column(COLUMNS[REFERENCE], path, cpus())
    runs = {REFERENCE: reference.run, "not optimized": open_unoptimized(path)}
    return _compare(runs, images)["not optimized"][0]


def _in_turns(
    runs: Mapping[str, Run], image: Floats, rounds: int, clock: Callable[[], float]
) -> dict[str, tuple[float, ...]]:
    """Milliseconds of every run."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            time.sleep(PAUSE)
            run(image)  # wakes the CPUs, which may take as long as a run
            start = clock()
            run(image)
            times[key].append(1000 * (clock() - start))
    return {key: tuple(samples) for key, samples in times.items()}


def _compare(runs: Mapping[str, Run], images: Sequence[Floats]) -> dict[str, tuple[float, float]]:
    """max|error| / range and SQNR of each contestant; it has run then, and is warm."""
    agreements = {key: Agreement() for key in runs}
    low, high = math.inf, -math.inf
    for image in images:
        reference = runs[REFERENCE](image).copy()
        low, high = min(low, float(reference.min())), max(high, float(reference.max()))
        for key, run in runs.items():
            agreements[key].add(reference, run(image))
    return {key: (one.max_error / (high - low), one.sqnr_db) for key, one in agreements.items()}
