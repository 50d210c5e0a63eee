"""The page of an inspection of calibration data."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

from compiler.page.contents import Thumbnail
from compiler.page.html import render

SECTIONS: Final = MappingProxyType(
    {
        "findings": "Findings",
        "files": "Files",
        "channels": "Channels and preprocessing",
        "settling": "How many samples are enough",
        "extremes": "Who sets the extremes",
        "sheet": "Pictures",
    }
)
KINDS: Final = MappingProxyType(
    {
        "unreadable": "Unusable file",
        "duplicate": "Duplicate",
        "similar": "Near-duplicate",
        "constant": "No content",
        "exposure": "Exposure",
        "channel_order": "Channel order",
        "scale": "Scale of values",
        "preprocessing": "Preprocessing",
        "too_few": "Number of samples",
        "outlier": "Outlier",
    }
)


def render_calibration(
    facts: dict[str, Any],  # Any: a JSON object
    thumbnails: Sequence[Thumbnail],
) -> str:
    """The page of an inspection; the same values give the same bytes.

    Args:
        facts: What `modc calib inspect --json` prints.
        thumbnails: Pictures of the set, not necessarily of all of it.

    Returns:
        A page that needs no other file and no network.
    """
    told: dict[str, list[str]] = {}
    for finding in facts["findings"]:
        for file in finding["files"][:1]:
            told.setdefault(file, []).append(KINDS[finding["kind"]].lower())
    return render(
        "calibration.html",
        title=f"Calibration data of {facts['name']}",
        sections=SECTIONS,
        kinds=KINDS,
        facts=facts,
        told=told,
        thumbnails=thumbnails,
    )
