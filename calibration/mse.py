"""Threshold with the smallest mean squared error, rounding and clipping together.

In units of one bin the values of bin j count as c_j = j + 1/2. A candidate keeps i of B bins and
has the step d = i / Q, with Q = 127 for a signed tensor and 255 for a non-negative one; v(c) = m d
is the nearest level, m = 0..Q. Level m begins at the border (m - 1/2) d, that is at bin
ceil(((2m - 1) i - Q) / (2Q)). With N_m and M_m the mass and the first moment of all bins from that
border on, and m d = sum_{n <= m} d, (m d)**2 = sum_{n <= m} (2n - 1) d**2:

    error_i = sum_j h_j (c_j - v(c_j))**2
            = sum_j h_j c_j**2 - 2 d sum_{m=1..Q} M_m + d**2 sum_{m=1..Q} (2m - 1) N_m

Clipping is included, because level Q takes everything beyond its border. Zeros cost nothing under
any threshold and are left out.

Source: the mean squared error as a criterion for ranges is that of M. Nagel et al., "A White Paper
on Neural Network Quantization", 2021, section 3.1; the sums over borders are worked out here.
"""

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import Histogram

SIGNED_LEVELS = 127
UNSIGNED_LEVELS = 255
# The narrowest candidate; with fewer bins than this nothing is worth clipping.
MIN_BINS = 128


def threshold(histogram: Histogram) -> float:
    """Magnitude at which rounding and clipping together cost least.

    Returns:
        The upper edge of the last bin kept, in the tensor's own units, at most the largest
        magnitude; that magnitude itself where fewer than 128 bins hold the tensor.
    """
    counts, width = histogram.coarse()
    if counts.size < MIN_BINS:
        return histogram.absmax
    levels = SIGNED_LEVELS if histogram.signed else UNSIGNED_LEVELS
    kept = MIN_BINS + int(np.argmin(mse_curve(counts, levels)))
    return min(kept * width, histogram.absmax)


def mse_curve(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Squared error of every candidate.

    Args:
        counts: Values per magnitude bin, shape (bins,), bins >= 128.
        levels: Levels above zero, Q.

    Returns:
        error_i for i = 128..bins, summed over all values, in bins squared, shape (bins - 127,).
    """
    centres = np.arange(counts.size) + 0.5
    mass_from = _suffix_sums(counts.astype(np.float64))
    moment_from = _suffix_sums(counts * centres)
    kept = np.arange(MIN_BINS, counts.size + 1)
    odd = 2 * np.arange(1, levels + 1) - 1  # 2m - 1
    borders = -((levels - odd * kept[:, np.newaxis]) // (2 * levels))
    borders = np.clip(borders, 0, counts.size)
    step = kept / levels
    square = (counts * centres**2).sum()
    moments = moment_from[borders].sum(axis=1)
    masses = (odd * mass_from[borders]).sum(axis=1)
    errors: NDArray[np.float64] = square - 2 * step * moments + step**2 * masses
    return errors


def _suffix_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum from each position to the end, and 0 beyond the end."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
