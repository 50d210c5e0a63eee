"""The list of threshold rules."""

import numpy as np
import pytest

from calibration import kl, max_abs, mse, percentile
from calibration.histogram import Histogram
from calibration.rules import THRESHOLD_RULES, threshold_by


@pytest.fixture
def histogram() -> Histogram:
    observed = Histogram()
    observed.add(np.random.default_rng(0).standard_t(4, 300_000).astype(np.float32))
    return observed


def test_the_rules_are_those_of_calibrate_mode() -> None:
    assert set(THRESHOLD_RULES) == {"kl_divergence", "percentile", "max", "mse"}


def test_each_name_applies_its_rule(histogram: Histogram) -> None:
    assert threshold_by("kl_divergence", histogram) == kl.threshold(histogram)
    assert threshold_by("percentile", histogram) == percentile.threshold(histogram, 0.99999)
    assert threshold_by("max", histogram) == max_abs.threshold(histogram) == histogram.absmax
    assert threshold_by("mse", histogram) == mse.threshold(histogram)


@pytest.mark.parametrize("method", THRESHOLD_RULES)
def test_every_rule_clips_a_heavy_tail_and_never_widens_the_range(
    method: str, histogram: Histogram
) -> None:
    threshold = threshold_by(method, histogram)

    assert 0 < threshold <= histogram.absmax
    assert (threshold < histogram.absmax) == (method != "max")


def test_the_fraction_reaches_the_percentile_rule(histogram: Histogram) -> None:
    expected = percentile.threshold(histogram, 0.9)

    assert threshold_by("percentile", histogram, fraction=0.9) == expected


def test_an_unknown_rule_is_refused_with_those_that_exist(histogram: Histogram) -> None:
    with pytest.raises(ValueError, match=r"'entropy'; there are kl_divergence, percentile"):
        threshold_by("entropy", histogram)
