"""What is wrong with an int8 bundle and what helps, for a person and for a program."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.diagnosis import Diagnosis, Way
from compiler.report.table import new_table

_POINTS = {
    "miou": "points of mean IoU",
    "fg_iou": "points of foreground IoU",
    "dice": "points of Dice",
    "cosine": "points: 100 times the cosine similarity with float",
    "sqnr": "points: 100 less the noise's share of the output in percent",
}


def debug_tables(found: Diagnosis) -> list[Table]:
    """The worst layers with their ways out, then those for the whole network."""
    table = new_table(
        f"{found.name}: what each way out gives and takes", ("layer", "operator"), ("share",)
    )
    _add_way_columns(table)
    for layer in found.layers:
        figures = layer.figures
        head: Sequence[Text | str] = (Text(figures.layer), figures.op, f"{figures.share:.1%}")
        if not layer.ways:
            table.add_row(*head, "no build file can name it", "", "", "")
        for way in layer.ways:
            table.add_row(*head, *_cells(way))
            head = ("", "", "")
    wide = new_table("the whole network", ())
    _add_way_columns(wide)
    for way in found.network:
        wide.add_row(*_cells(way))
    return [one for one in (table, wide) if one.row_count]


def debug_lines(found: Diagnosis) -> Iterator[str]:
    """Accuracy, traps and the patch, line by line."""
    lost = found.float_points - found.points
    yield (
        f"{found.name}: float {found.float_points:.3f}, int8 {found.points:.3f}, lost {lost:.3f} "
        f"({_POINTS[found.metric]}); output SQNR {found.sqnr_db:.2f} dB"
    )
    for (kind, advice), traps in groupby(found.traps, lambda trap: (trap.kind, trap.advice)):
        for trap in traps:
            yield f"trap ({kind}){' ' * bool(trap.layers)}{', '.join(trap.layers)}: {trap.evidence}"
        yield f"  fix: {advice}"
    yield found.verdict
    if found.patch is not None:
        yield _before_and_after(found, found.patch.way)
        yield f"\n{found.patch.text.rstrip()}"


def debug_facts(found: Diagnosis) -> dict[str, Any]:  # Any: a JSON object
    """The same as a JSON object: every field."""
    return {
        "name": found.name,
        "metric": found.metric,
        "float_points": found.float_points,
        "points": found.points,
        "sqnr_db": found.sqnr_db,
        "layers": [{**asdict(layer.figures), "ways": _ways(layer.ways)} for layer in found.layers],
        "network": _ways(found.network),
        "traps": [asdict(trap) for trap in found.traps],
        "patch": None
        if found.patch is None
        else {"text": found.patch.text, **_way(found.patch.way)},
        "verdict": found.verdict,
        "notes": list(found.notes),
    }


def _add_way_columns(table: Table) -> None:
    table.add_column("way out", overflow="fold")
    for heading in ("points", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold")


def _cells(way: Way) -> tuple[Text | str, ...]:
    return Text(way.remedy.label), f"{way.gain:+.3f}", _more_time(way), way.remedy.hint


def _more_time(way: Way) -> str:
    price = way.priced
    if price.milliseconds is None or price.present is None:
        return "same"
    return f"{price.milliseconds - price.present:+.3f}"


def _before_and_after(found: Diagnosis, way: Way) -> str:
    price = way.priced
    return (
        f"before {found.points:.3f} points, {price.present or 0:.3f} ms; after {price.points:.3f} "
        f"points, {price.milliseconds or 0:.3f} ms"
    )


def _ways(ways: Iterable[Way]) -> list[dict[str, Any]]:  # Any: a JSON object
    return [_way(way) for way in ways]


def _way(way: Way) -> dict[str, Any]:  # Any: a JSON object
    return {**asdict(way.remedy), **asdict(way.priced), "gain": way.gain}
