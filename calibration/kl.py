"""Threshold that loses the least information: exact search for the smallest KL divergence.

h[0..B-1] is the histogram of magnitudes without exact zeros, N = sum h, w the width of a bin, and
L the number of levels: 128 for a signed tensor, 255 for a non-negative one. A candidate keeps the
first i bins, L <= i <= B:

* P, the reference: p_j = h[j] for j < i - 1, p_{i-1} = h[i-1] + O, where O = sum_{j >= i} h[j] is
  the mass that would be clipped; sum p = N.
* Q, its quantized image, from h[0..i-1] alone: bin j lies in bucket floor(j L / i), that is bucket
  k = [ceil(k i / L), ceil((k + 1) i / L)). With S_k the mass of a bucket and n_k the number of its
  bins with p_j > 0: q_j = S_k / n_k where p_j > 0, else 0; sum q = C_i = sum_{j < i} h[j].
* D_i = sum_{p_j > 0} (p_j / N) ln((p_j / N) / (q_j / C_i)), infinite if C_i = 0 or if the last
  bucket has no mass to stand for the clipped values.

Since q is constant within a bucket, all sums are differences of prefix sums. With
E_i = sum_{j < i} h[j] ln h[j] and x ln x = 0 at 0:

    N D_i = E_{i-1} + (h[i-1] + O) ln(h[i-1] + O) - sum_k S_k ln(S_k / n_k)
            - O ln(S_{L-1} / n_{L-1}) - N ln N + N ln C_i

which costs O(B L) for all candidates together.

P is compared as clipped, so that a candidate which squeezes nearly everything into its last bin
looks perfect. Values far from zero, such as 95..100, make it the smallest one; a choice that clips
more than MAX_CLIPPED of the mass is therefore not taken.

Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017 (S7310). It leaves bucket borders, the
bin of zeros, smoothing and ties open; here borders are proportional, so that no level swallows a
remainder, zeros are left out, and nothing is smoothed.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import Histogram

SIGNED_LEVELS = 128
UNSIGNED_LEVELS = 255
# Divergences closer than this are a tie, which the smallest threshold wins: they differ by less
# than the rounding of float64 sums can be trusted with.
TIE = 1e-10
# Normal to log-normal and gamma data lose less than 1 %; clipping 7 % of Relu(normal) costs 30 dB.
MAX_CLIPPED = 0.05
# Candidates per step: the arrays of a step, candidates by levels, stay in the cache.
_BLOCK = 256


def threshold(histogram: Histogram) -> float:
    """Magnitude at which clipping loses the least information.

    Returns:
        The upper edge of the last bin kept, in the tensor's own units, at most the largest
        magnitude; that magnitude itself where every bin has a level of its own, or where the search
        would clip more than a twentieth of the non-zero values.
    """
    counts, width = histogram.coarse()
    levels = SIGNED_LEVELS if histogram.signed else UNSIGNED_LEVELS
    kept = kept_bins(counts, levels)
    if counts[kept:].sum() > MAX_CLIPPED * counts.sum():
        return histogram.absmax
    return min(kept * width, histogram.absmax)


def kept_bins(counts: NDArray[np.int64], levels: int) -> int:
    """Number of bins that the best candidate keeps; the smallest on a tie.

    Args:
        counts: Values per magnitude bin, shape (bins,), exact zeros left out.
        levels: Levels that share the bins kept.

    Returns:
        From `levels` to `bins`; `bins` where there is nothing to choose: fewer bins than levels, or
        no mass.
    """
    if counts.size < levels or not counts.any():
        return counts.size
    divergences = kl_curve(counts, levels)
    return levels + int(np.argmax(divergences <= divergences.min() + TIE))


def kl_curve(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Divergence of every candidate.

    Args:
        counts: Values per magnitude bin, shape (bins,), bins >= levels, not all zero.
        levels: Levels that share the bins kept.

    Returns:
        D_i for i = levels..bins, in nats, shape (bins - levels + 1,); may hold +inf, but not in the
        last place, where nothing is clipped.
    """
    sums = _Sums(
        mass=_prefix_sums(counts),
        occupied=_prefix_sums(counts > 0),
        information=_prefix_sums(_x_log_x(counts)),
    )
    kept = np.arange(levels, counts.size + 1)
    blocks = [kept[first : first + _BLOCK] for first in range(0, kept.size, _BLOCK)]
    return np.concatenate([_divergences(counts, sums, block, levels) for block in blocks])


class _Sums(NamedTuple):
    """Sums over the bins before i, for i = 0..bins: C_i, the count of occupied bins, E_i."""

    mass: NDArray[np.int64]
    occupied: NDArray[np.int64]
    information: NDArray[np.float64]


def _divergences(
    counts: NDArray[np.int64], sums: _Sums, kept: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """D_i of the candidates i in `kept`."""
    borders = -(-np.arange(levels + 1) * kept[:, np.newaxis] // levels)  # ceil(k i / L)
    mass = np.diff(sums.mass[borders], axis=1)
    occupied = np.diff(sums.occupied[borders], axis=1)
    total, kept_mass, last = sums.mass[-1], sums.mass[kept], counts[kept - 1]
    clipped = total - kept_mass
    # P puts the clipped mass into the last bin, which is then occupied even if it was empty.
    occupied[:, -1] += (clipped > 0) & (last == 0)

    log_q = np.log(np.where(mass > 0, mass / np.maximum(occupied, 1), 1.0))
    information = sums.information[kept - 1] + _x_log_x(last + clipped)
    information -= (mass * log_q).sum(axis=1) + clipped * log_q[:, -1]
    divergences: NDArray[np.float64] = information / total + np.log(np.maximum(kept_mass, 1))
    divergences -= np.log(total)
    divergences[(kept_mass == 0) | ((clipped > 0) & (mass[:, -1] == 0))] = np.inf
    return divergences


def _prefix_sums(values: NDArray[Any]) -> NDArray[Any]:  # Any: int64 of counts, float64 of terms
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])


def _x_log_x(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.maximum(counts, 1))
    return counts * logarithms
