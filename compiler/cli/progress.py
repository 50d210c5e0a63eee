"""Progress of a build: bars on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compiler.pipeline.clock import Report


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """Yield the callback that shows how far a build is, on standard error."""
    if quiet:
        yield lambda stage, done, total: None
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description:>14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            display = _Bars(bars)
            yield display
            display.finish()
    else:
        yield _line


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._stage = ""
        self._task = bars.add_task("", visible=False)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self.finish()
            self._stage = stage
            self._task = self._bars.add_task(stage, total=total or 1)
        self._bars.update(self._task, completed=done, total=total or 1)

    def finish(self) -> None:
        """Fill the bar of the latest stage."""
        task = next(task for task in self._bars.tasks if task.id == self._task)
        self._bars.update(self._task, completed=task.total)


def _line(stage: str, done: int, total: int) -> None:
    """One line per stage and per quarter of its steps."""
    if total == 0:
        print(stage, file=sys.stderr)  # noqa: T201 - this is the plain display
    elif done and (done == total or done % max(1, total // 4) == 0):
        print(f"{stage} {done}/{total}", file=sys.stderr)  # noqa: T201
