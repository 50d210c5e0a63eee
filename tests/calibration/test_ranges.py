"""Ranges: scale and zero point that follow from extremes and threshold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.histogram import Histogram
from calibration.ranges import TensorRange, clipped_range, range_of

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


def observed(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.add(np.array(values, np.float32))
    return histogram


def float32(value: float) -> float:
    return float(np.float32(value))


def test_a_tensor_that_is_never_negative_has_zero_point_zero() -> None:
    found = range_of("relu", observed(0.0, 0.5, 4.0), "max")

    assert found == TensorRange("relu", "max", 0.0, 4.0, 4.0, float32(4 / 255), 0)


def test_a_signed_tensor_keeps_its_asymmetric_range() -> None:
    found = range_of("add", observed(-1.0, 0.5, 4.0), "max")

    assert (found.minimum, found.maximum, found.threshold) == (-1.0, 4.0, 4.0)
    assert (found.scale, found.zero_point) == (float32(5 / 255), 51)


def test_a_threshold_clips_both_ends_and_keeps_what_was_observed() -> None:
    found = clipped_range("add", "mse", -1.0, 4.0, 2.0)

    assert (found.minimum, found.maximum, found.threshold) == (-1.0, 4.0, 2.0)
    assert (found.scale, found.zero_point) == (float32(3 / 255), 85)


def test_a_tensor_above_zero_is_extended_down_to_zero() -> None:
    found = range_of("exp", observed(2.0, 3.0), "max")

    assert (found.scale, found.zero_point) == (float32(3 / 255), 0)


def test_a_tensor_below_zero_is_extended_up_to_zero() -> None:
    found = range_of("log", observed(-3.0, -2.0), "max")

    assert (found.scale, found.zero_point) == (float32(3 / 255), 255)


def test_a_tensor_of_zeros_has_scale_one() -> None:
    found = range_of("dead", observed(0.0, -0.0), "kl_divergence")

    assert (found.threshold, found.scale, found.zero_point) == (0.0, 1.0, 0)


def test_a_tiny_tensor_gets_the_smallest_scale() -> None:
    found = range_of("tiny", observed(-1e-20, 1e-20), "max")

    assert (found.scale, found.zero_point) == (float32(1e-8), 0)


def test_the_fraction_reaches_the_percentile_rule() -> None:
    histogram = observed(*np.linspace(0, 1, 1000))

    assert range_of("x", histogram, "percentile", fraction=0.5).threshold == pytest.approx(
        0.5, abs=2e-3
    )


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from(["max", "kl_divergence", "mse"]))
@settings(max_examples=300, deadline=None)
def test_any_tensor_gets_a_range_that_holds_zero_exactly_and_its_clipped_values(
    values: list[float], method: str
) -> None:
    found = range_of("x", observed(*values), method)

    assert found.scale >= float32(1e-8)
    assert float32(found.scale) == found.scale
    assert 0 <= found.zero_point <= 255
    low, high = -found.scale * found.zero_point, found.scale * (255 - found.zero_point)
    assert low <= 0 <= high
    slack = 0.5001 * found.scale  # the zero point is rounded
    assert low <= max(-found.threshold, min(values)) + slack
    assert high >= min(found.threshold, max(values)) - slack
    assert (found.zero_point == 0) or min(values) < 0


@given(NUMBERS, NUMBERS, st.floats(0, 1e30))
@settings(max_examples=300, deadline=None)
def test_numbers_are_float32_and_give_the_same_range_again(
    a: float, b: float, threshold: float
) -> None:
    found = clipped_range("x", "max", min(a, b), max(a, b), threshold)

    again = clipped_range("x", "max", found.minimum, found.maximum, found.threshold)
    assert again == found
    for value in (found.minimum, found.maximum, found.threshold, found.scale):
        assert float32(value) == value


def test_negative_zero_is_stored_as_zero() -> None:
    assert math.copysign(1.0, clipped_range("x", "max", -0.0, 1.0, 1.0).minimum) == 1.0


def test_a_tensor_without_a_finite_value_has_no_range() -> None:
    with pytest.raises(ValueError, match=r"tensor 'x': no finite value was observed"):
        range_of("x", observed(math.nan), "max")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((math.nan, 1.0, 1.0, 1.0, 0), "minimum is nan; must be finite in float32"),
        ((0.0, 1e39, 1.0, 1.0, 0), "maximum is 1e[+]39; must be finite in float32"),
        ((2.0, 1.0, 1.0, 1.0, 0), "minimum 2 is above maximum 1"),
        ((0.0, 1.0, -1.0, 1.0, 0), "threshold is -1; must be 0 or more"),
        ((0.0, 1.0, 1.0, 0.0, 0), "scale is 0; must be above 0"),
        ((0.0, 1.0, 1.0, 1e-60, 0), "scale is 0; must be above 0"),
        ((0.0, 1.0, 1.0, 1.0, 256), r"zero point is 256; must be in 0\.\.255"),
        ((0.0, 1.0, 1.0, 1.0, -1), r"zero point is -1; must be in 0\.\.255"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    numbers: tuple[float, float, float, float, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TensorRange("x", "manual", *numbers)
