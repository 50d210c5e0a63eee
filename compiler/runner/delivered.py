"""The form in which an output is handed out to programs that were written for the device.

A device hands out matrices where a graph has higher ranks, transposes some of them, and fills its
memory's alignment with zeros. A reader indexes what it gets, so that the form is part of a bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What is done to an output before it is handed out.

    Args:
        layout: "YX": a matrix, [1, M, N] as [M, N] and [1, C, H, W] as [C, H * W]; "XY": the
            transpose of that matrix; "kept": neither.
        shape: Then given this shape, all sizes 1 or more; empty: none. With as many elements they
            are the same in row-major order. Else each axis ends in zeros; for that, axes of size 1
            are dropped or added in front until the ranks agree.
    """

    layout: Literal["kept", "YX", "XY"] = "kept"
    shape: Shape = ()

    def shape_of(self, shape: Shape) -> Shape:
        """The shape in which an output of this shape is handed out; -1 where a size is open.

        Raises:
            ValueError: It does not fit into `self.shape`, or has open sizes there.
        """
        laid = self._laid(shape)
        if not self.shape:
            return laid
        if min(self.shape) < 1:
            raise ValueError(f"sizes of {list(self.shape)} are not all 1 or more")
        if min(laid, default=1) < 0:
            raise ValueError(f"{list(laid)} has open sizes, so it cannot become {list(self.shape)}")
        if prod(laid) != prod(self.shape):
            _aligned(laid, self.shape)
        return self.shape

    def arrange(self, array: NDArray[Any]) -> NDArray[Any]:  # Any: of every element type
        """An output as it is handed out; a view of it where that is possible.

        Raises:
            ValueError: It does not fit into `self.shape`.
        """
        laid = array
        if self.layout != "kept":
            matrix = array.reshape(_matrix(array.shape))
            laid = matrix.T if self.layout == "XY" else matrix
        if not self.shape:
            return laid
        if laid.size == prod(self.shape):
            return laid.reshape(self.shape)
        aligned = laid.reshape(_aligned(laid.shape, self.shape))
        padded = np.zeros(self.shape, array.dtype)
        padded[tuple(map(slice, aligned.shape))] = aligned
        return padded

    def _laid(self, shape: Shape) -> Shape:
        if self.layout == "kept":
            return shape
        matrix = _matrix(shape)
        return matrix[::-1] if self.layout == "XY" else matrix


def _matrix(shape: Sequence[int]) -> Shape:
    """Rank 2: leading axes of size 1 dropped or added, the trailing ones joined."""
    sizes = [1] * (2 - len(shape)) + list(shape)
    while len(sizes) > 2 and sizes[0] == 1:
        sizes.pop(0)
    rows, *joined = sizes
    return rows, -1 if min(joined) < 0 else prod(joined)


def _aligned(shape: Sequence[int], full: Shape) -> Shape:
    """`shape` in the rank of `full`, of which no size is smaller."""
    sizes = list(shape)
    while len(sizes) > len(full) and 1 in sizes:
        sizes.remove(1)
    sizes = [1] * (len(full) - len(sizes)) + sizes
    if len(sizes) != len(full) or any(own > size for own, size in zip(sizes, full, strict=True)):
        raise ValueError(
            f"{list(shape)} has neither as many elements as {list(full)}, nor does it fit into it "
            "axis by axis"
        )
    return tuple(sizes)
