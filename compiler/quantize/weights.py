"""Weights as int8 and biases as int32.

With real = scale * integer, y = conv(x, w) + b and x = s_x * (q_x - z_x), w = s_w * q_w:
    y = s_x * s_w * (conv(q_x - z_x, q_w) + q_b),  q_b = b / (s_x * s_w)
so the bias has no scale of its own.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, section 2.4; symmetric int8 weights as in Wu et al. 2020, Integer
Quantization for Deep Learning Inference, section 3; the scale of least error as in Choukroun et al.
2019, Low-bit Quantization of Neural Networks for Efficient Inference.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

WeightScale = Literal["max", "power2", "mse"]

LEVELS = 127
REDUCED_LEVELS = 63
"""7 bits: two products with a uint8 activation then fit into 16 bits, 2 * 63 * 255 < 2**15."""

LARGEST_BIAS = 2**30
"""Half of the int32 range; the other half is left to the sum of products."""

_SMALLEST_SCALE = 1e-30
_MSE_STEPS = 50


@dataclass(frozen=True, slots=True)
class RoundedWeights:
    """Integers that stand for a float weight: real = scale * integer.

    Args:
        values: int8, shape of the float weight, in [-levels, levels].
        scale: float32, shape (channels,), or () for one scale per tensor.
        levels: Largest integer that may occur.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    levels: int = LEVELS

    def real(self, axis: int) -> NDArray[np.float64]:
        """What the integers stand for; `axis` is the output-channel axis."""
        scale = along(self.scale.astype(np.float64), axis, self.values.ndim)
        return np.asarray(self.values * scale, np.float64)


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """Integer weights and bias of one node.

    Args:
        weights: The weight.
        bias: int32, shape (channels,), or None; its scale is `bias_scale`.
        bias_scale: float32, shape of the weight's scale: activation scale * that scale.
    """

    weights: RoundedWeights
    bias: NDArray[np.int32] | None
    bias_scale: NDArray[np.float32]


def round_weights(
    weight: NDArray[np.float32],
    *,
    axis: int | None,
    rule: WeightScale = "max",
    reduce_range: bool = False,
) -> RoundedWeights:
    """Round a weight to the nearest integers.

    Args:
        weight: Finite, any shape.
        axis: Output-channel axis of `weight` for one scale per channel; None for one scale.
        rule: "max": scale = max|w| / 127; "power2": 2**ceil(log2 max|w|) / 128; "mse": of
            max|w| * (1 - k/100) / 127 with k = 0..50 the one with the least sum of squared errors,
            the largest of several.
        reduce_range: 63 and 64 instead of 127 and 128.

    Raises:
        ValueError: A weight is not finite.
    """
    if not np.isfinite(weight).all():
        raise ValueError("weight holds NaN or infinity")
    levels = REDUCED_LEVELS if reduce_range else LEVELS
    rows = weight.reshape(1, -1) if axis is None else as_rows(weight, axis)
    scale = _scale_of(np.abs(rows).max(axis=1).astype(np.float64), rule, levels)
    rounded_scale = np.where(scale > _SMALLEST_SCALE, scale, 1.0).astype(np.float32)
    if rule == "mse":
        pairs = zip(rows, rounded_scale, strict=True)
        rounded_scale = np.array([_least_error(*pair, levels) for pair in pairs], np.float32)
    if axis is None:
        rounded_scale = rounded_scale.reshape(())
    values = _round(weight, along(rounded_scale, axis or 0, weight.ndim), levels)
    return RoundedWeights(values, rounded_scale, levels)


def add_bias(
    rounded: RoundedWeights,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    activation_scale: float,
    *,
    axis: int,
) -> QuantizedWeights:
    """Round the bias that goes with a rounded weight to int32.

    Args:
        rounded: The weight.
        weight: What it was rounded from.
        bias: Shape (channels,), finite, or None.
        activation_scale: Scale of the activation that the weight multiplies, > 0.
        axis: Output-channel axis of `weight`.

    Returns:
        Integers and scales. Where |bias| is so much larger than the products that it would leave
        int32 (a channel whose weights are almost zero), the weight scale is raised until it fits;
        what this takes from the weights is below 2**-30 of the bias.

    Raises:
        ValueError: A bias is not finite.
    """
    if bias is None:
        return QuantizedWeights(rounded, None, _product(activation_scale, rounded.scale))
    if not np.isfinite(bias).all():
        raise ValueError("bias holds NaN or infinity")
    needed = bias.astype(np.float64) / (activation_scale * LARGEST_BIAS)
    rounded = _make_room(rounded, weight, needed, axis)
    bias_scale = _product(activation_scale, rounded.scale)
    integers = np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32)
    return QuantizedWeights(rounded, integers, bias_scale)


def saturating_channels(values: NDArray[np.int8], axis: int) -> int:
    """Output channels whose 16-bit sums can saturate on an x86 CPU without VNNI.

    There, pmaddubsw adds two products of a uint8 activation and an int8 weight in 16 bits. Which
    inputs meet depends on the kernel: this takes all neighbours, among the channels of one tap
    first. An activation is never negative, so that two weights of unlike sign cannot saturate.

    Args:
        values: Weights, (..., inputs, *kernel) without the axis `axis`.
        axis: Output-channel axis.
    """
    rows = np.moveaxis(values.astype(np.int64), axis, 0)
    rows = np.moveaxis(rows, 1, -1).reshape(len(rows), -1)
    largest = [
        (part[:, :-1] + part[:, 1:]).max(axis=1, initial=0)
        for part in (np.maximum(rows, 0), np.maximum(-rows, 0))
    ]
    return int((255 * np.maximum(*largest) > np.iinfo(np.int16).max).sum())


def as_rows(weight: NDArray[Any], axis: int) -> NDArray[Any]:  # int8, float32 or float64
    """One row per output channel: (channels, elements of one)."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def along(scale: NDArray[Any], axis: int, dimensions: int) -> NDArray[Any]:  # any float type
    """Scales in the shape that multiplies a weight of `dimensions` axes."""
    if not scale.ndim:
        return scale
    return scale.reshape([-1 if i == axis else 1 for i in range(dimensions)])


def _scale_of(largest: NDArray[np.float64], rule: WeightScale, levels: int) -> NDArray[np.float64]:
    if rule != "power2":
        return largest / levels
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    return np.where(largest > 0, np.exp2(exponent), 0.0) / (levels + 1)


def _least_error(row: NDArray[np.float32], widest: np.float32, levels: int) -> np.float32:
    """Scale of least squared error for `row`; `widest` represents its largest value."""
    numbers = np.abs(row.astype(np.float64))
    largest = numbers.max()
    best, least = widest, np.inf
    for step in range(_MSE_STEPS + 1):
        scale = np.float32(widest * (1 - step / 100))
        clipped = max(largest - levels * float(scale), 0.0)
        if clipped * clipped >= least:  # the largest weight alone errs as much; it gets no better
            break
        errors = np.minimum(np.rint(numbers / scale), levels) * scale - numbers
        total = float(np.square(errors).sum())
        if total < least:
            best, least = scale, total
    return best


def _make_room(
    rounded: RoundedWeights,
    weight: NDArray[np.float32],
    needed: NDArray[np.float64],
    axis: int,
) -> RoundedWeights:
    """Raise scales to |needed| at least; weights that are all 0 take any scale."""
    needed = np.abs(needed) if rounded.scale.ndim else np.abs(needed).max()
    scale = rounded.scale
    used = as_rows(rounded.values, axis).any(axis=1) if scale.ndim else rounded.values.any()
    floor = np.where(used, scale, np.where(needed > _SMALLEST_SCALE, needed, scale))
    raised = np.asarray(np.maximum(floor, needed), np.float32)
    if np.array_equal(raised, scale):
        return rounded
    changed = along(raised != scale, axis, weight.ndim)
    values = _round(weight, along(raised, axis, weight.ndim), rounded.levels)
    return replace(rounded, values=np.where(changed, values, rounded.values), scale=raised)


def _product(activation_scale: float, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    # numpy returns a scalar for the product of 0-d arrays.
    return np.asarray(np.float32(activation_scale) * scale, np.float32)


def _round(
    weight: NDArray[np.float32], scale: NDArray[np.float32], levels: int
) -> NDArray[np.int8]:
    rounded: NDArray[np.int8] = np.clip(np.rint(weight / scale), -levels, levels).astype(np.int8)
    return rounded
