"""Channel statistics of a set, and whether they fit the mean and deviation of a build file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Order: TypeAlias = Literal["RGB", "BGR"]

PHOTOGRAPHS: Final = (0.485, 0.457, 0.407)
"""Mean of R, G and B over photographs, as ImageNet's, Caffe's and CLIP's constants have it."""
NEAR: Final = 0.015
"""How far the constants of that family are from it."""
MEASURED: Final = 4.0
"""Levels of 255 within which a mean is one that was measured on the set itself."""
MOST_MEAN: Final = 3.0
DEVIATIONS: Final = (0.2, 5.0)
"""What a set in ordinary light has after mean and deviation were taken out."""
RAW_GAIN: Final = 0.5
TWICE_GAIN: Final = 0.001
"""Of numbers per level: above the one nothing was divided, below the other twice by 255."""
LEAST_DEVIATION: Final = 10.0
"""Levels; a set that varies less says nothing about scales."""
_ADD_DIVISION: Final = (
    "add {type: Normalize, norm_type: null}, which divides by 255, to dataset.process_ops"
)


@dataclass(slots=True)
class Channels:
    """Mean and deviation of each channel over a set, every image with the same weight.

    Args:
        images: Added so far.
        sums: Of the images' means, float64 of shape (C,).
        squares: Of the images' mean squares.
    """

    images: int = 0
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """Add an image by its levels, shape (C, 256)."""
        shares = counts / counts.sum(axis=1, keepdims=True)
        levels = np.arange(counts.shape[1])
        self._add(shares @ levels, shares @ levels**2)

    def add_tensor(self, tensor: NDArray[Any]) -> None:  # Any: the type that a network reads
        """Add an image as a network receives it, shape (N, C, …)."""
        axes = tuple(axis for axis in range(tensor.ndim) if axis != 1)
        values = tensor.astype(np.float64)
        self._add(values.mean(axis=axes), np.square(values).mean(axis=axes))

    def mean(self) -> tuple[float, ...]:
        """Of each channel; empty before the first image."""
        return tuple((self.sums / max(self.images, 1)).tolist())

    def deviation(self) -> tuple[float, ...]:
        """Standard deviation of each channel; empty before the first image."""
        count = max(self.images, 1)
        variances = self.squares / count - np.square(self.sums / count)
        return tuple(np.sqrt(np.maximum(variances, 0)).tolist())

    def _add(self, means: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        first = self.images == 0
        self.sums = means if first else self.sums + means
        self.squares = squares if first else self.squares + squares
        self.images += 1


@dataclass(frozen=True, slots=True)
class Scaling:
    """One normalization step: y = (x / 255 if divides else x), then (y - mean) / std."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    divides: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the numbers say against a normalization.

    Args:
        kind: What is in doubt.
        text: Why, a sentence.
        fix: What to do about it.
    """

    kind: Literal["channel_order", "scale"]
    text: str
    fix: str


def doubt_normalization(
    pixels: Channels,
    received: Channels,
    steps: Sequence[Scaling],
    *,
    order: Order | None,
    reads_levels: bool = False,
) -> tuple[Doubt, ...]:
    """What speaks against the normalization of a build file.

    Args:
        pixels: Decoded images, R, G, B in 0 to 255.
        received: The same images as the network receives them.
        steps: Normalization, in order.
        order: Of the channels where they are normalized; None where nobody knows.
        reads_levels: Whether the network itself scales values of 0 to 255.
    """
    doubts = [_doubt_scale(pixels, received, steps, reads_levels)]
    for step in steps:
        if step.mean is not None and order is not None and len(step.mean) == 3:
            doubts.append(_doubt_order(pixels, step.mean, order))
    return tuple(doubt for doubt in doubts if doubt is not None)


def _doubt_order(pixels: Channels, mean: tuple[float, ...], order: Order) -> Doubt | None:
    """A known mean, or one that was measured on these very images, for the other order."""
    unit = 1.0 if max(map(abs, mean)) <= 1 else 255.0
    shares = np.array(mean) / unit
    photographs = np.array(PHOTOGRAPHS if order == "RGB" else PHOTOGRAPHS[::-1])
    other = order[::-1]
    listed = ", ".join(f"{value:g}" for value in mean)
    fix = f"give mean and std in the order {', '.join(order)}, or correct CvtColor"
    if np.abs(shares - photographs[::-1]).max() <= NEAR:
        text = (
            f"mean {listed} is that of photographs in the order {', '.join(other)}, but the "
            f"channels are {', '.join(order)} when they are normalized"
        )
        return Doubt("channel_order", text, fix)
    found = np.array(pixels.mean())
    if found.size != 3 or np.abs(shares - photographs).max() <= NEAR:
        return None
    here = found if order == "RGB" else found[::-1]
    straight, reversed_ = (float(np.abs(255 * shares - one).max()) for one in (here, here[::-1]))
    if reversed_ > MEASURED or straight < MEASURED + 2 * reversed_:
        return None
    measured = ", ".join(f"{value / 255 * unit:.4g}" for value in here)
    text = (
        f"mean {listed} is that of these images in the order {', '.join(other)}, but the channels "
        f"are {', '.join(order)} (mean {measured}) when they are normalized"
    )
    return Doubt("channel_order", text, fix)


def _doubt_scale(
    pixels: Channels, received: Channels, steps: Sequence[Scaling], reads_levels: bool
) -> Doubt | None:
    before, after = _largest(pixels.deviation()), _largest(received.deviation())
    if before < LEAST_DEVIATION:
        return None
    centred = [step for step in steps if step.mean is not None]
    if centred:
        return _doubt_centre(centred[0], _largest(map(abs, received.mean())), after)
    gain = after / before
    if gain > RAW_GAIN and not reads_levels:
        text = (
            "the network receives values of 0 to 255: no step divides by 255, and its first "
            "layers do not scale them"
        )
        change = "set div255: true at Normalize" if steps else _ADD_DIVISION
        return Doubt("scale", text, f"{change}, unless it was trained so")
    if gain < TWICE_GAIN:
        text = f"the network receives values whose deviation is {after:.2g}: divided by 255 twice"
        return Doubt("scale", text, "let one step alone divide by 255")
    return None


def _doubt_centre(step: Scaling, mean: float, deviation: float) -> Doubt | None:
    """Whether mean and std leave something like zero mean and unit deviation."""
    low, high = DEVIATIONS
    if mean <= MOST_MEAN and low <= deviation <= high:
        return None
    levels = _largest(map(abs, step.mean or ())) > 2
    text = (
        f"the network receives channels of mean {mean:.3g} and deviation {deviation:.2g}, far "
        "from zero mean and unit deviation"
    )
    if levels and step.divides:
        return Doubt(
            "scale",
            f"{text}: mean and std are in 0 to 255, but values were divided by 255",
            "set div255: false, or divide mean and std by 255",
        )
    if not levels and not step.divides and math.isfinite(mean) and deviation > high:
        return Doubt(
            "scale",
            f"{text}: mean and std are in 0 to 1, but values were not divided by 255",
            "set div255: true",
        )
    return Doubt("scale", text, "correct mean, std and div255 at Normalize")


def _largest(values: Any) -> float:  # Any: numbers, in whatever holds them
    return max(values, default=0.0)
