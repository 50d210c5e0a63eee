"""`opf_space_to_depth_out_matrix`: the patches of an image as the rows of a matrix, and back.

A compiled network takes the image; on the device its first layer takes this matrix. So the matrix
knows the image's shape, by which it becomes the image again.
"""

from collections.abc import Sequence
from struct import Struct
from typing import ClassVar

import numpy as np

from compiler.compat.vaststreamx.containers import Array, Tensor
from compiler.compat.vaststreamx.operation import Operation, Shape, fitted

_FLOAT16 = 0
_NCHW, _MATRIX = 0, 1


class SpaceToDepth(Operation):
    """An image (C, H, W) → a matrix with a row for each patch, row by row of the image.

    A row holds a patch as the weight (outputs, C, kh, kw) of a convolution is flattened: by
    channel, then row, then column. The device keeps the matrix in blocks of 16×16; this one is in
    plain order. Its sides are filled up with zeros.

    Args:
        numbers: Number of dimensions of the input; its sizes (N, C, H, W), those in memory, layout
            and type; height and width of a patch; number of dimensions of the result; its sizes,
            those in memory, and layout. The input has the rows and columns in memory; what is
            beyond its sizes is left out.

    Raises:
        ValueError: Other layouts or types than NCHW, float16 and matrix; or sizes that do not
            agree.
    """

    layout: ClassVar[Struct] = Struct("<I4I4IiiIII4I4Ii")
    inputs: ClassVar[int] = 1

    def __init__(self, *numbers: int) -> None:
        rank, out_rank, kinds = numbers[0], numbers[13], (*numbers[9:11], numbers[22])
        if (rank, out_rank) != (4, 2) or kinds != (_NCHW, _FLOAT16, _MATRIX):
            raise ValueError(
                f"input of {rank} dimensions, layout {kinds[0]}, type {kinds[1]}, and output of "
                f"{out_rank} dimensions, layout {kinds[2]} given; expected 4, {_NCHW} (NCHW), "
                f"{_FLOAT16} (float16), 2, {_MATRIX} (matrix)"
            )
        batch, channels, height, width = numbers[1:5]
        kh, kw = numbers[11:13]
        # Channels in memory are the device's own concern: scripts give 4 for tensors of 3.
        held = numbers[7:9]
        if batch != 1 or min(channels, height, width, kh, kw) < 1 or height % kh or width % kw:
            raise ValueError(
                f"input {[batch, channels, height, width]} and patches {[kh, kw]} given; expected "
                "1 image of whole patches"
            )
        if held[0] < height or held[1] < width:
            raise ValueError(f"input {[height, width]} is larger than {list(held)} in memory")
        self._image = (channels, *held)
        self._grid = (channels, height // kh, kh, width // kw, kw)
        self._filled = (height // kh * (width // kw), channels * kh * kw)
        self._matrix = numbers[18:20]
        if numbers[14:16] != self._filled or any(
            all_ < some for all_, some in zip(self._matrix, self._filled, strict=True)
        ):
            raise ValueError(
                f"output {list(numbers[14:16])}, {list(self._matrix)} in memory, given for a "
                f"matrix of {list(self._filled)}"
            )

    @property
    def shapes(self) -> Sequence[Shape | None]:
        return [self._matrix]

    def __call__(self, arrays: Sequence[Array]) -> list[Tensor]:
        if arrays[0].dtype != np.float16:
            raise ValueError(f"{arrays[0].dtype} values given; expected float16")
        image = fitted("image", arrays[0], self._image)
        _, rows, kh, columns, kw = self._grid
        patches = image[:, : rows * kh, : columns * kw].reshape(self._grid)
        matrix = np.zeros(self._matrix, np.float16)
        matrix[: self._filled[0], : self._filled[1]] = patches.transpose(1, 3, 0, 2, 4).reshape(
            self._filled
        )
        return [PatchMatrix(matrix, self)]

    def image_of(self, matrix: Array) -> Array:
        """The image (1, C, H, W) of a matrix; 0 where no patch was."""
        channels, rows, kh, columns, kw = self._grid
        filled = matrix.reshape(self._matrix)[: self._filled[0], : self._filled[1]]
        patches = filled.reshape(rows, columns, channels, kh, kw).transpose(2, 0, 3, 1, 4)
        image = np.zeros((1, *self._image), matrix.dtype)
        image[0, :, : rows * kh, : columns * kw] = patches.reshape(channels, rows * kh, -1)
        return image


class PatchMatrix(Tensor):
    """A matrix of patches that knows how it was made."""

    def __init__(self, matrix: Array, made_by: SpaceToDepth) -> None:
        super().__init__(matrix, copy=False)
        self._made_by = made_by

    def image(self) -> Array:
        """The image (1, C, H, W)."""
        return self._made_by.image_of(self._array)
