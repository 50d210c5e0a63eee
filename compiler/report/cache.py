"""The cache of stages for a person at the terminal, and for a program."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.cache_entry import Entry

_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))


def cache_table(entries: Sequence[Entry], now: datetime) -> Table:
    """The entries, the last used first, and what they take together."""
    table = Table(show_footer=True)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    table.add_column("stage", footer=count, no_wrap=True)
    table.add_column("what")
    table.add_column("MiB", footer=_mib(sum(one.size for one in entries)), justify="right")
    for heading in ("stored", "used"):
        table.add_column(f"{heading} ago", justify="right", no_wrap=True)
    for one in sorted(entries, key=lambda one: one.used, reverse=True):
        ages = _span(now - one.created), _span(now - one.used)
        table.add_row(Text(one.stage), Text(one.description), _mib(one.size), *ages)
    return table


def cache_facts(entries: Sequence[Entry], folder: Path | None) -> dict[str, Any]:  # Any: JSON
    """The cache as a JSON object; no folder means that it is off."""
    return {
        "folder": None if folder is None else str(folder),
        "bytes": sum(one.size for one in entries),
        "entries": [
            asdict(one) | {"created": one.created.isoformat(), "used": one.used.isoformat()}
            for one in entries
        ],
    }


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f}"


def _span(age: timedelta) -> str:
    """In the largest unit that it fills."""
    for name, unit in _UNITS:
        if age >= unit:
            return f"{age // unit} {name}"
    return "now"
