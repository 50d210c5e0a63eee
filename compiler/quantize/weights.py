"""Weights as int8 and biases as int32.

With real = scale * integer, y = conv(x, w) + b and x = s_x * (q_x - z_x), w = s_w * q_w:
    y = s_x * s_w * (conv(q_x - z_x, q_w) + q_b),  q_b = b / (s_x * s_w)
so the bias has no scale of its own.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, section 2.4; symmetric int8 weights as in Wu et al. 2020, Integer
Quantization for Deep Learning Inference, section 3.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WeightScale = Literal["max", "power2"]

LARGEST_BIAS = 2**30
"""Half of the int32 range; the other half is left to the sum of products."""

_SMALLEST_SCALE = 1e-30


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """Integer weights and bias of one node.

    Args:
        values: int8, shape of the float weight, in [-127, 127].
        scale: float32, shape (channels,), or () for one scale per tensor.
        bias: int32, shape (channels,), or None; its scale is `bias_scale`.
        bias_scale: float32, shape of `scale`: activation scale * `scale`.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32] | None
    bias_scale: NDArray[np.float32]


def quantize_weights(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    activation_scale: float,
    *,
    axis: int | None,
    rule: WeightScale = "max",
) -> QuantizedWeights:
    """Round a weight to int8 and its bias to int32.

    Args:
        weight: Finite, any shape.
        bias: Shape (channels,), finite, or None.
        activation_scale: Scale of the activation that the weight multiplies, > 0.
        axis: Output-channel axis of `weight` for one scale per channel; None for one scale.
        rule: "max": scale = max|w| / 127; "power2": 2**ceil(log2 max|w|) / 128.

    Returns:
        Integers and scales. Where |bias| is so much larger than the products that it would leave
        int32 (a channel whose weights are almost zero), the weight scale is raised until it fits;
        what this takes from the weights is below 2**-30 of the bias.

    Raises:
        ValueError: A weight or bias is not finite.
    """
    if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
        raise ValueError("weight or bias holds NaN or infinity")
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    scale = _scale_of(largest, rule)
    if bias is not None:
        magnitude = np.abs(bias) if axis is not None else np.abs(bias).max()
        scale = np.maximum(scale, magnitude / (activation_scale * LARGEST_BIAS))
    rounded_scale = np.where(scale > _SMALLEST_SCALE, scale, 1.0).astype(np.float32)
    # numpy returns a scalar for the product of 0-d arrays.
    bias_scale = np.asarray(np.float32(activation_scale) * rounded_scale, np.float32)
    return QuantizedWeights(
        _round(weight, _along(rounded_scale, axis, weight.ndim)),
        rounded_scale,
        None if bias is None else np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32),
        bias_scale,
    )


def _scale_of(largest: NDArray[np.float64], rule: WeightScale) -> NDArray[np.float64]:
    if rule == "max":
        return largest / 127
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    return np.where(largest > 0, np.exp2(exponent), 0.0) / 128


def _along(scale: NDArray[np.float32], axis: int | None, dimensions: int) -> NDArray[np.float32]:
    if axis is None:
        return scale
    return scale.reshape([-1 if i == axis else 1 for i in range(dimensions)])


def _round(weight: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    rounded: NDArray[np.int8] = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return rounded
