"""What is in a calibration set: kinds of files, and files that say what another one said."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.fingerprint import find_alike
from calibration.picture import Tone

Likeness: TypeAlias = Literal["same file", "same pixels", "similar"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that can be used.

    Args:
        name: Path below the folder.
        format: Such as JPEG, or the suffix of a file of arrays.
        mode: Such as RGB, or the types of arrays.
        size: Such as 640×480, or the shapes of arrays.
        sha256: Of the file.
        digest: Of its decoded pixels or arrays.
        tone: What is wrong with its light, if anything.
        bits: Fingerprint of what it shows, shape (255,); None for arrays.
    """

    name: str
    format: str
    mode: str
    size: str
    sha256: str
    digest: str
    tone: Tone | None = None
    bits: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that adds nothing to an earlier one.

    Args:
        name: The file.
        of: The earlier one.
        likeness: What they have in common: bytes, pixels, or what one sees.
        distance: Bits of the fingerprint, of 255, in which they differ.
    """

    name: str
    of: str
    likeness: Likeness
    distance: int = 0


def tally(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    counts = Counter(values)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def find_copies(entries: Sequence[Entry]) -> tuple[Copy, ...]:
    """Files that say what an earlier one said, in order.

    Images without content are left out: all of them look the same, and each is at fault by itself.
    """
    files: dict[str, str] = {}
    pixels: dict[str, str] = {}
    copies: dict[str, Copy] = {}
    first: list[tuple[str, NDArray[np.bool_]]] = []
    for entry in entries:
        if entry.tone == "constant":
            continue
        if entry.sha256 in files:
            copies[entry.name] = Copy(entry.name, files[entry.sha256], "same file")
        elif entry.digest in pixels:
            copies[entry.name] = Copy(entry.name, pixels[entry.digest], "same pixels")
        elif entry.bits is not None:
            first.append((entry.name, entry.bits))
        files.setdefault(entry.sha256, entry.name)
        pixels.setdefault(entry.digest, entry.name)
    for later, earlier, distance in find_alike([bits for _, bits in first]):
        name = first[later][0]
        copies[name] = Copy(name, first[earlier][0], "similar", distance)
    return tuple(copies[entry.name] for entry in entries if entry.name in copies)
