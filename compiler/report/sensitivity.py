"""Where an int8 network loses its accuracy, for a person at the terminal and for a program."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.report.table import new_table
from compiler.verify.sensitivity import LayerSensitivity, rank, to_json

_FIGURES = ("isolated dB", "cosine", "share", "accumulated dB", "cosine", "MMAC")


def sensitivity_table(name: str, layers: Sequence[LayerSensitivity], limit: int) -> Table:
    """Layers, the one that adds most noise first.

    SQNR in dB and cosine similarity of each: isolated, if it alone ran on integers; accumulated,
    in the int8 network.

    Args:
        name: Of the bundle.
        layers: In any order.
        limit: Most layers to show; 0 shows all.
    """
    title = f"{name}: layers by the noise that each adds"
    table = new_table(title, ("layer", "operator"), _FIGURES)
    ranked = rank(layers)
    shown = ranked[: limit or None]
    for layer in shown:
        table.add_row(Text(layer.layer), layer.op, *_figures(layer))
    if rest := ranked[len(shown) :]:
        share, macs = sum(layer.share for layer in rest), sum(layer.macs for layer in rest)
        table.add_row(f"{len(rest)} more", "", "", "", f"{share:.1%}", "", "", _mega(macs))
    return table


def sensitivity_facts(
    name: str, layers: Sequence[LayerSensitivity]
) -> dict[str, Any]:  # Any: a JSON object
    """The same as a JSON object, all layers."""
    return {"name": name, "layers": to_json(rank(layers))}


def _figures(layer: LayerSensitivity) -> tuple[str, ...]:
    return (
        f"{layer.isolated_sqnr_db:.2f}",
        f"{layer.isolated_cosine:.6f}",
        f"{layer.share:.1%}",
        f"{layer.accumulated_sqnr_db:.2f}",
        f"{layer.accumulated_cosine:.6f}",
        _mega(layer.macs),
    )


def _mega(macs: int) -> str:
    return f"{macs / 1e6:.2f}" if macs else "-"
