"""What tells bundles apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from string import ascii_uppercase

from compiler.page.contents import Contents
from compiler.page.facts import Layer


@dataclass(frozen=True, slots=True)
class Row:
    """A layer that at least two bundles have.

    Args:
        node: Its name.
        op: Its operator in the first bundle that has it.
        layers: What it is in every bundle, in their order; None where it is not.
    """

    node: str
    op: str
    layers: tuple[Layer | None, ...]

    @property
    def changes(self) -> tuple[float | None, ...]:
        """SQNR of every bundle less that of the first, in dB; None where one of them has none."""
        sqnrs = [layer.facts["sqnr_db"] if layer else None for layer in self.layers]
        first = sqnrs[0]
        return tuple(None if first is None or one is None else one - first for one in sqnrs)


@dataclass(frozen=True, slots=True)
class BuildDifference:
    """How a build file differs from the first one's.

    Args:
        letter: Of its bundle.
        lines: (mark, text): "+" only here, "-" only in the first, " " in both, "@" a place.
    """

    letter: str
    lines: tuple[tuple[str, str], ...]


def letters(count: int) -> list[str]:
    """Short names of bundles: A to Z, then AA, AB and so on."""
    return [_letter(index) for index in range(count)]


def layer_rows(bundles: Sequence[Sequence[Layer]]) -> tuple[Row, ...]:
    """The layers that at least two bundles have, in the order of the first that has them."""
    found = [{layer.facts["node"]: layer for layer in layers} for layers in bundles]
    names = dict.fromkeys(name for layers in found for name in layers)
    rows = [(name, tuple(layers.get(name) for layers in found)) for name in names]
    return tuple(
        Row(name, next(layer.facts["op"] for layer in layers if layer), layers)
        for name, layers in rows
        if sum(layer is not None for layer in layers) > 1
    )


def build_differences(
    columns: Sequence[tuple[str, Contents]],
) -> tuple[BuildDifference, ...]:
    """Every build file but the first against the first; no lines where they are equal."""
    (_, first), *others = columns
    before = str(first.manifest.get("build", "")).splitlines()
    return tuple(
        BuildDifference(letter, _difference(before, str(one.manifest.get("build", ""))))
        for letter, one in others
    )


def _difference(before: Sequence[str], after: str) -> tuple[tuple[str, str], ...]:
    lines = list(unified_diff(before, after.splitlines(), n=2, lineterm=""))[2:]  # two file names
    return tuple((line[0], "…" if line[0] == "@" else line[1:]) for line in lines)


def _letter(index: int) -> str:
    rest, last = divmod(index, len(ascii_uppercase))
    return (_letter(rest - 1) if rest else "") + ascii_uppercase[last]
