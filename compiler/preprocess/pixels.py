"""Pixel arithmetic that OpenCV or Pillow does for us; each is imported when first needed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Backend: TypeAlias = Literal["opencv", "pillow"]
Pixels: TypeAlias = NDArray[Any]  # uint8 before Normalize, float32 after it

# Values of cv2.INTER_* and of PIL.Image.Resampling; both libraries keep them fixed.
CV2_INTERPOLATION: Mapping[str, int] = MappingProxyType(
    {"nearest": 0, "bilinear": 1, "linear": 1, "bicubic": 2, "cubic": 2, "area": 3, "lanczos": 4}
)
PILLOW_INTERPOLATION: Mapping[str, int] = MappingProxyType(
    {
        "nearest": 0,
        "lanczos": 1,
        "bilinear": 2,
        "linear": 2,
        "bicubic": 3,
        "cubic": 3,
        "box": 4,
        "hamming": 5,
    }
)


def channels(image: Pixels) -> int:
    """Number of channels of an H×W or H×W×C image."""
    return 1 if image.ndim == 2 else int(image.shape[2])


def resize_opencv(
    image: Pixels, height: int, width: int, interpolation: str | None = None
) -> Pixels:
    """`cv2.resize`, default bilinear; keeps the number of dimensions."""
    import cv2

    method = CV2_INTERPOLATION[interpolation or "bilinear"]
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    return np.asarray(resized).reshape(height, width, *image.shape[2:])


def resize_pillow(image: Pixels, height: int, width: int, interpolation: str | None) -> Pixels:
    from PIL import Image

    method = Image.Resampling(PILLOW_INTERPOLATION[interpolation or "bilinear"])
    planes = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    resized = np.asarray(Image.fromarray(planes).resize((width, height), method))
    return resized.reshape(height, width, *image.shape[2:])


def to_gray(image: NDArray[np.uint8], backend: Backend | None) -> NDArray[np.uint8]:
    """H×W×3 RGB → H×W, by the weights of the library."""
    if backend == "pillow":
        from PIL import Image

        return np.asarray(Image.fromarray(image).convert("L"))
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def look_up(image: NDArray[np.uint8], tables: NDArray[np.float32]) -> NDArray[np.float32]:
    """H×W×C or H×W → 1×C×H×W.

    Args:
        image: 8 bits.
        tables: The new value of each old one, shape (C, 256).
    """
    import cv2

    planes = np.empty((1, len(tables), *image.shape[:2]), np.float32)
    for i, plane in enumerate(cv2.split(np.ascontiguousarray(image))):
        planes[0, i] = cv2.LUT(plane, tables[i])
    return planes
