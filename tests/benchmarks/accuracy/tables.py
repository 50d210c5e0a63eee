"""Measurements as Markdown."""

from collections.abc import Callable, Iterable

from tests.benchmarks.accuracy.columns import COLUMNS
from tests.benchmarks.accuracy.goals import Verdict, drop_of, verdicts_of
from tests.benchmarks.accuracy.results import Figures, Report
from tests.benchmarks.engines.columns import REFERENCE
from tests.benchmarks.engines.tables import figure_of, table

ABSENT = "–"
GOOD, MISSED, UNKNOWN = "ok", "**missed**", "not measured"


def markdown(report: Report) -> str:
    """All tables, each under its heading."""
    parts = [_origin(report), "### Task metric, points", metric_table(report)]
    parts += ["### SQNR of the output against ORT fp32, dB", sqnr_table(report)]
    for threads in report.threads:
        parts += [f"### {figure_of(threads)}, ms", time_table(report, threads)]
    parts += ["### Time to compile or quantize, s", seconds_table(report)]
    parts += ["### Peak memory of compiling or quantizing, MiB", memory_table(report)]
    parts += ["### Goals", goal_table(verdicts_of(report))]
    return "\n\n".join(parts)


def metric_table(report: Report) -> str:
    """Two rows per network: points, and points lost against fp32 (negative: gained)."""
    rows = []
    for name, figures in report.networks.items():
        keys = _present(report)
        points = (_text(figures.points(key), ".3f") for key in keys)
        drops = (_text(drop_of(figures, key), "z.3f") for key in keys)
        rows.append([f"{name}: {figures.metric}, {figures.images} images", *points])
        rows.append([f"{name}: drop against fp32", *drops])
    return _table(report, rows)


def sqnr_table(report: Report) -> str:
    """Of every contestant but the reference."""

    def sqnr(figures: Figures, key: str) -> float | None:
        return figures.cells[key].sqnr_db if key in figures.cells and key != REFERENCE else None

    return _per_network(report, sqnr, ".1f")


def time_table(report: Report, threads: int) -> str:
    """Medians."""
    return _per_network(report, lambda figures, key: figures.milliseconds(key, threads), ".2f")


def seconds_table(report: Report) -> str:
    """Time to make each graph."""
    return _per_network(
        report,
        lambda figures, key: figures.cells[key].seconds if key in figures.cells else None,
        ".1f",
    )


def memory_table(report: Report) -> str:
    """Peak memory of making each graph."""
    return _per_network(
        report,
        lambda figures, key: figures.cells[key].peak_mb if key in figures.cells else None,
        ".0f",
    )


def goal_table(verdicts: Iterable[Verdict]) -> str:
    """Every goal beside what was measured."""
    words = {True: GOOD, False: MISSED, None: UNKNOWN}
    rows = [
        [
            one.network,
            one.goal,
            _text(one.measured, ".3f"),
            f"≤ {_text(one.limit, '.3f')} {one.unit}",
            words[one.holds],
        ]
        for one in verdicts
    ]
    return table(["network", "goal", "measured", "limit", "verdict"], rows)


def _per_network(report: Report, value: Callable[[Figures, str], float | None], form: str) -> str:
    keys = _present(report)
    rows = [
        [name, *(_text(value(figures, key), form) for key in keys)]
        for name, figures in report.networks.items()
    ]
    return _table(report, rows)


def _table(report: Report, rows: Iterable[list[str]]) -> str:
    return table(["network", *(COLUMNS[key].title for key in _present(report))], rows)


def _present(report: Report) -> list[str]:
    measured = {key for figures in report.networks.values() for key in figures.cells}
    return [key for key in COLUMNS if key in measured]


def _text(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)


def _origin(report: Report) -> str:
    machine = report.machine
    flags = ", ".join(machine["flags"]) or "none of the flags that matter here"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {flags}.\n"
        f"Versions: {versions}.\n{machine['day']}."
    )
