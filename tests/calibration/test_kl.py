"""KL search: the closed form against the definition, candidate by candidate."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import kl
from calibration.histogram import Histogram
from calibration.kl import kept_bins, kl_curve
from tests.support.plain_loops import plain_kept_bins, plain_kl_curve

Counts = NDArray[np.int64]
FAMILIES = (
    "normal",
    "laplace",
    "student",
    "uniform",
    "outliers",
    "lognormal",
    "sparse",
    "two scales",
    "zero tail",
    "one bin",
    "all zero",
)


def random_counts(random: np.random.Generator, family: str, bins: int) -> Counts:
    """Histogram of a family of distributions, or one of the degenerate ones."""
    size = int(random.integers(10, 20_000))
    samples: dict[str, Callable[[], NDArray[np.float64]]] = {
        "normal": lambda: random.standard_normal(size),
        "laplace": lambda: random.laplace(size=size),
        "student": lambda: random.standard_t(3, size),
        "uniform": lambda: random.uniform(size=size),
        "outliers": lambda: np.append(random.standard_normal(size), [20.0, 25.0]),
        "lognormal": lambda: random.lognormal(size=size),
        "sparse": lambda: random.standard_normal(12),
        "two scales": lambda: np.append(random.standard_normal(size), 9 * random.laplace(size=50)),
    }
    if family in samples:
        values = np.abs(samples[family]())
        return np.histogram(values, bins, (0.0, values.max()))[0]
    counts = np.zeros(bins, np.int64)
    if family == "one bin":
        counts[random.integers(bins)] = random.integers(1, 1000)
    if family == "zero tail":
        filled = int(random.integers(1, bins + 1))
        counts[:filled] = random.integers(0, 50, filled)
    return counts


@pytest.mark.parametrize("family", FAMILIES)
def test_the_search_keeps_the_bins_that_the_plain_loop_keeps(family: str) -> None:
    random = np.random.default_rng(FAMILIES.index(family))
    for _ in range(100):
        bins = int(random.integers(16, 320))
        levels = int(random.choice([8, 16, 64, 128, 255]))
        counts = random_counts(random, family, bins)
        assert kept_bins(counts, levels) == plain_kept_bins(counts, levels), (bins, levels)


@pytest.mark.parametrize("levels", [128, 255])
@pytest.mark.parametrize("family", ["laplace", "student", "zero tail", "two scales"])
def test_a_search_of_full_size_agrees_with_the_plain_loop(family: str, levels: int) -> None:
    counts = random_counts(np.random.default_rng(levels), family, 2048)

    curve = kl_curve(counts, levels)

    np.testing.assert_allclose(curve, plain_kl_curve(counts, levels), rtol=0, atol=1e-11)
    assert kept_bins(counts, levels) == plain_kept_bins(counts, levels)


@given(
    hnp.arrays(np.int64, st.integers(4, 60), elements=st.one_of(st.just(0), st.integers(0, 2**40))),
    st.integers(2, 70),
)
@settings(max_examples=300, deadline=None)
def test_any_counts_agree_with_the_plain_loop(counts: Counts, levels: int) -> None:
    assert kept_bins(counts, levels) == plain_kept_bins(counts, levels)
    if counts.any() and levels <= counts.size:
        expected = plain_kl_curve(counts, levels)
        np.testing.assert_allclose(kl_curve(counts, levels), expected, rtol=0, atol=1e-11)


def test_the_divergence_of_a_small_case_is_the_one_worked_out_by_hand() -> None:
    # Two levels over [4, 2, 1, 1]. Keeping 2: P = (4, 4)/8, Q = (4, 2)/6.
    # Keeping 3, buckets [0, 2) and [2, 3): P = (4, 2, 2)/8, Q = (3, 3, 1)/7.
    # Keeping 4, buckets of two: P = (4, 2, 1, 1)/8, Q = (3, 3, 1, 1)/8.
    counts = np.array([4, 2, 1, 1])
    by_hand = [
        0.5 * np.log(0.5 / (4 / 6)) + 0.5 * np.log(0.5 / (2 / 6)),
        0.5 * np.log(0.5 / (3 / 7)) + 0.25 * np.log(0.25 / (3 / 7)) + 0.25 * np.log(0.25 / (1 / 7)),
        0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3),
    ]

    np.testing.assert_allclose(kl_curve(counts, 2), by_hand, rtol=0, atol=1e-14)
    assert kept_bins(counts, 2) == 4


def test_a_tie_goes_to_the_smallest_threshold() -> None:
    # One bin per level and nothing clipped beyond bin 4: every candidate is exact.
    assert kept_bins(np.array([1, 1, 1, 1, 0, 0, 0, 0]), 4) == 4


def test_a_candidate_whose_last_bucket_is_empty_cannot_take_clipped_values() -> None:
    curve = kl_curve(np.array([5, 0, 0, 5]), 2)

    assert np.isinf(curve[:2]).all()
    assert np.isfinite(curve[2])


def test_nothing_to_choose_keeps_all_bins() -> None:
    assert kept_bins(np.ones(100, np.int64), 128) == 100
    assert kept_bins(np.zeros(300, np.int64), 128) == 300
    assert kept_bins(np.zeros(0, np.int64), 128) == 0


def observed(values: NDArray[np.float64]) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


def test_a_distribution_with_outliers_is_clipped_and_a_uniform_one_is_not() -> None:
    random = np.random.default_rng(0)
    normal = random.standard_normal(1_000_000)

    outliers = observed(np.append(normal, 20 * random.standard_normal(10)))
    uniform = observed(random.uniform(-1, 1, 1_000_000))

    assert kl.threshold(outliers) < 0.2 * outliers.absmax
    assert kl.threshold(uniform) > 0.99 * uniform.absmax


def test_the_zeros_of_relu_do_not_move_the_threshold() -> None:
    positive = np.maximum(np.random.default_rng(0).standard_normal(1_000_000), 0)

    assert kl.threshold(observed(positive)) == kl.threshold(observed(positive[positive > 0]))
    assert kl.threshold(observed(positive)) > 0.9 * positive.max()


def test_a_threshold_is_at_most_the_largest_magnitude() -> None:
    assert kl.threshold(observed(np.array([2.0, 2.0]))) == 2.0
    assert kl.threshold(observed(np.zeros(4))) == 0.0


@pytest.mark.parametrize("values", [np.linspace(95, 100, 1000), np.array([-3.0, 1.0])])
def test_values_far_from_zero_are_not_squeezed_into_the_smallest_of_them(
    values: NDArray[np.float64],
) -> None:
    histogram = observed(values)

    assert kl.threshold(histogram) == histogram.absmax
    counts, width = histogram.coarse()
    assert kept_bins(counts, 128) * width < 1.01 * np.abs(values).min()  # what the guard prevents
