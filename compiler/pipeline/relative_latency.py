"""Latencies that stay comparable while other work on the machine comes and goes."""

from collections.abc import Callable
from typing import Final

from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import Run

PAIRS: Final = 15
"""Times that two networks run one after the other; the fastest run of each counts.

Other work only ever adds to a time, and often to one of the two alone: ratios of single pairs, and
their median, may then be off by several times.
"""


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
        self.reference_milliseconds = min(self._time(reference) for _ in range(PAIRS))

    def milliseconds(self, run: Run) -> float:
        """Latency of one sample, as if the machine were as busy as at first."""
        run(self._feeds)
        pairs = [(self._time(run), self._time(self._reference)) for _ in range(PAIRS)]
        own, reference = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
        return self.reference_milliseconds * own / reference

    def _time(self, run: Run) -> float:
        start = self._clock()
        run(self._feeds)
        return 1000 * (self._clock() - start)
