"""What a chain does to an image, in a normal form: to say it in words, and to compare two chains.

Two chains that do the same to an image have the same normal form, whichever dialect they come
from: the channels in the order that the network sees, the geometric steps with everything known
written out and everything without effect left out, and y = (x / divisor - mean) / std per channel.
Rounding to float16 is no part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import CHANNEL_SWAPS, Shape
from compiler.preprocess.geometry_form import (
    GeometryForm,
    geometry_differences,
    in_words,
    step_in_words,
)
from compiler.preprocess.ops import (
    ChannelSplit,
    CustomFunc,
    CvtColor,
    DecodeImage,
    GeometryOp,
    Normalize,
    Op,
)

SWAP = "swap channels 0 and 2 (BGR)"


@dataclass(frozen=True)
class Values:
    """y = (x / divisor - mean) / std, one mean and std for all channels or one each."""

    divisor: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def then(self, op: Normalize) -> "Values":
        """These values with another Normalize applied to them."""
        divisor = 255.0 if op.div255 else 1.0
        mean = op.mean if op.applies_mean_std and op.mean else (0.0,)
        std = op.std if op.applies_mean_std and op.std else (1.0,)
        if self == Values():
            return Values(divisor, mean, std)
        # ((x / d - m) / s / D - M) / S = (x / d - (m + M s D)) / (s D S)
        scaled = np.multiply(self.std, divisor)
        return Values(
            self.divisor,
            tuple(map(float, self.mean + np.multiply(mean, scaled))),
            tuple(map(float, np.multiply(scaled, std))),
        )

    def at(self, x: float) -> NDArray[np.float64]:
        """The y of a pixel value x, per channel."""
        result: NDArray[np.float64] = (x / self.divisor - np.array(self.mean)) / np.array(self.std)
        return result

    def __str__(self) -> str:
        text = "x / 255" if self.divisor == 255 else "x"
        if any(self.mean):
            text = f"{text} - {in_words(self.mean)}"
        if any(value != 1 for value in self.std):
            text = (
                f"({text}) / {in_words(self.std)}" if " " in text else f"x / {in_words(self.std)}"
            )
        return text if text != "x" else "x (0 to 255)"


@dataclass(frozen=True)
class Formula:
    """Normal form of a chain.

    Args:
        source: What decoding gives: RGB or gray.
        channels: What happens to the channels afterwards, in words.
        geometry: Geometric steps; padding values in the channel order of the result.
        values: From pixel values to those of the tensor.
    """

    source: str
    channels: tuple[str, ...]
    geometry: tuple[GeometryOp, ...]
    values: Values

    def __str__(self) -> str:
        colour = " -> ".join([self.source, *self.channels])
        return "; ".join([colour, *map(step_in_words, self.geometry), str(self.values)])


def find_formula(ops: Sequence[Op], shape: Shape | None = None) -> Formula:
    """Normal form of these ops.

    Args:
        ops: Without a CustomFunc.
        shape: Declared input (channels, height, width), to which a chain brings images that its
            ops leave at another size.
    """
    source, channels, values = "RGB", list[str](), Values()
    geometry = GeometryForm()
    for op in ops:
        if isinstance(op, DecodeImage):
            source = _source(op)
        elif isinstance(op, CvtColor) and op.constant in CHANNEL_SWAPS:
            geometry.swap_channels()
            _toggle(channels, SWAP)
        elif isinstance(op, CvtColor):
            channels.append(op.constant)
        elif isinstance(op, ChannelSplit):
            channels.append(f"channel {op.index}")
        elif isinstance(op, GeometryOp):
            geometry.add(op)
        elif isinstance(op, Normalize):
            values = values.then(op)
    return Formula(source, tuple(channels), geometry.finish(shape), values)


def describe(ops: Sequence[Op], shape: Shape | None = None) -> str:
    """One line: channels; geometric steps; formula of the values.

    The same words stand for the same thing, whichever dialect the ops come from.
    """
    custom = next((op for op in ops if isinstance(op, CustomFunc)), None)
    if custom:
        return f"{custom.func_name} of {custom.module_path}"
    return str(find_formula(ops, shape))


def compare_chains(ours: Chain, theirs: Chain) -> str | None:
    """None when both chains do the same to an image; else what differs, with both formulas.

    Values count as the same when they differ by no more than float16 constants do.

    Args:
        ours: Of a bundle: what the network was calibrated with.
        theirs: That is to be used in its place.
    """
    if ours.ops == theirs.ops and ours.shape == theirs.shape:
        return None
    if any(isinstance(op, CustomFunc) for op in (*ours.ops, *theirs.ops)):
        names = ["a function of the user, which cannot be compared"]
    else:
        names = differences(
            find_formula(ours.ops, ours.shape), find_formula(theirs.ops, theirs.shape)
        )
    if not names:
        return None
    return (
        f"prepares images differently from the bundle ({', '.join(names)})\n"
        f"  bundle: {describe(ours.ops, ours.shape)}\n"
        f"  here:   {describe(theirs.ops, theirs.shape)}\n"
        "  fix: follow what the network was trained with; leave the JSON out to prepare images as "
        "the bundle does"
    )


def differences(ours: Formula, theirs: Formula) -> list[str]:
    """Names of what differs between two formulas; empty when they do the same."""
    names = []
    if (ours.source, ours.channels) != (theirs.source, theirs.channels):
        names.append("channel order" if _only_swapped(ours, theirs) else "channels")
    if ours.geometry != theirs.geometry:
        names += geometry_differences(ours.geometry, theirs.geometry)
    if not _same_values(ours.values, theirs.values):
        names.append("scale" if ours.values.mean == theirs.values.mean else "mean and std")
    return names


def _source(op: DecodeImage) -> str:
    source = "RGB" if op.cv2_flags & 1 else "gray"
    reduction = {1: 2, 2: 4, 4: 8}.get((op.cv2_flags & 0x70) >> 4)
    return f"{source} decoded at 1/{reduction} of the size" if reduction else source


def _toggle(channels: list[str], step: str) -> None:
    """Add a step that undoes itself."""
    if channels and channels[-1] == step:
        channels.pop()
    else:
        channels.append(step)


def _only_swapped(ours: Formula, theirs: Formula) -> bool:
    rest = [tuple(step for step in one.channels if step != SWAP) for one in (ours, theirs)]
    return ours.source == theirs.source and rest[0] == rest[1]


def _same_values(ours: Values, theirs: Values) -> bool:
    for x in (0.0, 255.0):
        mine, other = ours.at(x), theirs.at(x)
        if len(mine) != len(other) and 1 not in (len(mine), len(other)):
            return False
        # Rounding moves a mean and a std by 2^-11 of themselves: y by that of y and of mean / std.
        size = np.maximum(np.abs(mine) + np.abs(ours.at(0)), np.abs(other) + np.abs(theirs.at(0)))
        if np.any(np.abs(mine - other) > 2.0**-10 * size + 1e-9):
            return False
    return True
