"""Time of one KL search: `python tests/benchmarks/bench_kl.py`.

CPU milliseconds per tensor at 2048 bins, and how many times a plain loop over the candidates takes.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from calibration.kl import SIGNED_LEVELS, UNSIGNED_LEVELS, kept_bins
from tests.support.plain_loops import plain_kept_bins

BINS = 2048


def milliseconds(search: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        search()
        times.append(time.process_time() - start)
    return 1000 * median(times)


def main() -> None:
    """Print one line per number of levels."""
    values = np.abs(np.random.default_rng(0).laplace(size=1_000_000))
    counts = np.histogram(values, BINS, (0.0, values.max()))[0]
    for levels in (SIGNED_LEVELS, UNSIGNED_LEVELS):
        if kept_bins(counts, levels) != plain_kept_bins(counts, levels):
            raise SystemExit(f"{levels} levels: the search and the plain loop disagree")
        fast = milliseconds(partial(kept_bins, counts, levels), 51)
        plain = milliseconds(partial(plain_kept_bins, counts, levels), 3)
        line = f"{BINS} bins, {levels} levels: {fast:.2f} ms per tensor"
        sys.stdout.write(f"{line}, plain loop {plain:.0f} ms, {plain / fast:.0f} times\n")


if __name__ == "__main__":
    main()
