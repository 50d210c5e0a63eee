"""Process ops that change the size of an image; 8-bit pixels in, 8-bit pixels out."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from compiler.preprocess.ops.fields import box_of, check_choice, check_lengths, check_pixel
from compiler.preprocess.pixels import (
    CV2_INTERPOLATION,
    PILLOW_INTERPOLATION,
    Backend,
    Pixels,
    channels,
    resize_opencv,
    resize_pillow,
)

Interpolation: TypeAlias = Literal[
    "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "lanczos", "box", "hamming"
]
Side: TypeAlias = Literal["long", "short"]
Position: TypeAlias = Literal["center", "topleft"]
Rounding: TypeAlias = Literal["round", "floor"]


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Stretch to `size`, or scale by one ratio when a side is -1 or `adaptive_side` is given.

    Args:
        size: [height, width]; one number means a square; -1 in one place: derived.
        adaptive_side: Side of the image that gets the number in `size`; with two positive numbers
            `long` fits the image into that box, `short` covers it.
        interpolation: Default bilinear; `area` is OpenCV's, `box` and `hamming` are Pillow's.
        backend: Library that resizes; Pillow's bilinear and bicubic average when they shrink.
        rounding: Of the derived side.
    """

    type: Literal["Resize"] = "Resize"
    size: int | tuple[int, int]
    adaptive_side: Side | None = None
    interpolation: Interpolation | None = None
    backend: Backend | None = None
    rounding: Rounding = "round"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_choice("adaptive_side", self.adaptive_side, (*get_args(Side), None))
        check_choice("backend", self.backend, (*get_args(Backend), None))
        check_choice("rounding", self.rounding, get_args(Rounding))
        pillow = self.backend == "pillow"
        known = PILLOW_INTERPOLATION if pillow else CV2_INTERPOLATION
        check_choice("interpolation", self.interpolation, (*known, None))
        if any(side < 1 and side != -1 for side in self.box) or self.box == (-1, -1):
            raise ValueError(
                f"size {list(self.box)} is not [height, width]; expected positive numbers, "
                "one of which may be -1 (derived)"
            )

    @property
    def box(self) -> tuple[int, int]:
        """`size` as (height, width)."""
        return box_of("size", self.size)

    @property
    def keeps_ratio(self) -> bool:
        """Whether the result's size depends on the image."""
        return self.adaptive_side is not None or -1 in self.box

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        if not self.keeps_ratio:
            return self.box
        short = self.adaptive_side == "short"
        if -1 in self.box:
            number, side = max(self.box), (min if short else max)(height, width)
        else:
            choose = max if short else min
            ratios = zip(self.box, (height, width), strict=True)
            number, side = choose(ratios, key=lambda pair: pair[0] / pair[1])
        return self._scaled(height, number, side), self._scaled(width, number, side)

    def _scaled(self, length: int, number: int, side: int) -> int:
        if self.rounding == "floor":
            return max(1, length * number // side)
        return max(1, round(length * (number / side)))

    def __call__(self, image: Pixels) -> Pixels:
        """Resize an H×W or H×W×C uint8 image."""
        height, width = self.target(*image.shape[:2])
        if self.backend == "pillow":
            return resize_pillow(image, height, width, self.interpolation)
        return resize_opencv(image, height, width, self.interpolation)


@dataclass(frozen=True, kw_only=True)
class CenterCrop:
    """Keep the middle; the offset is floor((side - crop) / 2) with either backend.

    Args:
        crop_size: [height, width]; one number means a square.
        backend: Accepted; cropping is the same in both libraries.
    """

    type: Literal["CenterCrop"] = "CenterCrop"
    crop_size: int | tuple[int, int]
    backend: Backend | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_choice("backend", self.backend, (*get_args(Backend), None))
        if min(self.box) < 1:
            raise ValueError(f"crop_size {list(self.box)} is not positive")

    @property
    def box(self) -> tuple[int, int]:
        """`crop_size` as (height, width)."""
        return box_of("crop_size", self.crop_size)

    def __call__(self, image: Pixels) -> Pixels:
        """Crop an image that is at least as large as `crop_size`."""
        height, width = image.shape[:2]
        crop_height, crop_width = self.box
        if height < crop_height or width < crop_width:
            raise ValueError(
                f"image {height}×{width} is smaller than crop_size {crop_height}×{crop_width}"
            )
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        return image[top : top + crop_height, left : left + crop_width]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Keep a rectangle that starts at (top, left).

    Args:
        crop_size: [height, width]; one number means a square.
        top: First row that stays.
        left: First column that stays.
    """

    type: Literal["Crop"] = "Crop"
    crop_size: int | tuple[int, int]
    top: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        if min(self.box) < 1:
            raise ValueError(f"crop_size {list(self.box)} is not positive")
        check_lengths(top=self.top, left=self.left)

    @property
    def box(self) -> tuple[int, int]:
        """`crop_size` as (height, width)."""
        return box_of("crop_size", self.crop_size)

    def __call__(self, image: Pixels) -> Pixels:
        """Crop an image that contains the rectangle."""
        height, width = self.box
        bottom, right = self.top + height, self.left + width
        if bottom > image.shape[0] or right > image.shape[1]:
            raise ValueError(
                f"image {image.shape[0]}×{image.shape[1]} does not contain {height}×{width} "
                f"pixels from row {self.top}, column {self.left}"
            )
        return image[self.top : bottom, self.left : right]


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Pad the shorter side up to the longer one.

    Args:
        pad_to_square: False leaves the image as it is.
        value: 0 to 255, one for all channels or one each.
        position: Where the image goes; an odd pixel goes to the bottom or right.
    """

    type: Literal["Pad"] = "Pad"
    pad_to_square: bool = True
    value: int | tuple[int, ...] = 114
    position: Position = "center"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_choice("position", self.position, get_args(Position))
        check_pixel(self.value)

    def __call__(self, image: Pixels) -> Pixels:
        """Pad to a square of the longer side."""
        side = max(image.shape[:2])
        return self.pad_to(image, side, side) if self.pad_to_square else image

    def pad_to(self, image: Pixels, height: int, width: int) -> Pixels:
        """Pad to a size that is at least the image's."""
        return PadTo(size=(height, width), value=self.value, position=self.position)(image)


@dataclass(frozen=True, kw_only=True)
class PadTo:
    """Pad both sides to `size`.

    Args:
        size: [height, width]; one number means a square.
        value: 0 to 255, one for all channels or one each.
        position: Where the image goes; an odd pixel goes to the bottom or right.
    """

    type: Literal["PadTo"] = "PadTo"
    size: int | tuple[int, int]
    value: int | tuple[int, ...] = 114
    position: Position = "center"

    def __post_init__(self) -> None:
        check_pixel(self.value)
        check_choice("position", self.position, get_args(Position))
        if min(self.box) < 1:
            raise ValueError(f"size {list(self.box)} is not positive")

    @property
    def box(self) -> tuple[int, int]:
        """`size` as (height, width)."""
        return box_of("size", self.size)

    def edges(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Rows and columns (top, bottom, left, right) that an image of this size gets."""
        down, right = self.box[0] - height, self.box[1] - width
        if min(down, right) < 0:
            raise ValueError(
                f"image {height}×{width} is larger than size {self.box[0]}×{self.box[1]}"
            )
        top, left = (down // 2, right // 2) if self.position == "center" else (0, 0)
        return top, down - top, left, right - left

    def __call__(self, image: Pixels) -> Pixels:
        """Pad an image that is at most as large as `size`."""
        return surround(image, self.edges(*image.shape[:2]), self.value)


@dataclass(frozen=True, kw_only=True)
class Border:
    """Add rows and columns around the image.

    Args:
        top: Rows above.
        bottom: Rows below.
        left: Columns on the left.
        right: Columns on the right.
        value: 0 to 255, one for all channels or one each.
    """

    type: Literal["Border"] = "Border"
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    value: int | tuple[int, ...] = 114

    def __post_init__(self) -> None:
        check_pixel(self.value)
        check_lengths(top=self.top, bottom=self.bottom, left=self.left, right=self.right)

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right."""
        return self.top, self.bottom, self.left, self.right

    def __call__(self, image: Pixels) -> Pixels:
        """Surround an image of any size."""
        return surround(image, self.edges, self.value)


def surround(
    image: Pixels, edges: tuple[int, int, int, int], value: int | tuple[int, ...]
) -> Pixels:
    """The image with `edges` (top, bottom, left, right) of constant pixels around it."""
    if isinstance(value, tuple) and len(value) not in (1, channels(image)):
        raise ValueError(f"value has {len(value)} numbers for {channels(image)} channel(s)")
    top, bottom, left, right = edges
    height, width = image.shape[:2]
    padded = np.empty((top + height + bottom, left + width + right, *image.shape[2:]), image.dtype)
    padded[...] = value
    padded[top : top + height, left : left + width] = image
    return padded
