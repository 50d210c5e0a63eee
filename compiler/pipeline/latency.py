"""Latency of the original and of the compiled network."""

import time
from pathlib import Path
from statistics import median

from compiler.pipeline.build import Latency
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import give_back_memory, load_model
from compiler.runner.onnxruntime import cpus

TURNS = 3
SAMPLES = 10
MILLISECONDS = 500.0
"""A turn of one network ends after this many samples, or this long."""


def measure_latency(original: Path, compiled: Path, feeds: Feeds) -> Latency:
    """Median time of one sample in both networks, on all CPUs.

    They take turns, several samples at a time, and are never in memory together.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for path, measured in zip((original, compiled), times, strict=True):
            measured += _time_samples(path, feeds)
    return Latency(median(times[0]), median(times[1]), cpus())


def _time_samples(path: Path, feeds: Feeds) -> list[float]:
    session = load_model(path)
    session.run(feeds)
    times: list[float] = []
    while len(times) < SAMPLES and sum(times) < MILLISECONDS:
        start = time.perf_counter()
        session.run(feeds)
        times.append(1000 * (time.perf_counter() - start))
    session.close()
    give_back_memory()
    return times
