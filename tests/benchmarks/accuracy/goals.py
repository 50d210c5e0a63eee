"""What modc is to reach on each network, and whether it does."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.accuracy.columns import COLUMNS, FLOAT_ENGINES, PEERS
from tests.benchmarks.accuracy.results import Figures, Report
from tests.benchmarks.engines.columns import REFERENCE
from tests.benchmarks.engines.tables import figure_of

MAX_DROPS = {"modc_auto": 0.3, "modc_fp16": 0.02, "modc_kl_divergence": 0.5}
"""Points of the task's metric that a build may lose."""

CHOSEN = "modc_auto"
"""The build that is to lose no more than any peer, and to be no slower than any float engine."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal on one network.

    Args:
        network: Name of its build file.
        goal: What is to hold.
        measured: The figure, in the unit of the limit; None where it was not measured.
        limit: The largest figure that is good enough; None where it was not measured.
        unit: "points" or "ms".
    """

    network: str
    goal: str
    measured: float | None
    limit: float | None
    unit: str

    @property
    def holds(self) -> bool | None:
        """None where something was not measured."""
        if self.measured is None or self.limit is None:
            return None
        return self.measured <= self.limit


def verdicts_of(report: Report) -> list[Verdict]:
    """All goals on all networks."""
    return [
        verdict
        for name, figures in report.networks.items()
        for verdict in _verdicts(name, figures, report.threads)
    ]


def drop_of(figures: Figures, key: str) -> float | None:
    """Points lost against fp32; None where either was not measured."""
    before, after = figures.points(REFERENCE), figures.points(key)
    return None if before is None or after is None else before - after


def _verdicts(name: str, figures: Figures, threads: tuple[int, ...]) -> Iterator[Verdict]:
    for key, most in MAX_DROPS.items():
        title = f"{COLUMNS[key].title}: drop"
        yield Verdict(name, title, drop_of(figures, key), most, "points")
    title, peer = COLUMNS[CHOSEN].title, _best_peer(figures)
    if peer is None or peer[1] > 0:
        goal = f"{title}: drop, against the best peer's" + (f" ({peer[0]})" if peer else "")
        limit = peer[1] if peer else None
        yield Verdict(name, goal, drop_of(figures, CHOSEN), limit, "points")
    for count in threads:
        times = {key: figures.milliseconds(key, count) for key in FLOAT_ENGINES}
        known = {key: value for key, value in times.items() if value is not None}
        fastest = min(known, key=known.__getitem__, default=None)
        goal = f"{title}: {figure_of(count)}, against the fastest float engine's"
        goal += f" ({COLUMNS[fastest].title})" if fastest else ""
        limit = known[fastest] if fastest else None
        yield Verdict(name, goal, figures.milliseconds(CHOSEN, count), limit, "ms")


def _best_peer(figures: Figures) -> tuple[str, float] | None:
    """Title and drop of the peer that loses least; None unless all were measured."""
    drops = {COLUMNS[key].title: drop_of(figures, key) for key in PEERS}
    known = {title: drop for title, drop in drops.items() if drop is not None}
    if len(known) < len(drops):
        return None
    best = min(known, key=known.__getitem__)
    return best, known[best]
