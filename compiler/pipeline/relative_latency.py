"""Latencies that stay comparable while other work on the machine comes and goes."""

from collections.abc import Callable
from statistics import median
from typing import Final

from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import Run

PAIRS: Final = 15
"""Times that two networks run one after the other; the median of their ratios counts."""


class RelativeLatency:
    """Times networks against one that runs in turns with them.

    Networks that are measured minutes apart see different loads. Each is therefore compared with
    the same reference at the same moment, and scaled to what the reference took at first.

    Args:
        reference: Such as the float network.
        feeds: One sample.
        clock: Seconds; such as time.perf_counter.
    """

    def __init__(self, reference: Run, feeds: Feeds, clock: Callable[[], float]) -> None:
        self._reference, self._feeds, self._clock = reference, feeds, clock
        reference(feeds)
        self.reference_milliseconds = median(self._time(reference) for _ in range(PAIRS))

    def milliseconds(self, run: Run) -> float:
        """Latency of one sample, as if the machine were as busy as at first."""
        run(self._feeds)
        ratios = [self._time(run) / self._time(self._reference) for _ in range(PAIRS)]
        return self.reference_milliseconds * median(ratios)

    def _time(self, run: Run) -> float:
        start = self._clock()
        run(self._feeds)
        return 1000 * (self._clock() - start)
