"""Images in memory in the layouts of cameras and device libraries → the RGB that a chain reads."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

ImageFormat: TypeAlias = Literal[
    "RGB_PLANAR", "BGR_PLANAR", "RGB_INTERLEAVE", "BGR_INTERLEAVE", "GRAY", "YUV_NV12"
]
ColorSpace: TypeAlias = Literal["BT601", "BT709"]

_SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "RGB_PLANAR": "[3, height, width]",
        "BGR_PLANAR": "[3, height, width]",
        "RGB_INTERLEAVE": "[height, width, 3]",
        "BGR_INTERLEAVE": "[height, width, 3]",
        "GRAY": "[height, width] or [1, height, width]",
        "YUV_NV12": "[height·3/2, width], height and width even",
    }
)
# Share of red and of blue in the luma.
_WEIGHTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"BT601": (0.299, 0.114), "BT709": (0.2126, 0.0722)}
)


def to_rgb(
    array: NDArray[np.uint8], image_format: ImageFormat, color_space: ColorSpace = "BT601"
) -> NDArray[np.uint8]:
    """An image of any format as RGB pixels (H, W, 3); a gray one as (H, W).

    Args:
        array: uint8, of the shape that the format has: planar (3, H, W), interleaved (H, W, 3),
            GRAY (H, W) or (1, H, W), YUV_NV12 (H·3/2, W). It may be a read-only or strided view,
            and so may be the result.
        image_format: What `array` holds.
        color_space: Matrix of YUV_NV12.

    Raises:
        ValueError: An unknown format, or an array that does not fit it.
    """
    if image_format not in _SHAPES:
        raise ValueError(f"image format '{image_format}' is not one of {', '.join(_SHAPES)}")
    if array.dtype != np.uint8 or array.size == 0 or not _fits(array.shape, image_format):
        raise ValueError(
            f"array of shape {list(array.shape)} and type {array.dtype} is no {image_format} "
            f"image; expected {_SHAPES[image_format]}, uint8"
        )
    if image_format == "YUV_NV12":
        return _from_nv12(array, color_space)
    if image_format == "GRAY":
        return array.reshape(array.shape[-2:])
    pixels = array.transpose(1, 2, 0) if image_format.endswith("PLANAR") else array
    return pixels[:, :, ::-1] if image_format.startswith("BGR") else pixels


def _fits(shape: tuple[int, ...], image_format: ImageFormat) -> bool:
    if image_format == "YUV_NV12":
        return len(shape) == 2 and shape[0] % 3 == 0 and shape[1] % 2 == 0
    if image_format == "GRAY":
        return len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)
    return len(shape) == 3 and shape[0 if image_format.endswith("PLANAR") else 2] == 3


def _from_nv12(array: NDArray[np.uint8], color_space: ColorSpace) -> NDArray[np.uint8]:
    """Luma of video range (16 to 235, below is black); a pair of chroma bytes is for 2×2 pixels.

    Source: Rec. ITU-R BT.601 and BT.709, equations of the quantised signals.
    """
    red, blue = _WEIGHTS[color_space]
    height = array.shape[0] * 2 // 3
    luma = np.maximum(array[:height].astype(np.float32) - 16, 0) * (255 / 219)
    pairs = array[height:].reshape(height // 2, -1, 2).astype(np.float32)
    chroma = ((pairs - 128) * (255 / 224)).repeat(2, axis=0).repeat(2, axis=1)
    from_blue, from_red = 2 * (1 - blue) * chroma[..., 0], 2 * (1 - red) * chroma[..., 1]
    green = luma - (blue * from_blue + red * from_red) / (1 - red - blue)
    pixels = np.stack([luma + from_red, green, luma + from_blue], axis=-1)
    rounded: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded
