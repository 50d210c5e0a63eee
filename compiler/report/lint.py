"""What the preprocessing linter found, for a person and for a program."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.lint_preprocessing import Lint
from compiler.report.table import new_table


def lint_table(lint: Lint, name: str) -> Table:
    """All that was tried, the build file's own preprocessing first.

    Args:
        lint: With trials.
        name: Of the build.
    """
    headings = [
        *((f"certainty ({lint.unit})", "times", "images") if lint.unit else ()),
        *((f"{lint.metric} ({lint.pairs} pairs)",) if lint.metric else ()),
    ]
    table = new_table(f"{name}: the network under other preprocessing", ("way",), headings)
    found = {finding.alternative for finding in lint.findings}
    for row in lint.trials:
        mark = " *" if row.alternative in found else ""
        cells = [Text(row.alternative + mark)]
        if lint.unit:
            cells += [_cell(row.certainty, 3), _cell(row.gain, 2), Text(str(row.images))]
        if lint.metric:
            cells.append(_cell(row.points, 2))
        table.add_row(*cells)
    return table


def lint_lines(lint: Lint) -> Iterator[str]:
    """The findings with their advice, or that there is none; then the notes."""
    for finding in lint.findings:
        yield f"{finding.alternative}: {finding.what}"
        yield f"  fix: {finding.advice}"
    if lint.trials and not lint.findings and (lint.unit or lint.metric):
        yield "no other preprocessing suits the network far better"
    yield from (f"note: {note}" for note in lint.notes)


def lint_facts(lint: Lint) -> dict[str, Any]:  # Any: a JSON object
    """The same as a JSON object: every field."""
    return asdict(lint)


def _cell(value: float | None, digits: int) -> Text:
    return Text("-" if value is None else f"{value:.{digits}f}")
