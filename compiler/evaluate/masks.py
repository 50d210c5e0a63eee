"""Read masks: palette, grey (1, 8 or 16 bits) and GIF files, as class maps or mattes.

Every mask is brought to the size of the network's output, whatever size it or its image has.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compiler.errors import CalibrationError
from compiler.evaluate.pairs import open_picture, unreadable
from compiler.preprocess.ops import Interpolation, Resize
from compiler.runner.masks import Window

FOREGROUND_LEVEL: Final = 125
NOWHERE: Final = -1
"""Class number of pixels that a network sees beyond the edge of an image."""

Size: TypeAlias = tuple[int, int]
"""Height and width."""

See: TypeAlias = Callable[[int, int], Window]
"""(Height, width) of an image -> its part that the network sees."""

_NUMBERED: Final = frozenset({"P", "L", "1", "I", "I;16"})  # Pillow's modes of one channel
_COLOURED: Final = frozenset({"RGB", "RGBA", "CMYK", "YCbCr"})
_PALETTE: Final = 256  # colours of a mask that is painted
_NOISE: Final = 32  # levels that compression sets the channels of a grey picture apart
_NOISY: Final = 1e-3  # share of the pixels that may exceed it
_SIXTEEN_TO_EIGHT: Final = 257  # 65535 = 257 * 255


def read_mask(
    path: Path,
    size: Size,
    convert: Callable[[Image.Image, Size], NDArray[Any]],
    see: See | None = None,
    outside: int = 0,
) -> NDArray[Any]:  # Any: of the conversion
    """Truth of one image.

    Args:
        path: The mask.
        size: Of the result.
        convert: How it is meant, such as `as_foreground`.
        see: What of the image the network sees; None: all of it.
        outside: Value of the result where that reaches beyond the image.

    Raises:
        CalibrationError: The mask cannot be read, is of another kind, or a colour photograph.
    """
    mask = open_mask(path)
    try:
        _check_no_photograph(mask)
        if see is None:
            return convert(mask, size)
        window = see(mask.height, mask.width)
        truth = convert(cut(mask, window), size)
        inside = as_classes(cut(Image.new("L", mask.size, 1), window), size)
        return np.where(inside, truth, truth.dtype.type(outside))
    except ValueError as error:
        raise unusable(path, error) from error


def as_foreground(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    """A mask as {0, 1}: bilinear (cv2 INTER_LINEAR) to `size`, then >= 125 is foreground.

    A mask of class numbers says so by itself: where it is a palette image with colours, or no pixel
    exceeds 1, every number above 0 is foreground.

    Args:
        mask: Matte or mask of any size.
        size: Of the result.
    """
    values = np.asarray(mask)
    if _has_colours(mask) or (mask.mode in _NUMBERED and values.max(initial=0) <= 1):
        matte = np.where(values > 0, 255, 0).astype(np.uint8)
    else:
        matte = as_grey(mask)
    return (resized(matte, size) >= FOREGROUND_LEVEL).astype(np.int64)


def as_classes(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    """A class map, nearest neighbour to `size`; palette images give their indices.

    Args:
        mask: Palette (mode P) or grey image whose values are class numbers.
        size: Of the result.

    Raises:
        ValueError: The mask has colours instead of class numbers.
    """
    if mask.mode not in _NUMBERED:
        raise ValueError(
            f"a mask of class numbers has one channel (palette or grey); this one has mode "
            f"{mask.mode}"
        )
    values = np.asarray(mask).astype(np.uint16 if mask.mode.startswith("I") else np.uint8)
    return resized(values, size, "nearest").astype(np.int64)


def as_grey(mask: Image.Image) -> NDArray[np.uint8]:
    """Levels 0 … 255 of a mask, shape (H, W), at its own size.

    Of 16 bits the upper 8; of colours and palettes the luma.
    """
    if mask.mode.startswith("I"):  # which convert("L") would clip
        return (np.asarray(mask).astype(np.uint32) // _SIXTEEN_TO_EIGHT).astype(np.uint8)
    return np.asarray(mask.convert("L"))


def cut(mask: Image.Image, window: Window) -> Image.Image:
    """The part of a mask that a window shows, to whole pixels.

    Args:
        mask: Of the whole image.
        window: In pixels of the mask; where it reaches beyond it, pixels are 0.
    """
    sides = (window.left, window.top, window.right, window.bottom)
    left, top, right, bottom = map(round, sides)
    if (left, top, right, bottom) == (0, 0, *mask.size):
        return mask
    part = Image.new(mask.mode, (max(1, right - left), max(1, bottom - top)))
    if mask.mode == "P":
        part.putpalette(mask.getpalette() or [])
    part.paste(mask, (-left, -top))
    return part


def resized(
    values: NDArray[Any], size: Size, interpolation: Interpolation = "bilinear"
) -> NDArray[Any]:  # Any: as in `Resize`
    """An array of shape (H, W) at another size, by OpenCV."""
    return np.asarray(Resize(size=size, interpolation=interpolation)(values))


def open_mask(path: Path) -> Image.Image:
    """Open a mask and read its pixels.

    Raises:
        CalibrationError: It cannot be read.
    """
    with open_picture(path) as image:
        try:
            return image.copy()  # of a GIF the file would stay open
        except (OSError, Image.DecompressionBombError) as error:
            raise unreadable(path, error) from error


def unusable(mask: Path, error: ValueError) -> CalibrationError:
    """What to say of a mask, or a label, whose values have no meaning."""
    return CalibrationError(
        str(error),
        where=str(mask),
        fix="correct the mask or label, the number of classes, or the ignored value",
    )


def _check_no_photograph(mask: Image.Image) -> None:
    """Refuse a picture of many colours.

    Grey levels stored in three channels are a matte, up to the noise of compression; a few colours
    are painted classes.

    Raises:
        ValueError: It is one.
    """
    if mask.mode not in _COLOURED:
        return
    picture = mask.convert("RGB")
    values = np.asarray(picture)
    apart = values.max(axis=2) - values.min(axis=2)
    colourful = np.count_nonzero(apart > _NOISE) > _NOISY * apart.size
    if colourful and picture.getcolors(_PALETTE) is None:
        raise ValueError(
            "a colour photograph is no mask, which is grey or has one colour per class; are images "
            "and masks swapped?"
        )


def _has_colours(image: Image.Image) -> bool:
    """Whether it is a palette image with colours, which no matte has."""
    if image.mode != "P":
        return False
    used = [number for _, number in image.getcolors() or ()]
    palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    colours = palette[[number for number in used if isinstance(number, int)]]
    return bool((colours != colours[:, :1]).any())
