"""Threshold searches written as their definitions read: candidate by candidate, nothing clever."""

import numpy as np
from numpy.typing import NDArray


def plain_kl_curve(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """KL divergence of P and Q, both written out, for every number of bins kept."""
    return np.array([_divergence(counts, kept, levels) for kept in range(levels, counts.size + 1)])


def plain_kept_bins(counts: NDArray[np.int64], levels: int) -> int:
    """The first candidate within 1e-10 of the best; all bins where there is no choice."""
    if counts.size < levels or counts.sum() == 0:
        return counts.size
    curve = plain_kl_curve(counts, levels)
    return next(levels + at for at, value in enumerate(curve) if value <= curve.min() + 1e-10)


def _divergence(counts: NDArray[np.int64], kept: int, levels: int) -> float:
    inside = counts[:kept].astype(np.float64)
    clipped = float(counts[kept:].sum())
    reference = inside.copy()
    reference[-1] += clipped
    bucket = np.arange(kept) * levels // kept
    mass = np.bincount(bucket, inside, levels)
    occupied = np.bincount(bucket, reference > 0, levels)
    if inside.sum() == 0 or (clipped > 0 and mass[-1] == 0):
        return np.inf
    support = reference > 0
    p = reference[support] / counts.sum()
    q = (mass[bucket] / np.maximum(occupied[bucket], 1))[support] / inside.sum()
    return float((p * np.log(p / q)).sum())


def plain_mse_curve(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Squared error of rounding every bin's centre to a level, for every number of bins kept."""
    centres = np.arange(counts.size) + 0.5
    errors = []
    for kept in range(128, counts.size + 1):
        step = kept / levels
        level = np.minimum(np.floor(centres / step + 0.5), levels)
        errors.append(float((counts * (centres - level * step) ** 2).sum()))
    return np.array(errors)
