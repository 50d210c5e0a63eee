"""int8 weights and int32 biases against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compiler.quantize.weights import LARGEST_BIAS, WeightScale, quantize_weights

FLOATS = st.floats(-50, 50, width=32)
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=FLOATS)


def plain_scale(values: list[float], rule: WeightScale) -> float:
    largest = max(abs(value) for value in values)
    if largest == 0:
        return 0.0
    return largest / 127 if rule == "max" else 2.0 ** math.ceil(math.log2(largest)) / 128


@given(MATRICES, st.sampled_from(["max", "power2"]), st.floats(1e-4, 10), st.data())
def test_channels_are_rounded_as_a_plain_loop_rounds_them(
    weight: NDArray[np.float32], rule: WeightScale, activation_scale: float, data: st.DataObject
) -> None:
    bias = data.draw(hnp.arrays(np.float32, weight.shape[0], elements=FLOATS))

    result = quantize_weights(weight, bias, activation_scale, axis=0, rule=rule)

    for channel, row in enumerate(weight.tolist()):
        smallest = abs(float(bias[channel])) / (activation_scale * LARGEST_BIAS)
        expected = max(plain_scale(row, rule), smallest)
        scale = float(np.float32(expected if expected > 1e-30 else 1.0))
        assert result.scale[channel] == pytest.approx(scale, rel=1e-6)
        for position, value in enumerate(row):
            stored = int(result.values[channel, position])
            steps = 1.01 if abs(stored) == 127 and rule == "power2" else 0.51  # 128 does not exist
            assert abs(stored * scale - value) <= steps * scale + 1e-6
        step = float(result.bias_scale[channel])
        assert step == np.float32(activation_scale) * result.scale[channel]
        assert result.bias is not None
        assert abs(int(result.bias[channel]) * step - float(bias[channel])) <= 0.5 * step * 1.001


@given(MATRICES, st.integers(0, 1))
def test_a_scale_per_tensor_is_the_largest_scale_per_channel(
    weight: NDArray[np.float32], axis: int
) -> None:
    whole = quantize_weights(weight, None, 1.0, axis=None)
    single = quantize_weights(weight, None, 1.0, axis=axis)

    assert whole.scale.shape == ()
    assert single.scale.shape == (weight.shape[axis],)
    if np.abs(weight).max() > 1e-20:
        used = np.abs(weight).max(axis=1 - axis) > 1e-20
        assert whole.scale == single.scale[used].max()
    assert np.abs(single.values.astype(int)).max() <= 127


def test_the_channel_axis_of_a_transposed_weight() -> None:
    weight = np.array([[1.0, 10.0], [2.0, -127.0], [-4.0, 0.0]], np.float32)

    result = quantize_weights(weight, None, 0.5, axis=1)

    np.testing.assert_array_equal(result.scale, np.array([4 / 127, 1.0], np.float32))
    np.testing.assert_array_equal(result.values, [[32, 10], [64, -127], [-127, 0]])
    assert result.bias is None


def test_power_of_two_scales() -> None:
    weight = np.array([[3.0], [4.0], [0.26]], np.float32)

    result = quantize_weights(weight, None, 1.0, axis=0, rule="power2")

    np.testing.assert_array_equal(result.scale, np.array([4 / 128, 4 / 128, 0.5 / 128], np.float32))
    np.testing.assert_array_equal(result.values, [[96], [127], [67]])


def test_a_dead_channel_with_a_large_bias_keeps_the_bias() -> None:
    weight = np.array([[0.0, 1e-20], [0.5, -0.25]], np.float32)
    bias = np.array([1000.0, 0.125], np.float32)

    result = quantize_weights(weight, bias, 0.01, axis=0)

    assert result.bias is not None
    real = result.bias * result.bias_scale.astype(np.float64)
    np.testing.assert_allclose(real, bias, rtol=1e-6, atol=2e-5)
    assert abs(int(result.bias[0])) <= LARGEST_BIAS + 64
    np.testing.assert_array_equal(result.values[0], [0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantize_weights(np.array([[value]], np.float32), None, 1.0, axis=0)
