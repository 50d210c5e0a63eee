"""Tables: drawn on a terminal that is wide enough, plain columns elsewhere."""

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 240
"""Characters per line of plain columns, so that no name is cut short."""

_LEAST_WORDS = 8  # characters that a column needs whose cells wrap


def print_table(table: Table, *, err: bool = False) -> None:
    """Print to standard output, or to standard error if `err`."""
    console = Console(stderr=err, markup=False, emoji=False)  # names may hold [ ] and :
    if not console.is_terminal or _least_width(table, console) > console.width:
        table.box = None
        console.width = PLAIN_WIDTH
    console.print(table)


def _least_width(table: Table, console: Console) -> int:
    """Characters per line in which numbers stay whole and words can be read, with borders."""
    width = 1
    for column in table.columns:
        longest = max(console.measure(cell).maximum for cell in (column.header, *column.cells))
        width += 3 + (longest if column.no_wrap else min(longest, _LEAST_WORDS))
    return width
