"""Process ops that read an image and choose its channels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from compiler.preprocess.decode import decode_image, is_gray
from compiler.preprocess.ops.fields import check_choice, closest, is_whole
from compiler.preprocess.pixels import Backend, Pixels, channels, to_gray

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
        check_choice("backend", self.backend, (*get_args(Backend), None))
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
class ChannelSplit:
    """Keep one channel, as H×W×1."""

    type: Literal["ChannelSplit"] = "ChannelSplit"
    index: int = 0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not is_whole(self.index) or self.index < 0:
            raise ValueError(f"index {self.index} is not a whole number from 0")

    def __call__(self, image: Pixels) -> Pixels:
        """Keep channel `index`."""
        if self.index >= channels(image):
            raise ValueError(
                f"index {self.index} given; the image has {channels(image)} channel(s)"
            )
        return image.reshape(*image.shape[:2], -1)[:, :, self.index : self.index + 1]
