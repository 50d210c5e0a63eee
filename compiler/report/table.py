"""The form that the tables have."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text


def new_table(title: str, words: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """A table without rows.

    Args:
        title: Above it.
        words: Headings of columns whose cells wrap.
        numbers: Headings of columns behind them, whose cells stand right and do not wrap.
    """
    table = Table(title=Text(title), title_justify="left")
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
