"""The calibration table: ranges as text that a person can read, edit and compile from again.

Scale and zero point follow from the other columns, so an edit that would have no effect, or whose
meaning is unclear, is an error: a row whose numbers contradict each other is refused, `-` asks for
the two to be computed, and the method `manual` makes them the last word.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from calibration.ranges import TensorRange, clipped_range

MANUAL = "manual"
COMPUTED = "-"
COLUMNS = ("tensor", "method", "min", "max", "threshold", "scale", "zero_point")

_HEADER = """\
# Calibration table: one line per tensor that has its own scale; lines with # are comments.
#
# tensor      Name in the network; in double quotes, as in JSON, where it holds spaces.
# method      Rule that chose the threshold.
# min max     Smallest and largest value observed.
# threshold   Values beyond -threshold and threshold are clipped.
# scale       real = scale * (stored - zero_point), stored in 0..255
# zero_point  The stored value of 0.
#
# To change where a tensor is clipped, edit its threshold (or min, max) and write - for scale and
# for zero_point: they are computed. To choose scale and zero_point, write manual as the method;
# min, max and threshold are then kept for the record only.
#
"""
_FIELD = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s|$)|\S+')


def write_table(ranges: Iterable[TensorRange]) -> str:
    """Table of the ranges, in their order; `read_table` gives back equal ranges.

    Raises:
        ValueError: Scale and zero point of a range do not follow from its other numbers, and its
            method is not `manual`; or a tensor occurs twice.
    """
    ranges = tuple(ranges)
    rows: list[tuple[str, ...]] = [("# " + COLUMNS[0], *COLUMNS[1:])]
    names: set[str] = set()
    for row in ranges:
        _check_new(row.name, names)
        _check_consistent(row)
        numbers = (row.minimum, row.maximum, row.threshold, row.scale)
        rows.append((_quoted(row.name), row.method, *map(_text, numbers), str(row.zero_point)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return _HEADER + "".join(_aligned(row, widths) for row in rows)


def read_table(text: str, where: str) -> tuple[TensorRange, ...]:
    """Ranges of a table, in its order.

    Args:
        text: Contents of the file.
        where: Name of the file, for messages.

    Raises:
        ValueError: The first line that is wrong: its number, what is wrong and what was expected;
            or there is no row at all.
    """
    ranges: list[TensorRange] = []
    names: set[str] = set()
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            row = _range(_FIELD.findall(line))
            _check_new(row.name, names)
        except ValueError as error:
            raise ValueError(f"{where}: line {number}: {error}") from error
        ranges.append(row)
    if not ranges:
        raise ValueError(f"{where}: no rows; expected one line per tensor: {' '.join(COLUMNS)}")
    return tuple(ranges)


def _range(fields: list[str]) -> TensorRange:
    if len(fields) != len(COLUMNS):
        raise ValueError(
            f"{len(fields)} columns; expected {len(COLUMNS)}: {' '.join(COLUMNS)}"
            " (a name with spaces needs double quotes)"
        )
    name, method = _unquoted(fields[0]), fields[1]
    minimum, maximum, threshold = (
        _number(column, field) for column, field in zip(COLUMNS[2:5], fields[2:5], strict=True)
    )
    computed = clipped_range(name, method, minimum, maximum, threshold)
    if fields[5:] == [COMPUTED, COMPUTED]:
        if method == MANUAL:
            raise ValueError("method is manual; expected numbers for scale and zero_point, not -")
        return computed
    if COMPUTED in fields[5:]:
        raise ValueError("expected - for both scale and zero_point, or for neither")
    row = replace(
        computed, scale=_number("scale", fields[5]), zero_point=_integer("zero_point", fields[6])
    )
    _check_consistent(row)
    return row


def _check_consistent(row: TensorRange) -> None:
    expected = clipped_range(row.name, row.method, row.minimum, row.maximum, row.threshold)
    if row.method != MANUAL and row != expected:
        raise ValueError(
            f"tensor '{row.name}': min, max and threshold give scale {_text(expected.scale)}"
            f" and zero_point {expected.zero_point}, not {_text(row.scale)} and"
            f" {row.zero_point}; write - for both to have them computed, or the method manual to"
            " keep these"
        )


def _check_new(name: str, names: set[str]) -> None:
    if name in names:
        raise ValueError(f"tensor '{name}' occurs twice; expected one line per tensor")
    names.add(name)


def _number(column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column} is '{text}'; expected a number") from None


def _integer(column: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{column} is '{text}'; expected a whole number") from None


def _text(number: float) -> str:
    """The shortest text that reads back as the same float32."""
    return str(np.float32(number))


def _quoted(name: str) -> str:
    """The name as one field: in quotes where it would read otherwise."""
    plain = name.isprintable() and " " not in name and not name.startswith(('"', "#"))
    return name if name and plain else json.dumps(name)


def _unquoted(field: str) -> str:
    if not field.startswith('"'):
        return field
    try:
        name: str = json.loads(field)
    except ValueError:
        raise ValueError(f"tensor is {field}; expected the closing quote of a JSON text") from None
    return name


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(left + right) + "\n"
