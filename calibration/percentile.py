"""Threshold that a given fraction of all magnitudes does not exceed."""

import numpy as np

from calibration.histogram import FINE_BINS, Histogram

DEFAULT_FRACTION = 0.99999


def threshold(histogram: Histogram, fraction: float = DEFAULT_FRACTION) -> float:
    """Quantile of |x|, interpolated linearly within its bin.

    It is a rank over all values, so exact zeros count, unlike in the searches for an optimum.

    Args:
        histogram: What was observed.
        fraction: Of the values, in (0, 1].

    Returns:
        Threshold in the tensor's own units, at most the largest magnitude. It is that magnitude
        where less than one value would be clipped, and where the quantile itself is zero, since a
        range of [0, 0] would erase the tensor.

    Raises:
        ValueError: `fraction` is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"percentile: fraction is {fraction}; must be above 0 and at most 1")
    rank = fraction * histogram.total
    if histogram.total - rank < 1 or rank <= histogram.zeros:
        return histogram.absmax
    not_above = histogram.zeros + np.cumsum(histogram.counts)
    index = int(np.searchsorted(not_above, rank))
    inside = int(histogram.counts[index])
    position = index + (rank - (int(not_above[index]) - inside)) / inside
    return min(position / FINE_BINS * 2.0**histogram.exponent, histogram.absmax)
