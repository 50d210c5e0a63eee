"""From a network's output to a class mask, and from there to the pixels of the original image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing

if TYPE_CHECKING:
    from compiler.preprocess.ops import Op


def class_mask(output: Tensor, rule: Postprocessing) -> NDArray[np.int64]:
    """Class of every pixel, shape (H, W).

    Args:
        output: Of one sample, shape (1, C, H, W).
        rule: How it is read; see `Postprocessing`.

    Raises:
        ValueError: Another shape, or more than one channel where the rule reads one.
    """
    several = rule.kind == "argmax"
    if output.ndim != 4 or output.shape[0] != 1 or not (several or output.shape[1] == 1):
        channels = "C" if several else 1
        raise ValueError(f"output of shape {list(output.shape)}; expected [1, {channels}, H, W]")
    if rule.kind == "classes":
        numbers: NDArray[np.int64] = output[0, 0].astype(np.int64)
        return numbers
    if rule.kind == "binary":
        above: NDArray[np.bool_] = output[0, 0] > rule.threshold
        return above.astype(np.int64)
    largest: NDArray[np.intp] = output[0].argmax(axis=0)
    return largest.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the original image that the network sees, in pixels of that image.

    Padding makes it reach beyond the image, cropping makes it smaller.
    """

    top: float
    left: float
    bottom: float
    right: float

    def cut(self, size: tuple[int, int], new: tuple[int, int], offset: tuple[int, int]) -> "Window":
        """The window of a crop or pad: `new` pixels (height, width) from `offset` of `size`."""
        scale_y, scale_x = (self.bottom - self.top) / size[0], (self.right - self.left) / size[1]
        top, left = self.top + offset[0] * scale_y, self.left + offset[1] * scale_x
        return Window(top, left, top + new[0] * scale_y, left + new[1] * scale_x)


def seen_window(
    ops: "Sequence[Op]", shape: tuple[int, int, int] | None, height: int, width: int
) -> Window:
    """Where the network's input lies on an image that went through a preprocessing chain.

    Args:
        ops: Operations of the chain.
        shape: Declared input (channels, height, width), or None.
        height: Of the original image, in pixels.
        width: Of the original image, in pixels.
    """
    from compiler.preprocess.ops import Border, CenterCrop, Crop, Pad, PadTo, Resize

    window, size = Window(0.0, 0.0, float(height), float(width)), (height, width)
    position = next((op.position for op in ops if isinstance(op, Pad)), "center")
    keeps_ratio = False

    def fit(new: tuple[int, int]) -> None:
        nonlocal window, size
        offset = tuple(
            _offset(old, side, centred=position == "center")
            for old, side in zip(size, new, strict=True)
        )
        window, size = window.cut(size, new, (offset[0], offset[1])), new

    for op in ops:
        if isinstance(op, Resize):
            size, keeps_ratio = op.target(*size), keeps_ratio or op.keeps_ratio
        elif isinstance(op, CenterCrop | PadTo):
            fit(op.box)
        elif isinstance(op, Crop):
            window, size = window.cut(size, op.box, (op.top, op.left)), op.box
        elif isinstance(op, Border):
            new = size[0] + op.top + op.bottom, size[1] + op.left + op.right
            window, size = window.cut(size, new, (-op.top, -op.left)), new
        elif isinstance(op, Pad) and op.pad_to_square:
            fit((max(size), max(size)))
    if shape and keeps_ratio:  # the chain pads such images to the declared size
        fit(shape[1:])
    return window


def on_image(mask: NDArray[np.int64], window: Window, height: int, width: int) -> NDArray[np.int64]:
    """Nearest-neighbour mask of an original image, shape (height, width).

    Pixels that the network did not see are class 0.
    """
    rows, row_seen = _nearest(height, window.top, window.bottom, mask.shape[0])
    columns, column_seen = _nearest(width, window.left, window.right, mask.shape[1])
    return mask[np.ix_(rows, columns)] * np.outer(row_seen, column_seen)


def _offset(old: int, new: int, *, centred: bool) -> int:
    """Where the new side starts on the old one: past 0 for a crop, before it for a pad."""
    if new <= old:
        return (old - new) // 2
    return -((new - old) // 2) if centred else 0


def _nearest(
    count: int, start: float, stop: float, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Cell under the centre of each of `count` pixels, and whether there is one."""
    position = (np.arange(count) + 0.5 - start) / (stop - start) * cells
    seen = (position >= 0) & (position < cells)
    return np.clip(position, 0, cells - 1).astype(np.int64), seen
