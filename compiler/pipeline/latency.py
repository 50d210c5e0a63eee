"""Latency of the original and of the compiled network."""

import time
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final

from compiler.pipeline.build import Latency
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import give_back_memory, load_model, load_on
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineName, Session

TURNS: Final = 3
SAMPLES: Final = 10
MILLISECONDS: Final = 50.0
"""A turn of one network ends after this many samples, or once they have taken so long."""


def measure_latency(
    original: Path,
    compiled: Path,
    feeds: Feeds,
    *,
    bfloat16: bool = False,
    engine: EngineName = "onnxruntime",
) -> Latency:
    """Median time of one sample in both networks, on all CPUs.

    Both are in memory and take turns, several samples at a time, so that what else the machine does
    meets them alike.

    Args:
        original: Model file of the network before any pass.
        compiled: Model file of the bundle.
        feeds: One sample.
        bfloat16: Whether the compiled network multiplies in bfloat16.
        engine: What runs both.
    """
    sessions = [_load(original, False, engine), _load(compiled, bfloat16, engine)]
    for session in sessions:
        session.run(feeds)  # the first run takes longer
    turns = [[_time_samples(session, feeds) for session in sessions] for _ in range(TURNS)]
    for session in sessions:
        session.close()
    give_back_memory()
    networks = list(zip(*turns, strict=True))
    before, after = (median(chain.from_iterable(one)) for one in networks)
    unrest = max(max(times) / min(times) for times in (list(map(median, one)) for one in networks))
    return Latency(before, after, cpus(), round(unrest, 2))


def _load(path: Path, bfloat16: bool, engine: EngineName) -> Session:
    if engine == "onnxruntime":
        return load_model(path, bfloat16=bfloat16, in_turns=True)
    return load_on(engine, path, bfloat16=bfloat16)


def _time_samples(session: Session, feeds: Feeds) -> list[float]:
    times: list[float] = []
    while len(times) < SAMPLES and sum(times) < MILLISECONDS:
        start = time.perf_counter()
        session.run(feeds)
        times.append(1000 * (time.perf_counter() - start))
    return times
