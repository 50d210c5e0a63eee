"""Tables: drawn on a terminal, plain columns elsewhere."""

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 240
"""Characters per line off a terminal, so that no name is cut short."""


def print_table(table: Table, *, err: bool = False) -> None:
    """Print to standard output, or to standard error if `err`."""
    console = Console(stderr=err, markup=False, emoji=False)  # names may hold [ ] and :
    if not console.is_terminal:
        table.box = None
        console.width = PLAIN_WIDTH
    console.print(table)
