"""Where the taps of a convolution fall."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a convolution along one axis.

    Args:
        size: Length of the input.
        kernel: Taps.
        stride: Step from window to window.
        rate: Step from tap to tap (dilation).
        before: Zeros before the input.
        after: Zeros behind it.
    """

    size: int
    kernel: int
    stride: int
    rate: int
    before: int
    after: int

    @property
    def count(self) -> int:
        """Number of windows: the length of the output."""
        return (self.size + self.before + self.after - self._reach) // self.stride + 1

    @property
    def _reach(self) -> int:
        return (self.kernel - 1) * self.rate + 1

    def positions(self) -> NDArray[np.int64]:
        """Input position of each tap, (count, kernel); outside 0..size-1 lies padding."""
        starts = np.arange(self.count)[:, None] * self.stride - self.before
        return starts + np.arange(self.kernel) * self.rate

    def shares_inside(self) -> NDArray[np.float64]:
        """Share of the windows in which a tap does not lie in the padding, (kernel,)."""
        positions = self.positions()
        inside = (positions >= 0) & (positions < self.size)
        return np.asarray(inside.mean(axis=0), np.float64)


def windows_of(conv: gs.Node, sizes: Sequence[int]) -> tuple[Windows, ...]:
    """Windows of a Conv node along each axis.

    Args:
        conv: With a constant weight.
        sizes: Height, width, ... of its input.
    """
    axes = len(sizes)
    kernel = conv.inputs[1].values.shape[2:]
    strides = conv.attrs.get("strides") or [1] * axes
    rates = conv.attrs.get("dilations") or [1] * axes
    pads = conv.attrs.get("pads") or [0] * (2 * axes)
    same = str(conv.attrs.get("auto_pad", "NOTSET"))
    return tuple(
        _windows(int(size), int(taps), int(stride), int(rate), int(before), int(after), same)
        for size, taps, stride, rate, before, after in zip(
            sizes, kernel, strides, rates, pads[:axes], pads[axes:], strict=True
        )
    )


def _windows(
    size: int, kernel: int, stride: int, rate: int, before: int, after: int, same: str
) -> Windows:
    if same in ("SAME_UPPER", "SAME_LOWER"):
        count = -(-size // stride)
        total = max((count - 1) * stride + (kernel - 1) * rate + 1 - size, 0)
        before = total // 2 if same == "SAME_UPPER" else total - total // 2
        after = total - before
    return Windows(size, kernel, stride, rate, before, after)
