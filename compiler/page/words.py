"""Numbers as a reader likes them."""

from typing import Final

NOTHING: Final = "–"


def count(number: int | None) -> str:
    """A number of things, with thousands apart: `1,234,567`."""
    return NOTHING if number is None else f"{number:,}"


def short_count(number: int | None) -> str:
    """A number of things in three digits: `1.23 M`."""
    if number is None:
        return NOTHING
    return _scaled(number, 1000, ("", " k", " M", " G", " T"))


def size(number: int | None) -> str:
    """A number of bytes in three digits: `1.23 MiB`."""
    if number is None:
        return NOTHING
    return _scaled(number, 1024, (" B", " KiB", " MiB", " GiB"))


def decimals(number: float | None, places: int) -> str:
    """A measured number with so many decimals."""
    return NOTHING if number is None else f"{number:,.{places}f}"


def figures(number: float | None) -> str:
    """A value in a tensor's own units, in four significant digits."""
    return NOTHING if number is None else f"{number:.4g}"


def signed(number: float, places: int) -> str:
    """A difference: `+0.01`, `−0.50`, `0.00`."""
    text = f"{number:+,.{places}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "\u2212")


def ratio(before: float, after: float, better: str, worse: str) -> str:
    """How many times less something became: `1.72× smaller`."""
    if not before or not after:
        return ""
    gain = before / after
    return f"{gain:.2f}× {better}" if gain >= 1 else f"{1 / gain:.2f}× {worse}"


def plural(number: int, noun: str) -> str:
    """So many things: `1 image`, `2 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _scaled(number: int, step: int, units: tuple[str, ...]) -> str:
    value, unit = float(number), 0
    while value >= step and unit + 1 < len(units):
        value, unit = value / step, unit + 1
    places = 0 if unit == 0 or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{places}f}{units[unit]}"
