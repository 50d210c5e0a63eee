"""Constants of the cost model for a person at the terminal."""

from rich.table import Table

from compiler.cost.machine import BUILT_IN, Machine
from compiler.cost.probes import PROBES


def machine_table(measured: Machine) -> Table:
    """Measured constants beside the built-in ones."""
    table = Table(title=measured.source, title_justify="left")
    table.add_column("constant")
    for heading in ("built-in ns", "this machine ns", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("per")
    for name, probe in PROBES.items():
        known, found = getattr(BUILT_IN, name), getattr(measured, name)
        table.add_row(name, f"{known:.4g}", f"{found:.4g}", f"{found / known:.2f}", probe.unit)
    return table
