"""Find the mask of every image, and read masks as class maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from compiler.errors import CalibrationError
from compiler.preprocess.ops import Resize

MASK_SUFFIXES = ("", "_mask", "_matte", "_gt", "_label")
FOREGROUND_LEVEL = 125
IMAGE_TYPES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


def pair_masks(images: Path, masks: Path) -> tuple[Pair, ...]:
    """Match every image with the mask of the same stem (or stem + `_mask`, `_matte`, …).

    Args:
        images: Folder of images.
        masks: Folder of masks.

    Returns:
        Pairs sorted by the image's name.

    Raises:
        CalibrationError: A folder is missing or empty, or an image has no mask.
    """
    by_stem = {path.stem: path for path in _pictures(masks)}
    pairs, alone = [], []
    for image in _pictures(images):
        names = [image.stem + suffix for suffix in MASK_SUFFIXES]
        mask = next((by_stem[name] for name in names if name in by_stem), None)
        if mask is None:
            alone.append(image.name)
        else:
            pairs.append(Pair(image, mask))
    if alone:
        raise CalibrationError(
            f"{len(alone)} image(s) have no mask: {_some(alone)}",
            where=str(masks),
            fix="name each mask like its image (a.jpg: a.png, a_mask.png or a_matte.png)",
        )
    return tuple(pairs)


def read_foreground(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    """Read a matte as {0, 1}: bilinear (cv2 INTER_LINEAR) to `size`, then >= 125 is foreground.

    Args:
        path: Grey image of any size.
        size: (height, width) of the result.
    """
    image = _open(path)
    if image.mode.startswith("I"):  # 16 bits, which convert("L") would clip
        matte = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
    else:
        matte = np.asarray(image.convert("L"))
    return (Resize(size=size)(matte) >= FOREGROUND_LEVEL).astype(np.int64)


def read_classes(path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
    """Read a class map, nearest neighbour to `size`; palette images give their indices.

    Args:
        path: Palette (mode P) or grey image whose values are class numbers.
        size: (height, width) of the result.

    Raises:
        CalibrationError: The mask has colours instead of class numbers.
    """
    image = _open(path)
    if image.mode not in {"P", "L", "1", "I", "I;16"}:
        raise CalibrationError(
            f"a mask of class numbers has one channel; this one has mode {image.mode}",
            where=str(path),
            fix="save it as a palette or grey PNG whose values are the class numbers",
        )
    values = np.asarray(image).astype(np.uint16 if image.mode.startswith("I") else np.uint8)
    return Resize(size=size, interpolation="nearest")(values).astype(np.int64)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CalibrationError(
            "no such folder", where=str(folder), fix="correct verify.images and verify.masks"
        )
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_TYPES)
    if not found:
        raise CalibrationError(
            f"no image in it ({', '.join(sorted(IMAGE_TYPES))})",
            where=str(folder),
            fix="correct verify.images and verify.masks",
        )
    return found


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise CalibrationError(
            f"not a readable image: {error}", where=str(path), fix="replace or remove the mask"
        ) from error
    return image


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
