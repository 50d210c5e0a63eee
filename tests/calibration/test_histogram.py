"""Histogram: counts that depend on nothing but the multiset of values."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration.histogram import Histogram

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = hnp.arrays(np.float32, st.integers(0, 40), elements=FLOATS)
ANY_ARRAYS = hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32))


def histogram_of(*arrays: NDArray[np.generic]) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.add(array)
    return histogram


def state(histogram: Histogram) -> tuple[object, ...]:
    h = histogram
    return h.counts.tolist(), h.exponent, h.minimum, h.maximum, h.total, h.zeros, h.bad


@given(st.lists(ANY_ARRAYS, max_size=5), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_order_and_split_of_the_stream_do_not_change_a_bit(
    arrays: list[NDArray[np.float32]], seed: int
) -> None:
    whole = np.concatenate([np.empty(0, np.float32), *arrays])
    shuffled = np.random.default_rng(seed).permutation(whole)

    expected = state(histogram_of(whole))

    assert state(histogram_of(*arrays)) == expected
    assert state(histogram_of(*reversed(arrays))) == expected
    assert state(histogram_of(shuffled)) == expected


@given(st.lists(ANY_ARRAYS, max_size=4), st.lists(ANY_ARRAYS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_merging_equals_seeing_both_streams(
    first: list[NDArray[np.float32]], second: list[NDArray[np.float32]]
) -> None:
    merged = histogram_of(*first)
    merged.merge(histogram_of(*second))

    assert state(merged) == state(histogram_of(*first, *second))


@given(ARRAYS)
@settings(max_examples=200, deadline=None)
def test_counts_are_those_of_exact_arithmetic(array: NDArray[np.float32]) -> None:
    histogram = histogram_of(array)

    expected = np.zeros(8192, np.int64)
    for value in array.tolist():
        if value:
            expected[math.floor(abs(math.ldexp(value, 13 - histogram.exponent)))] += 1
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.absmax < math.ldexp(1.0, histogram.exponent)
    assert histogram.zeros + histogram.counts.sum() == histogram.total == array.size


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_long_stream_of_growing_range_equals_numpy_on_the_final_range(scale: float) -> None:
    random = np.random.default_rng(1)
    parts = [
        (random.standard_normal(200_000) * scale * 3**k).astype(np.float32) for k in range(-3, 4)
    ]

    histogram = histogram_of(*parts)

    magnitudes = np.abs(np.concatenate(parts)).astype(np.float64)
    expected, _ = np.histogram(magnitudes, 8192, (0.0, 2.0**histogram.exponent))
    np.testing.assert_array_equal(histogram.counts, expected)


def test_a_constant_of_two_lies_in_the_middle_bin_of_the_range_to_four() -> None:
    histogram = histogram_of(np.full((2, 3), 2.0, np.float32))

    assert histogram.exponent == 2
    assert np.flatnonzero(histogram.counts).tolist() == [4096]
    assert (histogram.counts[4096], histogram.total, histogram.zeros) == (6, 6, 0)
    assert (histogram.minimum, histogram.maximum, histogram.absmax) == (2.0, 2.0, 2.0)


def test_zeros_are_counted_apart_and_in_no_bin() -> None:
    histogram = histogram_of(np.array([0.0, -0.0, 1.0], np.float32))

    assert (histogram.zeros, histogram.counts.sum(), histogram.total) == (2, 1, 3)
    assert not histogram.signed


def test_a_tensor_of_zeros_has_no_magnitude_and_leaves_the_range_of_later_values_free() -> None:
    zeros = histogram_of(np.zeros(5, np.float32))
    assert (zeros.absmax, zeros.minimum, zeros.total, zeros.zeros) == (0.0, 0.0, 5, 5)
    assert not zeros.counts.any()

    zeros.add(np.array([1e-9], np.float32))
    assert zeros.counts.argmax() >= 4096


def test_negative_zero_is_zero_whatever_comes_first() -> None:
    histogram = histogram_of(np.array([-0.0], np.float32), np.array([0.0], np.float32))

    assert math.copysign(1.0, histogram.minimum) == 1.0
    assert math.copysign(1.0, histogram.maximum) == 1.0


def test_nan_and_infinite_values_are_counted_as_bad_and_nowhere_else() -> None:
    histogram = histogram_of(np.array([np.nan, np.inf, -np.inf, 1.5, 0.0], np.float32))

    assert (histogram.bad, histogram.total, histogram.zeros) == (3, 2, 1)
    assert (histogram.minimum, histogram.maximum) == (0.0, 1.5)


def test_a_tensor_without_a_finite_value_leaves_only_the_count_of_bad_values() -> None:
    histogram = histogram_of(np.full(4, np.nan, np.float32))

    assert (histogram.bad, histogram.total, histogram.absmax) == (4, 0, 0.0)


def test_a_double_beyond_float32_counts_as_bad() -> None:
    histogram = histogram_of(np.array([1e39, 2.0], np.float64))

    assert (histogram.bad, histogram.total, histogram.maximum) == (1, 1, 2.0)


def test_an_empty_tensor_changes_nothing() -> None:
    assert state(histogram_of(np.empty((0, 3), np.float32))) == state(Histogram())
    assert Histogram().absmax == 0.0


def test_subnormal_values_are_counted_without_overflow_of_the_factor() -> None:
    tiny = np.float32(1e-45)
    histogram = histogram_of(np.array([tiny, -tiny], np.float32))

    assert histogram.exponent == -100
    assert (histogram.counts[0], histogram.total) == (2, 2)
    assert histogram.absmax == float(tiny)


def test_the_largest_floats_are_counted_without_overflow() -> None:
    largest = np.finfo(np.float32).max
    histogram = histogram_of(np.array([-largest, 1.0], np.float32))

    assert (histogram.exponent, histogram.counts[8191], histogram.counts[0]) == (128, 1, 1)
    assert histogram.signed


def test_any_layout_and_real_type_counts_alike() -> None:
    values = np.arange(-6, 6).reshape(3, 4)

    expected = state(histogram_of(values.astype(np.float32)))

    assert state(histogram_of(values.astype(np.float16).T)) == expected
    assert state(histogram_of(values.astype(np.int64)[:, ::-1])) == expected
    assert state(histogram_of(np.repeat(values, 2, 1).astype(np.float64)[:, ::2])) == expected


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FLOATS))
@settings(max_examples=200, deadline=None)
def test_coarse_bins_keep_all_mass_below_their_edges(array: NDArray[np.float32]) -> None:
    histogram = histogram_of(array)

    counts, width = histogram.coarse()

    assert counts.size <= 2048
    assert counts.sum() == histogram.total - histogram.zeros
    for kept in range(0, counts.size + 1, 97):
        assert counts[:kept].sum() == ((np.abs(array) < kept * width) & (array != 0)).sum()
    assert counts.size * width >= histogram.absmax
    assert counts.size == 0 or counts[-1] > 0


def test_a_full_range_merges_four_fine_bins_into_each_of_2048() -> None:
    counts, width = histogram_of(np.array([np.nextafter(np.float32(1), np.float32(0))])).coarse()

    assert (counts.size, width, counts[-1]) == (2048, 4 / 8192, 1)


def test_a_tensor_of_zeros_has_no_coarse_bins() -> None:
    counts, width = histogram_of(np.zeros(3, np.float32)).coarse()

    assert counts.size == 0
    assert width > 0


def test_a_histogram_survives_storage_and_goes_on_counting(tmp_path: Path) -> None:
    original = histogram_of(np.array([-3.5, 0.0, np.nan, 1e-3], np.float32))
    np.savez(tmp_path / "h.npz", allow_pickle=False, **original.to_arrays())

    with np.load(tmp_path / "h.npz") as stored:
        restored = Histogram.from_arrays(stored)

    assert state(restored) == state(original)
    restored.add(np.array([9.0], np.float32))
    original.add(np.array([9.0], np.float32))
    assert state(restored) == state(original)


def test_a_restored_histogram_does_not_write_into_the_stored_arrays() -> None:
    original = histogram_of(np.array([1.0], np.float32))

    Histogram.from_arrays(original.to_arrays()).add(np.array([1.0], np.float32))

    assert original.counts.sum() == 1


@pytest.mark.parametrize("name", ["counts", "extremes", "tallies"])
def test_a_stored_histogram_of_another_shape_is_refused_by_name(name: str) -> None:
    arrays = Histogram().to_arrays()

    with pytest.raises(ValueError, match=rf"'{name}' has shape \(3,\)"):
        Histogram.from_arrays({**arrays, name: np.zeros(3, np.int64)})
    del arrays[name]
    with pytest.raises(ValueError, match=f"'{name}' has shape None"):
        Histogram.from_arrays(arrays)


def test_memory_does_not_grow_with_the_data() -> None:
    histogram = Histogram()
    for seed in range(5):
        histogram.add(np.random.default_rng(seed).standard_normal(300_000).astype(np.float32))

    assert sum(array.nbytes for array in histogram.to_arrays().values()) < 66_000
