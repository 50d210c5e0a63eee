"""What many times say: mean, percentiles, and ratios with their spread.

A percentile lies between two ordered values where the rank is no whole number, in proportion (the
default of numpy). Ratios of two contestants are taken round by round: what else the machine does
meets both of one round alike, so their ratio moves less than either time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Summary:
    """What a set of values comes to, in the unit of the values.

    Args:
        count: How many there are.
        mean: Arithmetic mean.
        minimum: Smallest.
        p50: Median; p90, p95 and p99 are percentiles likewise.
        maximum: Largest.
    """

    count: int
    mean: float
    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of some rounds, and the quartiles around it: half of the rounds lie between them."""

    rounds: int
    median: float
    lower: float
    upper: float


def summarise(values: Sequence[float]) -> Summary:
    """Mean, extremes and the usual percentiles.

    Args:
        values: One or more.

    Raises:
        ValueError: There are none.
    """
    p50, p90, p95, p99 = percentiles(values, (50, 90, 95, 99))
    mean = float(np.mean(values))
    return Summary(len(values), mean, min(values), p50, p90, p95, p99, max(values))


def percentiles(values: Sequence[float], percents: Sequence[float]) -> tuple[float, ...]:
    """Values below which so many percent lie, one for each of `percents` (0 to 100).

    Raises:
        ValueError: There are no values, or a percentage is out of range.
    """
    if len(values) == 0:
        raise ValueError("no value was measured")
    return tuple(float(value) for value in np.percentile(np.asarray(values, float), percents))


def spread_of(rounds: Sequence[float]) -> Spread:
    """Median and quartiles of one figure per round.

    Raises:
        ValueError: There is no round.
    """
    lower, median, upper = percentiles(rounds, (25, 50, 75))
    return Spread(len(rounds), median, lower, upper)


def ratio_of(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Spread:
    """How many times as long the first takes as the second.

    Args:
        first: Its times, round by round; every round has one or more.
        second: Likewise, of the same rounds.

    Returns:
        Of each round, the ratio of the two medians; of these, median and quartiles.

    Raises:
        ValueError: Different numbers of rounds, or one without a time.
    """
    pairs = zip(first, second, strict=True)
    return spread_of([percentiles(a, (50,))[0] / percentiles(b, (50,))[0] for a, b in pairs])
