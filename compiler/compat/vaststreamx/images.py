"""Functions from image to image: colour, size, crop, border.

Pixels are computed as rows × columns × channels and put back into the layout of the format. OpenCV
and Pillow do the arithmetic, as in preprocessing.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from compiler.compat.vaststreamx.containers import Image, Pixels
from compiler.compat.vaststreamx.enums import ImageFormat, ImagePaddingType, ImageResizeType
from compiler.compat.vaststreamx.refusal import refusal
from compiler.preprocess.formats import ColorSpace, to_rgb
from compiler.preprocess.ops import Border, Crop, Resize
from compiler.preprocess.pixels import to_gray
from compiler.preprocess.vdsp_names import FILTERS, IMAGE_FORMATS, RESIZE_TYPES

_PLANAR: Final = (ImageFormat.RGB_PLANAR, ImageFormat.BGR_PLANAR)
_BGR: Final = (ImageFormat.BGR_PLANAR, ImageFormat.BGR_INTERLEAVE)


def as_rgb(image: Image, color_space: ColorSpace = "BT601") -> Pixels:
    """Pixels as preprocessing takes them: RGB (H, W, 3), or (H, W) of a gray image.

    Args:
        image: Of any format.
        color_space: Matrix of NV12.
    """
    return to_rgb(image.pixels, IMAGE_FORMATS[image.format], color_space)


def cvtcolor(image: Image, format: ImageFormat) -> Image:
    """The image in another format.

    Raises:
        BundleError: To NV12 with an odd width or height, or from a gray image.
    """
    rgb = as_rgb(image)
    if format is ImageFormat.GRAY:
        return _image(rgb if rgb.ndim == 2 else to_gray(rgb, None), format)
    if rgb.ndim == 2:
        rgb = np.repeat(rgb[:, :, None], 3, axis=2)
    if format is ImageFormat.YUV_NV12:
        return _to_nv12(rgb)
    return _image(rgb[:, :, ::-1] if format in _BGR else rgb, format)


def resize(image: Image, type: ImageResizeType, resize_width: int, resize_height: int) -> Image:
    """The image stretched to a width and height."""

    def stretch(rows: Pixels) -> Pixels:
        return _resize("resize", rows, type, resize_width, resize_height)

    return _each_row("resize", image, stretch)


def crop(image: Image, rect: Sequence[int]) -> Image:
    """The rectangle (left, top, width, height) of the image."""

    def cut(rows: Pixels) -> Pixels:
        left, top, width, height = rect
        return Crop(crop_size=(height, width), top=top, left=left)(rows)

    return _each_row("crop", image, cut)


def resize_copy_make_border(
    image: Image,
    type: ImageResizeType,
    resize_width: int,
    resize_height: int,
    padding_type: ImagePaddingType,
    padding_values: Sequence[int],
    padding_edges: Sequence[int],
) -> Image:
    """The image stretched to a width and height, then surrounded by one colour.

    Args:
        image: Of any format but NV12.
        type: Interpolation.
        resize_width: In pixels.
        resize_height: In pixels.
        padding_type: The only one that there is.
        padding_values: One number per channel, in the image's own order.
        padding_edges: Rows and columns to add: (top, bottom, left, right).
    """
    del padding_type

    def surround(rows: Pixels) -> Pixels:
        top, bottom, left, right = padding_edges
        value = tuple(padding_values)[: 1 if rows.ndim == 2 else 3]
        border = Border(top=top, bottom=bottom, left=left, right=right, value=value)
        stretched = _resize("resize_copy_make_border", rows, type, resize_width, resize_height)
        return np.asarray(border(stretched), np.uint8)

    return _each_row("resize_copy_make_border", image, surround)


def _resize(call: str, rows: Pixels, type: ImageResizeType, width: int, height: int) -> Pixels:
    if type is ImageResizeType.NO_RESIZE:
        return rows
    if not isinstance(type, ImageResizeType):
        raise refusal(call, f"type {type!r} given", "give one of vaststreamx.ImageResizeType")
    interpolation, backend = FILTERS[RESIZE_TYPES[type]]
    stretch = Resize(size=(height, width), interpolation=interpolation, backend=backend)
    return np.asarray(stretch(rows), np.uint8)


def _each_row(call: str, image: Image, work: Callable[[Pixels], Pixels]) -> Image:
    """Work on rows × columns (× channels), and keep the format."""
    if image.format is ImageFormat.YUV_NV12:
        raise refusal(call, "an NV12 image given", "convert it with cvtcolor first")
    try:
        return _image(work(_rows(image)), image.format)
    except ValueError as error:
        raise refusal(call, str(error), "correct the arguments") from error


def _rows(image: Image) -> Pixels:
    """(H, W, 3) in the image's own order of channels, or (H, W)."""
    if image.format in _PLANAR:
        return image.pixels.transpose(1, 2, 0)
    if image.format is ImageFormat.GRAY:
        return image.pixels.reshape(image.height, image.width)
    return image.pixels


def _image(rows: Pixels, format: ImageFormat) -> Image:
    height, width = rows.shape[:2]
    return Image(rows.transpose(2, 0, 1) if format in _PLANAR else rows, format, width, height)


def _to_nv12(rgb: Pixels) -> Image:
    import cv2

    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        raise refusal("cvtcolor", f"{height}×{width} image to NV12", "give even sizes")
    planes = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2YUV_I420)
    luma, chroma = planes[:height], planes[height:].reshape(2, -1)
    pairs = chroma.T.reshape(height // 2, width)
    return Image(np.concatenate([luma, pairs]), ImageFormat.YUV_NV12, width, height)
