"""Networks side by side on their task, for a person at the terminal and for a program."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from compiler.evaluate.intervals import Interval
from compiler.evaluate.metric import ERRORS
from compiler.evaluate.pairs import some
from compiler.pipeline.evaluation.result import Evaluation, Measured, Row, Scale
from compiler.report.table import new_table

NOTHING = "-"
_LISTED = 10
_ROUNDING = 1e-9  # of sums in another order, in points
_DIGITS = 4  # significant ones of errors, whose sizes differ widely
_FEW = 10  # images, of which percentile intervals are too short

JsonObject = dict[str, Any]  # Any: a JSON object


@dataclass(frozen=True, slots=True)
class Missed:
    """A network that lost more than it may."""

    network: str
    metric: str
    drop: float
    max_drop: float
    may_be_noise: bool

    @property
    def what(self) -> str:
        """What is wrong, in a sentence."""
        if math.isnan(self.drop):
            return f"{self.metric} is not a number, so that its drop is not known"
        noise = ", though so few images may show that by chance"
        lost = _plain(self.drop, _decimals(self.metric, self.drop))
        return (
            f"it loses {lost} of {self.metric}, at most {self.max_drop:g} may go"
            f"{noise if self.may_be_noise else ''}"
        )

    @property
    def fix(self) -> str:
        """What to do about it."""
        if math.isnan(self.drop):
            return "give masks of which one pixel or foreground counts, or a corrected metric"
        return "raise the accuracy (modc debug tells how), or --max-drop"


def missed_gates(evaluation: Evaluation, max_drop: float | None) -> tuple[Missed, ...]:
    """Networks whose first metric is worse than the base's by more than `max_drop`.

    What counts is the difference itself, not an end of its interval.
    """
    if max_drop is None:
        return ()
    missed = []
    for row in evaluation.rows[1:]:
        for one in row.measured[:1]:
            drop, difference = one.drop, one.difference
            if drop is not None and difference is not None and not drop <= max_drop:
                noise = not difference.excludes_zero
                missed.append(Missed(row.contender.name, one.metric.figure, drop, max_drop, noise))
    return tuple(missed)


def verdict(measured: Measured) -> str:
    """What the difference to the base means; "" of the base itself.

    An interval that holds 0, if only as an end, leaves open whether there is a difference.
    """
    difference, drop = measured.difference, measured.drop
    if difference is None or drop is None:
        return ""
    if math.isnan(difference.low):
        return "unknown"
    if max(abs(difference.low), abs(difference.high)) < _ROUNDING:
        return "equal"
    if not difference.excludes_zero:
        return "may be noise"
    return "a drop" if drop > 0 else "a gain"


def evaluation_tables(evaluation: Evaluation, *, confusion: bool = False) -> list[Table]:
    """The networks, then all figures, those of classes, and the confusion if asked for."""
    tables = [_network_table(evaluation)]
    for names, rows in _families(evaluation):
        measured = rows[0][1]
        if len(measured.figures) > 1:
            tables.append(_figure_table(names, rows))
        if measured.per_class is not None:
            tables.append(_class_table(evaluation, names, rows))
        if confusion:
            tables += [
                _confusion_table(evaluation, row, one.confusion)
                for row, one in rows
                if one.confusion is not None
            ]
    return tables


def evaluation_lines(evaluation: Evaluation) -> Iterator[str]:
    """Which images count, which do not, and why."""
    count = len(evaluation.images)
    yield f"{count} of {evaluation.asked} images were evaluated"
    if evaluation.rows[0].measured and count < _FEW:
        one = "one image gives no interval" if count == 1 else "their intervals are rough"
        yield f"fewer than {_FEW} images: {one}; more tell a drop from noise"
    for measured in evaluation.rows[0].measured:
        for what, values in (
            (f"left out: {measured.metric.nothing}", _uses(evaluation, measured, "left_out")),
            ("without a defined figure", _uses(evaluation, measured, "undefined")),
        ):
            if any(values.values()):
                counts = ", ".join(f"{name} {count}" for name, count in values.items())
                yield f"{measured.metric.name}: images {what} ({counts})"
    for kind, names in evaluation.alone.items():
        if names:
            yield f"{kind}: {len(names)} ({some(names, _LISTED)})"
    yield from evaluation.notes


def evaluation_facts(evaluation: Evaluation, missed: Sequence[Missed] = ()) -> JsonObject:
    """An evaluation as a JSON object; what is not a number is null."""
    return {
        "base": evaluation.base,
        "images": {
            "asked": evaluation.asked,
            "counted": list(evaluation.images),
            **{kind.replace(" ", "_"): list(names) for kind, names in evaluation.alone.items()},
        },
        "classes": list(evaluation.classes),
        "networks": [_row_facts(row) for row in evaluation.rows],
        "failures": [
            {"network": one.network, "image": one.image, "what": one.error.what}
            for one in evaluation.failures
        ],
        "gate": [
            {"network": one.network, "drop": _number(one.drop), "max_drop": one.max_drop}
            for one in missed
        ],
        "notes": list(evaluation.notes),
    }


def evaluation_csv(evaluation: Evaluation) -> str:
    """One line per image and network, with the figures of that image alone."""
    text = io.StringIO()
    scales = [one.metric for one in evaluation.rows[0].measured]
    names = [
        (place, figure)
        for place, measured in enumerate(evaluation.rows[0].measured)
        for figure in (measured.images[0] if measured.images else ())
    ]
    headings = [f"{scales[place].name}.{figure}" for place, figure in names]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "network", "dtype", *headings, "agreement", "error"])
    for row in evaluation.rows:
        who = [row.contender.name, row.contender.dtype]
        for number, image in enumerate(evaluation.images):
            values = [row.measured[place].images[number][figure] for place, figure in names]
            agreement = [row.agreement.images[number]] if row.agreement else [""]
            writer.writerow([image, *who, *map(_cell, values), *map(_cell, agreement), ""])
        for failure in evaluation.failures:
            if failure.network == row.contender.name:
                blank = [""] * (len(names) + 1)
                writer.writerow([failure.image, *who, *blank, failure.error.what])
    return text.getvalue()


def _network_table(evaluation: Evaluation) -> Table:
    measured = evaluation.rows[0].measured
    count = len(evaluation.images)
    title = "; ".join(_heading(one.metric) for one in measured)
    images = f"{count} image{'s' if count > 1 else ''}"
    intervals = ", 95 % intervals" if measured else ""
    table = new_table(f"{title or 'agreement'}; {images}{intervals}", ("network",), ("dtype",))
    for one in measured:
        for heading in (one.metric.name, "difference"):
            table.add_column(heading, justify="right", overflow="fold")
    agrees = any(row.agreement for row in evaluation.rows)
    headings = ("same as base, %", "IoU with base") if agrees else ()
    for heading in (*headings, "images/s"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in evaluation.rows:
        cells = [
            cell
            for place, _ in enumerate(measured)
            for cell in (
                _measured_cells(row.measured[place]) if place < len(row.measured) else ("", "")
            )
        ]
        table.add_row(
            Text(row.contender.name),
            row.contender.dtype or NOTHING,
            *cells,
            *(_agreement_cells(row) if agrees else ()),
            f"{row.per_second:.1f}",
        )
    return table


def _heading(metric: Scale) -> str:
    """The metric by its name, and which figure of it stands in the table."""
    facts = [metric.figure] if metric.figure != metric.name else []
    facts += ["lower is better"] if metric.lower_is_better else []
    name = f"{metric.name} ({', '.join(facts)})" if facts else metric.name
    return f"{name}: {metric.title}"


def _families(
    evaluation: Evaluation,
) -> Iterator[tuple[str, list[tuple[Row, Measured]]]]:
    """Names of metrics that have the same figures throughout, and what the networks have there."""
    groups: list[tuple[list[JsonObject], list[str], list[tuple[Row, Measured]]]] = []
    for place, measured in enumerate(evaluation.rows[0].measured):
        rows = [(row, row.measured[place]) for row in evaluation.rows if place < len(row.measured)]
        facts = [_figure_facts(one) for _, one in rows]
        for known, names, _ in groups:
            if facts == known:
                names.append(measured.metric.name)
                break
        else:
            groups.append((facts, [measured.metric.name], rows))
    return ((", ".join(names), rows) for _, names, rows in groups)


def _measured_cells(measured: Measured) -> tuple[str, str]:
    figure, difference = measured.metric.figure, measured.difference
    cell = _interval(measured.figure, figure)
    if difference is None:
        return cell, "base"
    return cell, f"{_signed(difference, figure)}: {verdict(measured)}"


def _agreement_cells(row: Row) -> tuple[str, str]:
    if row.agreement is None:
        return NOTHING, NOTHING
    return f"{row.agreement.pixels:.3f}", _plain(row.agreement.iou)


def _figure_table(metrics: str, rows: Sequence[tuple[Row, Measured]]) -> Table:
    names = [row.contender.name for row, _ in rows]
    table = new_table(f"all figures of {metrics}", ("figure",), names)
    for figure in rows[0][1].figures:
        table.add_row(figure, *(_interval(one.figures[figure], figure) for _, one in rows))
    return table


def _class_table(
    evaluation: Evaluation, metrics: str, rows: Sequence[tuple[Row, Measured]]
) -> Table:
    names = [row.contender.name for row, _ in rows]
    table = new_table(f"IoU of the classes, {metrics}", ("class",), names)
    values = [one.per_class["iou"] for _, one in rows if one.per_class is not None]
    for number, cells in enumerate(zip(*values, strict=True)):
        table.add_row(Text(_class_name(evaluation, number)), *map(_plain, cells))
    return table


def _confusion_table(evaluation: Evaluation, row: Row, matrix: Any) -> Table:  # Any: numpy array
    classes = [_class_name(evaluation, number) for number in range(len(matrix))]
    title = f"confusion, {row.contender.name}: % of the pixels of a true class (row) by prediction"
    table = new_table(title, ("truth",), (*classes, "pixels"))
    for name, line in zip(classes, matrix, strict=True):
        pixels = line.sum()
        shares = [f"{100 * value / pixels:.1f}" if pixels else NOTHING for value in line]
        table.add_row(Text(name), *shares, f"{pixels:,.0f}")
    return table


def _class_name(evaluation: Evaluation, number: int) -> str:
    known = number < len(evaluation.classes)
    return f"{number} {evaluation.classes[number]}" if known else str(number)


def _uses(evaluation: Evaluation, measured: Measured, what: str) -> dict[str, int]:
    """A number of images of every network; of all together if it is the same."""
    place = evaluation.rows[0].measured.index(measured)
    counts = {
        row.contender.name: int(getattr(row.measured[place].use, what))
        for row in evaluation.rows
        if place < len(row.measured)
    }
    return {"each network": counts.popitem()[1]} if len(set(counts.values())) == 1 else counts


def _row_facts(row: Row) -> JsonObject:
    contender = row.contender
    return {
        "name": contender.name,
        "dtype": contender.dtype,
        "source": contender.source,
        "engine": contender.engine,
        "images_per_second": row.per_second,
        "metrics": [_measured_facts(one) for one in row.measured],
        "agreement": None
        if row.agreement is None
        else {"pixels": row.agreement.pixels, "iou": _number(row.agreement.iou)},
    }


def _measured_facts(measured: Measured) -> JsonObject:
    metric, use = measured.metric, measured.use
    return {
        "name": metric.name,
        "title": metric.title,
        "figure": metric.figure,
        "lower_is_better": metric.lower_is_better,
        "value": _number(measured.figure.value),
        "differences": None
        if measured.differences is None
        else {name: _ends(one) for name, one in measured.differences.items()},
        "verdict": verdict(measured) or None,
        "images": {"used": use.used, "left_out": use.left_out, "undefined": use.undefined},
        **_figure_facts(measured),
    }


def _figure_facts(measured: Measured) -> JsonObject:
    return {
        "figures": {name: _ends(one) for name, one in measured.figures.items()},
        "per_class": None
        if measured.per_class is None
        else {name: list(map(_number, one)) for name, one in measured.per_class.items()},
        "confusion": None if measured.confusion is None else measured.confusion.tolist(),
    }


def _ends(one: Interval) -> dict[str, float | None]:
    return {"value": _number(one.value), "low": _number(one.low), "high": _number(one.high)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _interval(one: Interval, figure: str) -> str:
    digits = _decimals(figure, one.value)
    if math.isnan(one.low):
        return _plain(one.value, digits)
    ends = digits if figure in ERRORS else digits - 1
    return f"{one.value:.{digits}f} [{one.low:.{ends}f}, {one.high:.{ends}f}]"


def _signed(one: Interval, figure: str) -> str:
    digits = _decimals(figure, one.value, one.low, one.high)
    if math.isnan(one.low):
        return f"{one.value:+z.{digits}f}" if np.isfinite(one.value) else NOTHING
    return f"{one.value:+z.{digits}f} [{one.low:+z.{digits}f}, {one.high:+z.{digits}f}]"


def _plain(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else NOTHING


def _decimals(figure: str, *values: float) -> int:
    """Decimal places: 3 of points; of errors as many as the largest value needs."""
    largest = max((abs(value) for value in values if np.isfinite(value)), default=0.0)
    if figure not in ERRORS or largest < _ROUNDING:
        return 3
    return max(0, _DIGITS - 1 - math.floor(math.log10(largest)))
