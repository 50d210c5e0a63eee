"""Range of a tensor, and the uint8 scale and zero point that follow from it.

    real = scale * (stored - zero_point), stored in 0..255

A threshold T clips the observed range [minimum, maximum] to

    low = min(max(-T, minimum), 0), high = max(min(T, maximum), 0)
    scale = (high - low) / 255, zero_point = round(-low / scale)

Zero always lies in the range, so that padding and the zeros of Relu are exact; a tensor that is
never negative gets zero point 0 and scale T / 255.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 2.1.
"""

from dataclasses import dataclass

import numpy as np

from calibration import percentile
from calibration.histogram import Histogram
from calibration.rules import threshold_by

MAX_STORED = 255
MIN_SCALE = 1e-8


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What quantization needs to know about one tensor.

    Every real number is rounded to float32, so that what is written, read and compiled is the same
    to the last bit.

    Args:
        name: The tensor.
        method: Name of the rule that chose the threshold, or `manual`.
        minimum: Smallest value observed, in the tensor's own units, as are the next two.
        maximum: Largest value observed.
        threshold: Magnitude beyond which values are clipped, >= 0.
        scale: Real step between neighbouring integers, > 0.
        zero_point: The integer that stands for 0, in 0..255.

    Raises:
        ValueError: A number is not finite in float32 or outside its bounds.
    """

    name: str
    method: str
    minimum: float
    maximum: float
    threshold: float
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        for field in ("minimum", "maximum", "threshold", "scale"):
            object.__setattr__(self, field, _float32(field, getattr(self, field)))
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        if self.threshold < 0:
            raise ValueError(f"threshold is {self.threshold:g}; must be 0 or more")
        if self.scale <= 0:
            raise ValueError(f"scale is {self.scale:g}; must be above 0")
        if not 0 <= self.zero_point <= MAX_STORED:
            raise ValueError(f"zero point is {self.zero_point}; must be in 0..{MAX_STORED}")


def range_of(
    name: str,
    histogram: Histogram,
    method: str,
    *,
    fraction: float = percentile.DEFAULT_FRACTION,
) -> TensorRange:
    """Range of an observed tensor under one of the threshold rules.

    Args:
        name: The tensor.
        histogram: What was observed.
        method: A name in `calibration.rules.THRESHOLD_RULES`.
        fraction: Of the values that `percentile` keeps; the other rules take none.

    Raises:
        ValueError: No such rule, a wrong fraction, or not one finite value was observed.
    """
    if not histogram.total:
        raise ValueError(f"tensor '{name}': no finite value was observed")
    threshold = threshold_by(method, histogram, fraction=fraction)
    return clipped_range(name, method, histogram.minimum, histogram.maximum, threshold)


def clipped_range(
    name: str, method: str, minimum: float, maximum: float, threshold: float
) -> TensorRange:
    """Range with the scale and zero point that follow from its extremes and threshold.

    A tensor of zeros gets scale 1; no other scale is below 1e-8, so that products of scales stay
    normal float32 numbers.
    """
    minimum, maximum, threshold = (
        _float32(field, value)
        for field, value in (("minimum", minimum), ("maximum", maximum), ("threshold", threshold))
    )
    low = min(max(-threshold, minimum), 0.0)
    high = max(min(threshold, maximum), 0.0)
    scale = float(np.float32(max((high - low) / MAX_STORED, MIN_SCALE))) if high > low else 1.0
    zero_point = min(round(-low / scale), MAX_STORED)
    return TensorRange(name, method, minimum, maximum, threshold, scale, zero_point)


def _float32(field: str, value: float) -> float:
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if not np.isfinite(rounded):
        raise ValueError(f"{field} is {value:g}; must be finite in float32")
    return rounded + 0.0  # + 0.0 turns -0.0 into 0.0
