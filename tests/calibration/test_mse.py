"""Mean squared error: the sums over borders against rounding every bin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import mse
from calibration.histogram import Histogram
from calibration.mse import mse_curve
from tests.support.plain_loops import plain_mse_curve


def observed(values: NDArray[np.float64]) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


@given(
    hnp.arrays(np.int64, st.integers(128, 260), elements=st.integers(0, 10**6)),
    st.sampled_from([7, 127, 255]),
)
@settings(max_examples=100, deadline=None)
def test_every_candidate_has_the_error_of_rounding_its_bins(
    counts: NDArray[np.int64], levels: int
) -> None:
    expected = plain_mse_curve(counts, levels)

    tolerance = 1e-11 * (1 + float((counts * np.arange(counts.size) ** 2.0).sum()))
    np.testing.assert_allclose(mse_curve(counts, levels), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("levels", [127, 255])
def test_a_search_of_full_size_finds_the_candidate_of_the_plain_loop(levels: int) -> None:
    values = np.abs(np.random.default_rng(levels).standard_t(4, 100_000))
    counts, _ = np.histogram(values, 2048, (0.0, values.max()))

    assert np.argmin(mse_curve(counts, levels)) == np.argmin(plain_mse_curve(counts, levels))


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.random.default_rng(0).laplace(size=200_000), 127),
        (np.maximum(np.random.default_rng(1).laplace(size=200_000), 0), 255),
    ],
    ids=["signed", "after Relu"],
)
def test_no_other_threshold_quantizes_the_values_better(
    values: NDArray[np.float64], levels: int
) -> None:
    histogram = observed(values)

    def error(threshold: float) -> float:
        step = threshold / levels
        stored = np.clip(np.round(values / step), -levels, levels)
        return float(((values - stored * step) ** 2).mean())

    best = error(mse.threshold(histogram))

    for share in np.linspace(0.3, 1.0, 15):
        assert best <= error(share * histogram.absmax) * 1.01  # the optimum is flat; bins are wide


def test_few_bins_are_not_worth_a_search() -> None:
    assert mse.threshold(observed(np.array([1e-42, 3e-42]))) == pytest.approx(3e-42, rel=1e-3)
    assert mse.threshold(observed(np.zeros(5))) == 0.0


def test_a_threshold_is_at_most_the_largest_magnitude() -> None:
    assert mse.threshold(observed(np.array([2.0, 2.0]))) == 2.0
