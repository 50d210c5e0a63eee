"""`Image` and `Tensor`: arrays that a device would hold in its own memory."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.compat.vaststreamx.enums import ImageFormat, TypeFlag
from compiler.compat.vaststreamx.refusal import refusal

Array = NDArray[Any]  # Any: tensors hold float16, float32 and integers alike
Pixels = NDArray[np.uint8]


class Tensor:
    """An array.

    Args:
        array: Kept as a contiguous copy.
        copy: False for an array that nobody else holds, which is then kept itself: large ones of
            zeros take no memory until they are read.
    """

    def __init__(self, array: Array, *, copy: bool = True) -> None:
        self._array = np.array(array, order="C") if copy else np.asarray(array, order="C")

    @property
    def shape(self) -> list[int]:
        return list(self._array.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def dtype(self) -> TypeFlag:
        return TypeFlag(str(self._array.dtype))

    @property
    def addr(self) -> int:
        """Address of the first element."""
        return int(self._array.ctypes.data)

    def clone(self, device: object = None) -> "Tensor":
        """A copy; every device is this machine's memory."""
        del device
        return self._like(self._array.copy())

    def declared_as(self, shape: Sequence[int], flag: TypeFlag) -> "Tensor":
        """The same values in another type, and a shape of as many elements."""
        with np.errstate(over="ignore"):
            values = self._array.astype(flag.value, copy=False)
        return self._like(values.reshape(tuple(shape)))

    def numpy(self) -> Array:
        """A copy of the array."""
        return self._array.copy()

    def _like(self, array: Array) -> "Tensor":
        """A tensor of the same class, that knows the same, of this array."""
        other = copy.copy(self)
        other._array = array
        return other


class Image:
    """An image of 8-bit pixels.

    Args:
        pixels: In the layout of the format; kept as a contiguous copy.
        format: The layout.
        width: In pixels.
        height: In pixels.
    """

    def __init__(self, pixels: Pixels, format: ImageFormat, width: int, height: int) -> None:
        self._pixels = np.array(pixels, np.uint8, order="C")
        self.format = format
        self.width = width
        self.height = height

    @property
    def shape(self) -> list[int]:
        return list(self._pixels.shape)

    @property
    def pixels(self) -> Pixels:
        """The pixels themselves, not to be changed."""
        return self._pixels

    def clone(self, device: object = None) -> "Image":
        """A copy; every device is this machine's memory."""
        del device
        return Image(self._pixels, self.format, self.width, self.height)

    def numpy(self) -> Pixels:
        """A copy of the pixels."""
        return self._pixels.copy()


def layouts(format: ImageFormat, width: int, height: int) -> Sequence[tuple[int, ...]]:
    """Shapes that the array of an image may have."""
    if format in (ImageFormat.RGB_PLANAR, ImageFormat.BGR_PLANAR):
        return [(3, height, width)]
    if format in (ImageFormat.RGB_INTERLEAVE, ImageFormat.BGR_INTERLEAVE):
        return [(height, width, 3)]
    if format is ImageFormat.GRAY:
        return [(height, width), (1, height, width)]
    return [(height + height // 2, width)]


def create_image(
    array: Pixels, format: ImageFormat, width: int, height: int, device_id: int = 0
) -> Image:
    """An image from an array.

    Args:
        array: uint8, in the layout of the format: planar (3, H, W), interleaved (H, W, 3), gray
            (H, W) or (1, H, W), NV12 (3·H/2, W) with even H and W.
        format: The layout.
        width: In pixels.
        height: In pixels.
        device_id: Any number.

    Raises:
        BundleError: Another type or shape.
    """
    del device_id
    if not isinstance(format, ImageFormat):
        raise refusal(
            "create_image", f"format {format!r} given", "give one of vaststreamx.ImageFormat"
        )
    given = np.asarray(array)
    expected = layouts(format, width, height)
    odd = format is ImageFormat.YUV_NV12 and (height % 2 or width % 2)
    if given.dtype != np.uint8 or given.shape not in expected or 0 in given.shape or odd:
        shapes = " or ".join(str(list(shape)) for shape in expected)
        raise refusal(
            "create_image",
            f"array {given.dtype}{list(given.shape)} given for a {format.name} image of "
            f"width {width} and height {height}",
            f"give uint8{shapes}{', with even sizes' if odd else ''}",
        )
    return Image(given, format, width, height)


def from_numpy(array: Array, device_id: int = 0) -> Tensor:
    """A tensor from an array.

    Raises:
        BundleError: No array of numbers.
    """
    del device_id
    given = np.asarray(array)
    if str(given.dtype) not in {flag.value for flag in TypeFlag}:
        raise refusal("from_numpy", f"{given.dtype} values given", "give an array of numbers")
    return Tensor(given)


def as_numpy(value: Tensor | Image) -> Array:
    """A copy of the array of a tensor or image.

    Raises:
        BundleError: Anything else, such as the list of a sample's outputs.
    """
    if isinstance(value, Tensor | Image):
        return value.numpy()
    raise refusal(
        "as_numpy",
        f"{type(value).__name__} given",
        "give one Tensor or Image (the outputs of a sample are a list of tensors)",
    )
