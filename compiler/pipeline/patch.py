"""The patch that debug shows: built and measured as a whole before anybody sees it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from compiler.config.backend import Quantize
from compiler.pipeline.diagnosis import LayerDiagnosis, Patch, Way
from compiler.pipeline.remedies import Changes, Remedy, combine, patch_text
from compiler.pipeline.search import MARGIN

HELPS: Final = 0.1
"""A patch is shown if it restores this share of the lost points."""

WORTH: Final = 0.05
"""A remedy becomes part of a patch if it alone restores this share."""

NEARLY: Final = 0.9
"""Of patches that restore this share of what the best one does, or of all that is lost, the fastest
is shown; of those that are about as fast, the smallest."""

Verify = Callable[[Changes], Way]
"""Builds the network with all changes, as it would be compiled, and measures it."""


def find_patch(
    quantize: Quantize,
    layers: Sequence[LayerDiagnosis],
    network: Sequence[Way],
    lost: float,
    verify: Verify,
) -> tuple[Patch | None, str]:
    """The best of a few patches.

    Args:
        quantize: Section of the present build file.
        layers: With their ways out.
        network: Ways out for the whole network.
        lost: Points that int8 costs.
        verify: Measures a patch.

    Returns:
        The patch, None if none helps, and what came of the search, as a sentence.
    """
    if lost <= 0:
        return (
            None,
            "int8 loses nothing on these images: there is nothing to repair",
        )
    proposals = list(_proposals(layers, network, lost))
    if not proposals:
        return None, "none of the ways out helps enough to be worth a patch"
    tried = [(changes, verify(changes)) for changes in proposals]
    best = max(way.gain for _, way in tried)
    if not best >= HELPS * lost:
        count = f"{len(tried)} patch{'es' * (len(tried) > 1)}"
        return None, (
            f"{count} built as a whole and measured: the best changes {best:+.3f} of the "
            f"{lost:.3f} points lost, too little to be shown"
        )
    good = [one for one in tried if one[1].gain >= NEARLY * min(best, lost)]
    fastest = min(way.priced.ratio for _, way in good)
    fast = [one for one in good if one[1].priced.ratio <= fastest * (1 + MARGIN)]
    changes, way = min(fast, key=lambda one: (_size(one[0]), -one[1].gain))
    verdict = (
        f"this patch, built as a whole and measured, restores {way.gain / lost:.0%} of what int8 "
        "loses"
    )
    return Patch(patch_text(quantize, changes), changes, way), verdict


def _proposals(
    layers: Sequence[LayerDiagnosis], network: Sequence[Way], lost: float
) -> Iterator[Changes]:
    """All that is worth it together, without the layers, without the network's, the best alone."""
    global_ = [way.remedy for way in network if way.gain >= WORTH * lost]
    chosen = [way for layer in layers if (way := _best(layer.ways, lost)) is not None]
    local = [way.remedy for way in chosen]
    alone = max(
        (way for way in (*network, *chosen) if way.gain >= WORTH * lost),
        key=lambda way: way.gain,
        default=None,
    )
    sets: list[list[Remedy]] = [[*global_, *local], global_, local]
    sets += [[alone.remedy]] if alone is not None else []
    seen: list[Changes] = []
    for changes in map(combine, sets):
        if changes and changes not in seen:
            seen.append(changes)
            yield changes


def _best(ways: Sequence[Way], lost: float) -> Way | None:
    """What gains most of what can be pasted; of equal ones the faster."""
    worth = [way for way in ways if way.remedy.changes and way.gain >= WORTH * lost]
    return max(
        worth,
        key=lambda way: (round(way.gain / lost, 2), -way.priced.ratio),
        default=None,
    )


def _size(changes: Changes) -> int:
    """Number of layers and of other values that change."""
    return sum(len(value) if isinstance(value, tuple) else 1 for value in changes.values())
