"""What an image is like: its file's header, its tones, and its bits.

Everything here looks at one image and keeps a few hundred bytes, so that a set of any size can be
streamed through it.
"""

import io
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.fingerprint import EDGE, fingerprint

Tone: TypeAlias = Literal["constant", "over-exposed", "under-exposed"]

FLAT: Final = 8
"""Levels between the darkest and the brightest hundredth of an image without content."""
WHITE: Final = 250
BLACK: Final = 5
"""Grey levels from which, and up to which, a camera's scale is at its end."""
BRIGHT: Final = 160
DARK: Final = 48
"""An image that has less than a twentieth of its pixels below, or above, has lost its scale."""

_LEVELS: Final = 256


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Args:
        format: Such as JPEG.
        mode: Pillow's word for its pixels, such as RGB, L or CMYK.
        width: In pixels, as stored.
        height: In pixels.
    """

    format: str
    mode: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What pixels are like.

    Args:
        counts: Pixels of each channel by their level, int64 of shape (C, 256).
        tone: What is wrong with its light, if anything.
        digest: SHA-256 of size and pixels.
        bits: Fingerprint of what it shows, shape (255,).
    """

    counts: NDArray[np.int64]
    tone: Tone | None
    digest: str
    bits: NDArray[np.bool_]


def read_header(data: bytes) -> Header:
    """The header of an image file.

    Raises:
        OSError: Pillow knows no such format.
    """
    with Image.open(io.BytesIO(data)) as image:
        return Header(image.format or "", image.mode, *image.size)


def examine(pixels: NDArray[np.uint8]) -> Picture:
    """Look at an image.

    Args:
        pixels: H×W×3 RGB, or H×W gray.

    Raises:
        ValueError: Another shape.
    """
    if pixels.ndim != 2 and pixels.shape[2:] != (3,):
        raise ValueError(
            f"pixels of shape {list(pixels.shape)} given; expected [H, W, 3] or [H, W]"
        )
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    counts = np.array(image.histogram(), np.int64).reshape(-1, _LEVELS)
    small = np.asarray(grey.resize((EDGE, EDGE), Image.Resampling.BOX))
    return Picture(
        counts,
        _tone(counts, np.array(grey.histogram(), np.int64)),
        sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        fingerprint(small),
    )


def _tone(counts: NDArray[np.int64], grey: NDArray[np.int64]) -> Tone | None:
    if all(_level(one, 0.99) - _level(one, 0.01) <= FLAT for one in counts):
        return "constant"
    half = grey.sum() / 2
    if grey[WHITE:].sum() > half or _level(grey, 0.05) >= BRIGHT:
        return "over-exposed"
    if grey[: BLACK + 1].sum() > half or _level(grey, 0.95) <= DARK:
        return "under-exposed"
    return None


def _level(counts: NDArray[np.int64], share: float) -> int:
    """The level that a share of the pixels does not exceed."""
    below = np.cumsum(counts)
    return int(np.searchsorted(below, share * below[-1]))
