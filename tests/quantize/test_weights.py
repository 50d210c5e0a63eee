"""int8 weights and int32 biases against plain loops."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compiler.quantize.plan import Int8Options
from compiler.quantize.weights import (
    LARGEST_BIAS,
    WeightScale,
    add_bias,
    round_weights,
    saturating_channels,
)
from tests.quantize.networks import network, quantize
from tests.support.models import random_feeds

FLOATS = st.floats(-50, 50, width=32)
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=FLOATS)
INTEGERS = hnp.arrays(np.int8, (3, 2, 3), elements=st.integers(-127, 127))


def plain_scale(values: list[float], rule: WeightScale, levels: int = 127) -> float:
    largest = max(abs(value) for value in values)
    if largest == 0:
        return 0.0
    if rule == "power2":
        return 2.0 ** math.ceil(math.log2(largest)) / (levels + 1)
    if rule == "max":
        return largest / levels
    widest = np.float32(largest / levels) if largest / levels > 1e-30 else np.float32(1.0)
    candidates = [float(np.float32(widest * (1 - k / 100))) for k in range(51)]
    return min(candidates, key=lambda scale: plain_error(values, scale, levels))


def plain_error(values: list[float], scale: float, levels: int) -> float:
    stored = [max(-levels, min(levels, round(value / scale))) for value in values]
    return sum((scale * q - value) ** 2 for q, value in zip(stored, values, strict=True))


@given(
    MATRICES,
    st.sampled_from(["max", "power2"]),
    st.booleans(),
    st.floats(1e-4, 10),
    st.data(),
)
def test_channels_are_rounded_as_a_plain_loop_rounds_them(
    weight: NDArray[np.float32],
    rule: WeightScale,
    reduce_range: bool,
    activation_scale: float,
    data: st.DataObject,
) -> None:
    bias = data.draw(hnp.arrays(np.float32, weight.shape[0], elements=FLOATS))
    levels = 63 if reduce_range else 127

    rounded = round_weights(weight, axis=0, rule=rule, reduce_range=reduce_range)
    result = add_bias(rounded, weight, bias, activation_scale, axis=0)

    for channel, row in enumerate(weight.tolist()):
        smallest = abs(float(bias[channel])) / (activation_scale * LARGEST_BIAS)
        expected = max(plain_scale(row, rule, levels), smallest)
        scale = float(np.float32(expected if expected > 1e-30 else 1.0))
        assert result.weights.scale[channel] == pytest.approx(scale, rel=1e-6)
        for position, value in enumerate(row):
            stored = int(result.weights.values[channel, position])
            assert abs(stored) <= levels
            # 128 does not exist.
            steps = 1.01 if abs(stored) == levels and rule == "power2" else 0.51
            assert abs(stored * scale - value) <= steps * scale + 1e-6
        step = float(result.bias_scale[channel])
        assert step == np.float32(activation_scale) * result.weights.scale[channel]
        assert result.bias is not None
        assert abs(int(result.bias[channel]) * step - float(bias[channel])) <= 0.5 * step * 1.001


@given(MATRICES, st.sampled_from([0, 1, None]), st.booleans())
def test_the_scale_of_least_error_is_the_one_a_plain_search_finds(
    weight: NDArray[np.float32], axis: int | None, reduce_range: bool
) -> None:
    levels = 63 if reduce_range else 127

    result = round_weights(weight, axis=axis, rule="mse", reduce_range=reduce_range)

    rows = [weight.reshape(-1)] if axis is None else np.moveaxis(weight, axis, 0)
    for row, scale in zip(rows, result.scale.reshape(-1), strict=True):
        values = [float(value) for value in row]
        expected = plain_scale(values, "mse", levels)
        if expected:
            found, least = (plain_error(values, s, levels) for s in (float(scale), expected))
            assert found <= least * (1 + 1e-9) + 1e-12
            assert scale >= expected * (1 - 1e-6)  # the largest of equally good ones


@given(MATRICES, st.integers(0, 1))
def test_a_scale_per_tensor_is_the_largest_scale_per_channel(
    weight: NDArray[np.float32], axis: int
) -> None:
    whole = round_weights(weight, axis=None)
    single = round_weights(weight, axis=axis)

    assert whole.scale.shape == ()
    assert single.scale.shape == (weight.shape[axis],)
    if np.abs(weight).max() > 1e-20:
        used = np.abs(weight).max(axis=1 - axis) > 1e-20
        assert whole.scale == single.scale[used].max()
    assert np.abs(single.values.astype(int)).max() <= 127


def test_the_channel_axis_of_a_transposed_weight() -> None:
    weight = np.array([[1.0, 10.0], [2.0, -127.0], [-4.0, 0.0]], np.float32)

    rounded = round_weights(weight, axis=1)
    result = add_bias(rounded, weight, None, 0.5, axis=1)

    np.testing.assert_array_equal(rounded.scale, np.array([4 / 127, 1.0], np.float32))
    np.testing.assert_array_equal(rounded.values, [[32, 10], [64, -127], [-127, 0]])
    np.testing.assert_allclose(rounded.real(1), rounded.values * rounded.scale, rtol=1e-6)
    assert result.bias is None
    np.testing.assert_array_equal(result.bias_scale, rounded.scale / 2)


def test_power_of_two_scales() -> None:
    weight = np.array([[3.0], [4.0], [0.26]], np.float32)

    result = round_weights(weight, axis=0, rule="power2")

    np.testing.assert_array_equal(result.scale, np.array([4 / 128, 4 / 128, 0.5 / 128], np.float32))
    np.testing.assert_array_equal(result.values, [[96], [127], [67]])


@pytest.mark.parametrize("row", [[0.0, 1e-20], [0.0, 0.0]])
@pytest.mark.parametrize("axis", [0, None])
def test_a_dead_channel_with_a_large_bias_keeps_the_bias(
    row: list[float], axis: int | None
) -> None:
    weight = np.array([row, [0.5, -0.25] if axis == 0 else row], np.float32)
    bias = np.array([1000.0, 0.125], np.float32)

    result = add_bias(round_weights(weight, axis=axis), weight, bias, 0.01, axis=0)

    assert result.bias is not None
    real = result.bias * result.bias_scale.astype(np.float64)
    np.testing.assert_allclose(real, bias, rtol=1e-6, atol=2e-5)
    assert abs(int(result.bias[0])) <= LARGEST_BIAS + 64
    np.testing.assert_array_equal(result.weights.values[0], [0, 0])


def test_making_room_for_one_bias_leaves_the_other_channels_as_they_are() -> None:
    weight = np.array([[1e-9, 2e-9], [0.5, -0.25]], np.float32)
    rounded = round_weights(weight, axis=0)
    moved = rounded.values.copy()
    moved[1, 1] += 1  # as adaptive rounding may leave it
    rounded = type(rounded)(moved, rounded.scale, rounded.levels)

    result = add_bias(rounded, weight, np.array([1000.0, 0.0], np.float32), 0.01, axis=0)

    np.testing.assert_array_equal(result.weights.values[1], moved[1])
    assert result.weights.scale[1] == rounded.scale[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    weight = np.array([[1.0]], np.float32)

    with pytest.raises(ValueError, match="weight holds NaN or infinity"):
        round_weights(weight * np.float32(value), axis=0)
    with pytest.raises(ValueError, match="bias holds NaN or infinity"):
        add_bias(round_weights(weight, axis=0), weight, np.array([value], np.float32), 1.0, axis=0)


def test_an_outlier_weight_costs_less_with_the_scale_of_least_error() -> None:
    text = """g (float[1, 128, 8, 8] x) => (float[1, 128, 8, 8] y)
    <float[128, 128, 3, 3] w> { y = Conv<pads = [1, 1, 1, 1]>(x, w) }"""
    graph = network(text)
    weight = graph.tensors()["w"]
    weight.values = weight.values.copy()
    weight.values[0, 0, 0, 0] = 3 * np.abs(weight.values).max()

    results = [
        quantize(graph, Int8Options(per_channel=False, weight_scale=rule))
        for rule in ("max", "mse")
    ]

    widest, least = (result.sqnr_db(random_feeds(result.model)) for result in results)
    assert least > widest + 1.0  # dB
    assert results[1].report.operators["QLinearConv"] == 1


def test_weights_of_7_bits_reach_the_graph() -> None:
    text = """g (float[1, 8, 8, 8] x) => (float[1, 8, 6, 6] y)
    <float[8, 8, 3, 3] w> { y = Conv(x, w) }"""

    result = quantize(network(text), Int8Options(reduce_range=True))

    values = result.qdq.tensors()["w_quantized"].values
    assert np.abs(values.astype(int)).max() == 63
    assert saturating_channels(values, 0) == 0
    assert result.sqnr_db(random_feeds(result.model)) > 30


@given(INTEGERS, st.integers(0, 2))
def test_channels_that_saturate_are_those_where_some_activations_make_it_happen(
    values: NDArray[np.int8], axis: int
) -> None:
    expected = 0
    for channel in np.moveaxis(values.astype(int), axis, 0):
        row = channel.T.reshape(-1)  # the channels of one tap side by side
        sums = [
            a * left + b * right
            for left, right in pairwise(row)
            for a in (0, 255)
            for b in (0, 255)
        ]
        expected += any(abs(total) > 2**15 - 1 for total in sums)

    assert saturating_channels(values, axis) == expected


def test_a_channel_with_one_weight_never_saturates() -> None:
    assert saturating_channels(np.full((4, 1, 1, 1), 127, np.int8), 0) == 0
