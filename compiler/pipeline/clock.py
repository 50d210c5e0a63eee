"""How long each stage takes, and how far it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
"""Called as report(stage, done, total); total 0 for a stage that has no steps."""


class Clock:
    """Measures the stages of one build and reports their progress.

    Args:
        report: Called when a stage begins and after each of its steps; None for silence.
    """

    def __init__(self, report: Report | None) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report or (lambda stage, done, total: None)

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """Time the block as stage `name`; yields step(done) for its progress."""
        self._report(name, 0, total)
        start = time.perf_counter()
        try:
            yield lambda done: self._report(name, done, total)
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
