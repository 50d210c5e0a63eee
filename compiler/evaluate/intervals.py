"""Confidence intervals of figures by the bootstrap.

The images of a test set are a sample of those that the network will see. Drawing as many of them
again, with replacement, shows how much a figure depends on which images happened to be there. For
the difference of two networks both see the same draw, so that what makes an image hard for both
cancels.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13
(percentile interval).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from compiler.evaluate.metric import Figures, Vector, total_of

Total: TypeAlias = Callable[[Vector], Vector]

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
_CHUNK_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, or the difference of two, with its interval; in the figure's own unit.

    Args:
        value: Of the data set itself.
        low: Lower end; NaN where the figure is undefined, or of one image, which says nothing of
            others.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is more than noise of the choice of images."""
        return self.low > 0 or self.high < 0


def figure_intervals(
    figures: Callable[[Vector], Figures],
    units: Vector,
    *,
    total: Total = total_of,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the figures of one network.

    Args:
        figures: As in `Metric`.
        units: `Metric.units` of the statistics, shape (n, k).
        total: As in `Metric`; of the data set itself, draws are plain sums.
        resamples: Number of draws.
        level: Share of the draws within the interval.
        seed: Of the draws (PCG64).
    """
    values = _figures(figures, total(units))
    drawn = _resampled(figures, [units], resamples, seed)
    return {name: percentile_interval(values[name], drawn[0][name], level) for name in values}


def difference_intervals(
    figures: Callable[[Vector], Figures],
    reference: Vector,
    other: Vector,
    *,
    total: Total = total_of,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the differences `other` - `reference`, both on the same draws of images.

    Args:
        figures: As in `Metric`.
        reference: `Metric.units` of one network, shape (n, k).
        other: Of another one on the same images in the same order.
        total: As in `Metric`; of the data set itself, draws are plain sums.
        resamples: Number of draws.
        level: Share of the draws within the interval.
        seed: Of the draws (PCG64).

    Raises:
        ValueError: The networks saw different numbers of images.
    """
    if reference.shape != other.shape:
        raise ValueError(f"{len(reference)} and {len(other)} units cannot be paired")
    before, after = (_figures(figures, total(units)) for units in (reference, other))
    drawn = _resampled(figures, [reference, other], resamples, seed)
    return {
        name: percentile_interval(
            after[name] - before[name], drawn[1][name] - drawn[0][name], level
        )
        for name in before
    }


def percentile_interval(value: float, drawn: Vector, level: float = LEVEL) -> Interval:
    """Interval that holds a share of the draws in which the figure is defined.

    Args:
        value: Of the data set itself.
        drawn: Of every draw, shape (resamples,); not finite where it is undefined.
        level: The share, half of the rest lying on either side.
    """
    defined = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not defined.size:
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return Interval(value, float(low), float(high))


def draw_counts(
    count: int, resamples: int = RESAMPLES, seed: int = 0, chunk: int = 1
) -> Iterator[Vector]:
    """How often each of `count` units is in draws of as many with replacement (PCG64).

    Args:
        count: Units.
        resamples: Number of draws.
        seed: Of the draws.
        chunk: Draws that are given at once; it changes none of them.

    Returns:
        Arrays of shape (at most `chunk`, count).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(0, count, (rows, count)) if count else np.zeros((rows, 0), int)
        drawn += count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)


def _figures(figures: Callable[[Vector], Figures], sums: Vector) -> dict[str, float]:
    return {name: float(value) for name, value in figures(sums).items()}


def _resampled(
    figures: Callable[[Vector], Figures], sets: list[Vector], resamples: int, seed: int
) -> list[dict[str, Vector]]:
    """Figures of every draw, shape (resamples,), for each of the sets; NaN of fewer than 2 units.

    Units of zeros alone, such as images that are left out, count for none.
    """
    if any(np.count_nonzero(units.any(axis=1)) < 2 for units in sets):
        return [dict.fromkeys(figures(total_of(units)), np.full(1, np.nan)) for units in sets]
    count = len(sets[0])
    parts: list[list[Figures]] = [[] for _ in sets]
    for weights in draw_counts(count, resamples, seed, max(1, _CHUNK_BYTES // (8 * count))):
        for part, units in zip(parts, sets, strict=True):
            part.append(figures(weights @ units))
    return [
        {name: np.concatenate([figure[name] for figure in part]) for name in part[0]}
        for part in parts
    ]
