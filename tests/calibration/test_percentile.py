"""Percentile: a rank over all values, read from the histogram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import percentile
from calibration.histogram import Histogram

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def observed(values: NDArray[np.generic]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.999, 0.99999])
def test_the_threshold_is_the_quantile_within_a_bin(fraction: float) -> None:
    values = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    histogram = observed(values)

    threshold = percentile.threshold(histogram, fraction)

    width = 2.0**histogram.exponent / 8192
    assert threshold == pytest.approx(np.quantile(np.abs(values), fraction), abs=width)


def test_a_rank_inside_a_bin_is_interpolated() -> None:
    # Bins of 4 / 8192; 3000 values at 1, 1000 in the bin of 2. Rank 3500 is half-way into that bin.
    values = np.repeat(np.array([1, 2], np.float32), [3000, 1000])

    assert percentile.threshold(observed(values), 0.875) == 2.0
    values[-1] = 3.0
    # 999 values in the bin of 2 now: 500 of them lie below.
    assert percentile.threshold(observed(values), 0.875) == pytest.approx(
        (4096 + 500 / 999) * 4 / 8192, abs=1e-12
    )


def test_zeros_count_in_the_rank() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.float32)

    # Rank 950 of 1000 is the 50th of the hundred values that are not zero.
    assert percentile.threshold(observed(values), 0.95) == pytest.approx(50, abs=128 / 8192)


def test_less_than_one_value_to_clip_clips_nothing() -> None:
    values = np.random.default_rng(0).standard_normal(99_999).astype(np.float32)
    histogram = observed(values)

    assert percentile.threshold(histogram) == histogram.absmax
    assert percentile.threshold(histogram, 1.0) == histogram.absmax
    assert percentile.threshold(histogram, 0.99998) < histogram.absmax


def test_a_quantile_of_zero_keeps_the_whole_range() -> None:
    values = np.concatenate([np.zeros(1000), np.arange(1, 10)]).astype(np.float32)

    assert percentile.threshold(observed(values), 0.9) == 9.0


def test_a_tensor_of_zeros_has_threshold_zero() -> None:
    assert percentile.threshold(observed(np.zeros(3)), 0.5) == 0.0


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FINITE), st.data())
@settings(max_examples=200, deadline=None)
def test_a_larger_fraction_never_lowers_a_threshold_that_clips(
    values: NDArray[np.float32], data: st.DataObject
) -> None:
    histogram = observed(values)
    zeros = histogram.zeros / histogram.total
    fractions = st.floats(min(zeros + 1e-3, 1.0), 1.0)
    low, high = sorted([data.draw(fractions), data.draw(fractions)])

    narrow, wide = (percentile.threshold(histogram, fraction) for fraction in (low, high))

    assert narrow <= wide <= histogram.absmax
    width = 2.0**histogram.exponent / 8192
    magnitudes = np.abs(values.astype(np.float64))  # narrow + width may exceed float32
    assert (magnitudes <= narrow + width).mean() >= low - 1e-12


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_bounds_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"must be above 0 and at most 1"):
        percentile.threshold(observed(np.ones(3)), fraction)
