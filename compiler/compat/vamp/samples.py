"""What a sample is: an image for the preprocessing, or tensors for the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.compat.vamp.notation import Shape
from compiler.errors import BuildFileError, CalibrationError
from compiler.preprocess.formats import ImageFormat, to_rgb
from compiler.runner.engine import Tensor
from compiler.runner.inputs import Given
from compiler.runner.manifest import TensorSpec


@dataclass(frozen=True, slots=True)
class Samples:
    """How arrays become what a runner takes.

    Args:
        inputs: Of the network, in graph order.
        are_images: Whether the preprocessing makes the network's only input from an image.
        image_format: What the preprocessing takes an image for. As on the device, an array's first
            channel is what the format names first; which axis holds the channels is seen by its
            shape.
    """

    inputs: tuple[TensorSpec, ...]
    are_images: bool
    image_format: ImageFormat = "RGB_PLANAR"

    def from_arrays(self, arrays: Sequence[Tensor]) -> Given:
        """A sample from the arrays of an npz; what is more than the network's inputs is left out.

        Args:
            arrays: Of an image, its planes, uint8 (C, H, W) with C 1 or 3, (H, W) or (H, W, C);
                else one tensor per input, in their order, with or without the batch axis.

        Raises:
            ValueError: Too few arrays, or an array of another shape or kind.
        """
        if len(arrays) < len(self.inputs):
            raise ValueError(f"{len(arrays)} array(s); the network takes {len(self.inputs)}")
        if self.are_images:
            return pixels_of(arrays[0], self.image_format)
        return {
            spec.name: _cast(array, spec) for spec, array in zip(self.inputs, arrays, strict=False)
        }

    def generated(self, shapes: Sequence[Shape] | None) -> Given:
        """A sample to measure with: noise as image, ones as tensors.

        Args:
            shapes: Of the image (C, H, W), or one per tensor; None is the network's own.

        Raises:
            BuildFileError: Fewer shapes than inputs, no image, or one that memory cannot hold.
        """
        chosen = self.shapes(shapes)
        try:
            if not self.are_images:
                return {
                    spec.name: np.ones(shape, spec.dtype)
                    for spec, shape in zip(self.inputs, chosen, strict=True)
                }
            pixels = np.random.default_rng(0).integers(0, 256, chosen[0], np.uint8)
            return pixels_of(pixels, self.image_format)
        except (ValueError, MemoryError) as error:
            raise BuildFileError(
                str(error), where=f"--shape {list(chosen[0])}", fix="give [channels,height,width]"
            ) from error

    def shapes(self, shapes: Sequence[Shape] | None) -> tuple[Shape, ...]:
        """Shape of every generated input, of an image without batch axis.

        Raises:
            BuildFileError: Fewer shapes than inputs.
        """
        if shapes is None:
            own = tuple(_largest(spec) for spec in self.inputs)
            return (own[0][-3:],) if self.are_images else own
        if len(shapes) < len(self.inputs):
            raise BuildFileError(
                f"{len(shapes)} shape(s) for {len(self.inputs)} inputs",
                where="--shape",
                fix=f"give one for each of {', '.join(map(str, self.inputs))}",
            )
        return tuple(shapes[: len(self.inputs)])


def pixels_of(array: Tensor, image_format: ImageFormat = "RGB_PLANAR") -> NDArray[np.uint8]:
    """An image of an npz as pixels (H, W, 3), red first, or (H, W) if gray.

    Args:
        array: uint8, (C, H, W) or (H, W, C), C 1 or 3, perhaps with a leading 1; or (H, W).
        image_format: Decides which channel is red; or YUV_NV12.

    Raises:
        ValueError: Another shape or type.
    """
    image = array[0] if array.ndim == 4 and len(array) == 1 else array
    return np.ascontiguousarray(to_rgb(image, _layout(image.shape, image_format)))


def _layout(shape: Shape, image_format: ImageFormat) -> ImageFormat:
    if image_format == "YUV_NV12":
        return "YUV_NV12"
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
        return "GRAY"
    blue_first = image_format.startswith("BGR")
    if len(shape) == 3 and shape[0] != 3 and shape[2] == 3:
        return "BGR_INTERLEAVE" if blue_first else "RGB_INTERLEAVE"
    return "BGR_PLANAR" if blue_first else "RGB_PLANAR"


def located(error: ValueError, where: str) -> CalibrationError:
    """The error for a sample that does not fit the network."""
    return CalibrationError(
        str(error), where=where, fix="write the npz for this network (modc npz), or remove it"
    )


def _cast(array: Tensor, spec: TensorSpec) -> Tensor:
    if not np.can_cast(array.dtype, spec.dtype, "same_kind") and not (
        array.dtype.kind in "iu" and np.dtype(spec.dtype).kind in "iu"
    ):
        raise ValueError(f"{array.dtype} values for the input {spec}")
    return array.astype(spec.dtype, copy=False)


def _largest(spec: TensorSpec) -> Shape:
    return tuple(max(largest, 1) for _, largest in spec.ranges)
