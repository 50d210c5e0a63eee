"""The process_ops of a build file: one frozen dataclass per op, its fields as in the YAML.

Data flows path → H×W×C uint8 (DecodeImage … Pad) → H×W×C float32 (Normalize) → 1×C×H×W float32
(ToTensor). Images are RGB after DecodeImage; no op keeps track of the colour order afterwards.
A gray image is H×W until ToTensor. OpenCV is the default library and decides every pixel;
`backend: pillow` asks for Pillow. Both are imported when an op first needs them.

The classes validate in `__post_init__` (ValueError), so that they mean the same whether a build
file, a bundle or a program constructs them.
"""

import difflib
import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from compiler.preprocess.decode import decode_image, is_gray
from compiler.preprocess.pixels import (
    CV2_INTERPOLATION,
    PILLOW_INTERPOLATION,
    Backend,
    Pixels,
    channels,
    resize_opencv,
    resize_pillow,
    to_gray,
)

Interpolation: TypeAlias = Literal[
    "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "lanczos"
]
Side: TypeAlias = Literal["long", "short"]
Position: TypeAlias = Literal["center", "topleft"]
Rounding: TypeAlias = Literal["round", "floor"]

NO_NORM = (None, "None", "none", "null", "")  # spellings of "no mean and std" in public files

# Flags whose result is always 8 bits and always gray or always colour.
_BASE_FLAGS = (0, 1, 16, 17, 32, 33, 64, 65)
CV2_FLAGS = (*_BASE_FLAGS, *(flags + 128 for flags in _BASE_FLAGS))


@dataclass(frozen=True, kw_only=True)
class DecodeImage:
    """Image file or its bytes → H×W×3 RGB uint8, or H×W gray.

    Args:
        cv2_flags: `cv2.imread` flag: 1 colour, 0 gray; 16/17, 32/33, 64/65 decode at a half,
            quarter, eighth of the size; add 128 to ignore the EXIF orientation, which OpenCV
            applies and Pillow does not.
        backend: Library that decodes.
    """

    type: Literal["DecodeImage"] = "DecodeImage"
    cv2_flags: int = 1
    backend: Backend | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend, (*get_args(Backend), None))
        allowed = (0, 1) if self.backend == "pillow" else CV2_FLAGS
        if self.cv2_flags not in allowed:
            raise ValueError(
                f"cv2_flags {self.cv2_flags} is not supported; allowed are "
                f"{', '.join(map(str, allowed))} (1 colour, 0 gray)"
            )

    def __call__(self, image: Path | str | bytes) -> NDArray[np.uint8]:
        """Decode a file or its bytes.

        Raises:
            CalibrationError: Missing, unreadable, truncated or oversized image.
        """
        return decode_image(image, self.cv2_flags, self.backend)

    def from_array(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What decoding would give for pixels that are there already.

        Gray may differ from a file's: OpenCV's decoders compute it in their own ways, and a
        reduced size is not applied.

        Args:
            image: H×W×3 RGB, H×W×1 or H×W gray; uint8.

        Raises:
            ValueError: Any other shape or type.
        """
        pixels = image.dtype == np.uint8 and image.ndim in (2, 3) and image.size > 0
        if not pixels or channels(image) not in (1, 3):
            raise ValueError(
                f"array of shape {list(image.shape)} and type {image.dtype}; expected an RGB image"
                " [height, width, 3] or a gray one [height, width], uint8"
            )
        if channels(image) == 1:
            gray = image.reshape(image.shape[:2])
            return gray if is_gray(self.cv2_flags) else np.repeat(gray[:, :, None], 3, axis=2)
        return to_gray(image, self.backend) if is_gray(self.cv2_flags) else image


@dataclass(frozen=True, kw_only=True)
class CvtColor:
    """`cv2.cvtColor` with the code taken literally: COLOR_BGR2RGB turns an RGB image into BGR.

    Args:
        code: Name of an OpenCV constant; `RGB2BGR` and `cv2.COLOR_RGB2BGR` are understood too.
    """

    type: Literal["CvtColor"] = "CvtColor"
    code: str

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        import cv2

        names = [name for name in vars(cv2) if name.startswith("COLOR_")]
        if self.constant not in names:
            raise ValueError(
                f"OpenCV has no colour code '{self.code}'{closest(self.constant, names)}"
            )

    @property
    def constant(self) -> str:
        """Name of the constant in `cv2`."""
        return "COLOR_" + self.code.removeprefix("cv2.").removeprefix("COLOR_")

    def __call__(self, image: Pixels) -> Pixels:
        """Convert; the number of channels follows the code."""
        import cv2

        try:
            return np.asarray(
                cv2.cvtColor(np.ascontiguousarray(image), getattr(cv2, self.constant))
            )
        except cv2.error:
            raise ValueError(
                f"{self.constant} does not apply to an image of {channels(image)} channel(s)"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Stretch to `size`, or scale by one ratio when a side is -1 or `adaptive_side` is given.

    Args:
        size: [height, width]; one number means a square; -1 in one place: derived.
        adaptive_side: Side of the image that gets the number in `size`; with two positive numbers
            `long` fits the image into that box, `short` covers it.
        interpolation: Default bilinear.
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
        _check_choice("adaptive_side", self.adaptive_side, (*get_args(Side), None))
        _check_choice("backend", self.backend, (*get_args(Backend), None))
        _check_choice("rounding", self.rounding, get_args(Rounding))
        pillow = self.backend == "pillow"
        known = PILLOW_INTERPOLATION if pillow else CV2_INTERPOLATION
        _check_choice("interpolation", self.interpolation, (*known, None))
        if any(side < 1 and side != -1 for side in self.box) or self.box == (-1, -1):
            raise ValueError(
                f"size {list(self.box)} is not [height, width]; expected positive numbers, "
                "one of which may be -1 (derived)"
            )

    @property
    def box(self) -> tuple[int, int]:
        """`size` as (height, width)."""
        return _box("size", self.size)

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
        _check_choice("backend", self.backend, (*get_args(Backend), None))
        if min(self.box) < 1:
            raise ValueError(f"crop_size {list(self.box)} is not positive")

    @property
    def box(self) -> tuple[int, int]:
        """`crop_size` as (height, width)."""
        return _box("crop_size", self.crop_size)

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
        _check_choice("position", self.position, get_args(Position))
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not values or any(not _is_whole(value) or not 0 <= value <= 255 for value in values):
            raise ValueError(f"value {self.value} is not 0 to 255, or a list of such numbers")

    def __call__(self, image: Pixels) -> Pixels:
        """Pad to a square of the longer side."""
        side = max(image.shape[:2])
        return self.pad_to(image, side, side) if self.pad_to_square else image

    def pad_to(self, image: Pixels, height: int, width: int) -> Pixels:
        """Pad to a size that is at least the image's."""
        if isinstance(self.value, tuple) and len(self.value) not in (1, channels(image)):
            raise ValueError(
                f"value has {len(self.value)} numbers for {channels(image)} channel(s)"
            )
        down, right = height - image.shape[0], width - image.shape[1]
        top, left = (down // 2, right // 2) if self.position == "center" else (0, 0)
        padded = np.empty((height, width, *image.shape[2:]), image.dtype)
        padded[...] = self.value
        padded[top : top + image.shape[0], left : left + image.shape[1]] = image
        return padded


@dataclass(frozen=True, kw_only=True)
class ChannelSplit:
    """Keep one channel, as H×W×1."""

    type: Literal["ChannelSplit"] = "ChannelSplit"
    index: int = 0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not _is_whole(self.index) or self.index < 0:
            raise ValueError(f"index {self.index} is not a whole number from 0")

    def __call__(self, image: Pixels) -> Pixels:
        """Keep channel `index`."""
        if self.index >= channels(image):
            raise ValueError(
                f"index {self.index} given; the image has {channels(image)} channel(s)"
            )
        return image.reshape(*image.shape[:2], -1)[:, :, self.index : self.index + 1]


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """y = (x / 255 if div255 else x), then (y - mean) / std; float32.

    Args:
        mean: One number, or one per channel in the order the channels have now; in the scale
            after the division by 255.
        std: Likewise; not 0.
        div255: None (YAML null) means false, as in the public files; absent means true.
        norm_type: null or the string "None" leaves mean and std out.
    """

    type: Literal["Normalize"] = "Normalize"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    div255: bool | None = True
    norm_type: str | None = "mean_std"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.norm_type not in (*NO_NORM, "mean_std"):
            raise ValueError(
                f"norm_type '{self.norm_type}' is not known; null means no mean and std, "
                "absent means both apply"
            )
        if self.applies_mean_std and (self.mean is None or self.std is None):
            raise ValueError("give mean and std, or norm_type: null")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not (values and all(map(math.isfinite, values))):
                raise ValueError(f"{name} {list(values)} is not a list of numbers")
        if self.std is not None and 0 in self.std:
            raise ValueError(f"std {list(self.std)} contains 0")

    @property
    def applies_mean_std(self) -> bool:
        """Whether mean and std are used."""
        return self.norm_type not in NO_NORM

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Normalize; every step in float32."""
        values: NDArray[np.float32] = image.astype(np.float32)
        if self.div255:
            values /= np.float32(255)
        if self.applies_mean_std:
            values -= self._per_channel("mean", self.mean, image)
            values /= self._per_channel("std", self.std, image)
        return values

    @staticmethod
    def _per_channel(
        name: str, values: tuple[float, ...] | None, image: Pixels
    ) -> NDArray[np.float32]:
        vector = np.asarray(values, np.float32)
        if vector.size not in (1, channels(image)):
            raise ValueError(f"{name} has {vector.size} numbers for {channels(image)} channel(s)")
        return vector


@dataclass(frozen=True, kw_only=True)
class ToTensor:
    """H×W×C → 1×C×H×W float32; values stay as they are (torchvision's op would divide by 255)."""

    type: Literal["ToTensor"] = "ToTensor"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Add the batch dimension and put channels first."""
        planes = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
        return np.ascontiguousarray(planes[None], np.float32)


@dataclass(frozen=True, kw_only=True)
class CustomFunc:
    """The user's own function in place of the whole chain.

    Args:
        module_path: Python file.
        func_name: Function in it, called as `func_name(image_path, **arguments)`.
        arguments: In a build file, the remaining fields of the op.
    """

    type: Literal["CustomFunc"] = "CustomFunc"
    module_path: str
    func_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # Any: values of a YAML file

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "allow"}

    def __post_init__(self) -> None:
        # pydantic leaves the fields that it does not know in the instance's dictionary.
        extra = vars(self).keys() - {item.name for item in fields(self)}
        collected = {name: vars(self).pop(name) for name in sorted(extra)}
        object.__setattr__(self, "arguments", {**self.arguments, **collected})

    def __call__(self, path: Path | str) -> Pixels:
        """Whatever the function returns for this file; only `Chain` decides whether it may run."""
        function = _load_function(self.module_path, self.func_name)
        try:
            return np.asarray(function(str(path), **self.arguments))
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise ValueError(
                f"{self.func_name} of {self.module_path} failed: {_fault(error)}"
            ) from error


ProcessOp: TypeAlias = (
    DecodeImage
    | CvtColor
    | Resize
    | CenterCrop
    | Pad
    | ChannelSplit
    | Normalize
    | ToTensor
    | CustomFunc
)


@cache
def _load_function(module_path: str, func_name: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(Path(module_path).stem, module_path)
    if spec is None or spec.loader is None:
        raise ValueError(f"module_path {module_path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise ValueError(f"cannot import {module_path} for {func_name}: {_fault(error)}") from error
    function = getattr(module, func_name, None)
    if not callable(function):
        raise ValueError(f"{module_path} has no function '{func_name}'")
    return function  # type: ignore[no-any-return]  # getattr of a foreign module


def _fault(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it calls sys.exit, which would end the whole process; raise an error instead"
    return f"{type(error).__name__}: {error}"


def _box(name: str, size: int | tuple[int, ...]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else size
    if len(sides) != 2 or not all(map(_is_whole, sides)):
        raise ValueError(f"{name} {list(sides)} is not [height, width] in whole numbers")
    return sides[0], sides[1]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        names = ["null" if choice is None else str(choice) for choice in allowed]
        raise ValueError(f"{name} '{value}' is not one of {', '.join(names)}")


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: what the reader may have meant, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
