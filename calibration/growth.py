"""Whether a set has enough samples, and which of them decide: one pass over observed tensors.

Histograms do not depend on the order of samples, so that those after 1, 2, 4, … samples are the
ones that a set of that size would have given: their scales are taken on the way and compared with
the last ones.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration import percentile
from calibration.histogram import Histogram
from calibration.ranges import range_of
from calibration.rules import THRESHOLD_RULES

CLOSE: Final = 0.05
"""A scale that is this close to the last one has settled."""
MOST: Final = 0.9
"""Share of the tensors that must have settled."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """The sample in which a tensor reaches farthest.

    Args:
        tensor: The tensor.
        sample: Name of the sample.
        magnitude: Largest |x| there, in the tensor's own units.
        runner_up: Largest |x| in any other sample.
    """

    tensor: str
    sample: str
    magnitude: float
    runner_up: float


@dataclass(frozen=True, slots=True)
class Leader:
    """A sample that sets extremes.

    Args:
        sample: Its name.
        tensors: How many tensors reach farthest in it.
        excess: How many times farther than in any other sample; the median over those tensors.
    """

    sample: str
    tensors: int
    excess: float


@dataclass(frozen=True, slots=True)
class Settling:
    """How scales approach their last value.

    Args:
        method: Threshold rule.
        counts: Numbers of samples looked at: 1, 2, 4, … and all.
        gaps: Relative difference to the last scale that most of the tensors do not exceed, for
            each number of samples; the last is 0.
        settled: The number of samples from which on it stays below CLOSE; None where only all
            samples are enough, so that more might change the scales.
    """

    method: str
    counts: tuple[int, ...]
    gaps: tuple[float, ...]
    settled: int | None


class Growth:
    """Histograms that are looked at while samples are added.

    Args:
        total: Samples that will be added.
        fraction: Of the values that the rule `percentile` keeps.
    """

    def __init__(self, total: int, *, fraction: float = percentile.DEFAULT_FRACTION) -> None:
        powers = {1 << power for power in range(total.bit_length())}
        self._counts = tuple(sorted(powers | {total}))
        self._fraction = fraction
        self._done = 0
        self._histograms: dict[str, Histogram] = {}
        self._extremes: dict[str, Extreme] = {}
        self._scales: dict[str, list[dict[str, float]]] = {name: [] for name in THRESHOLD_RULES}

    def add(self, sample: str, tensors: Iterable[tuple[str, NDArray[Any]]]) -> None:
        """Count the values of a sample's tensors; any real element types."""
        for name, array in tensors:
            self._histograms.setdefault(name, Histogram()).add(array)
            self._record(name, sample, _magnitude(array))
        self._done += 1
        if self._done in self._counts:
            for method, scales in self._scales.items():
                scales.append(self._scales_by(method))

    def extremes(self) -> tuple[Extreme, ...]:
        """Of each tensor, in the order in which they came."""
        return tuple(self._extremes.values())

    def settling(self) -> tuple[Settling, ...]:
        """One for each threshold rule.

        Raises:
            ValueError: Not all samples were added.
        """
        if self._done != self._counts[-1]:
            raise ValueError(f"{self._done} samples were added, not {self._counts[-1]}")
        return tuple(
            _settling(method, self._counts, scales) for method, scales in self._scales.items()
        )

    def _record(self, tensor: str, sample: str, magnitude: float) -> None:
        known = self._extremes.get(tensor)
        if known is None:
            self._extremes[tensor] = Extreme(tensor, sample, magnitude, 0.0)
        elif magnitude > known.magnitude:
            self._extremes[tensor] = Extreme(tensor, sample, magnitude, known.magnitude)
        elif magnitude > known.runner_up:
            self._extremes[tensor] = Extreme(tensor, known.sample, known.magnitude, magnitude)

    def _scales_by(self, method: str) -> dict[str, float]:
        return {
            name: range_of(name, histogram, method, fraction=self._fraction).scale
            for name, histogram in self._histograms.items()
            if histogram.total
        }


def rank_leaders(extremes: Sequence[Extreme]) -> tuple[Leader, ...]:
    """Samples that set extremes, that of most tensors first."""
    counts = Counter(one.sample for one in extremes)
    excesses = {
        sample: median(_excess(one) for one in extremes if one.sample == sample)
        for sample in counts
    }
    leaders = [Leader(sample, count, excesses[sample]) for sample, count in counts.items()]
    return tuple(sorted(leaders, key=lambda one: (-one.tensors, one.sample)))


def _excess(one: Extreme) -> float:
    return one.magnitude / one.runner_up if one.runner_up else 1.0


def _settling(
    method: str, counts: tuple[int, ...], scales: Sequence[Mapping[str, float]]
) -> Settling:
    last = scales[-1]
    gaps = tuple(
        _most([abs(found[name] / last[name] - 1) if name in found else 1.0 for name in last])
        for found in scales
    )
    settled = [
        count
        for index, count in enumerate(counts[:-1])
        if all(gap <= CLOSE for gap in gaps[index:])
    ]
    return Settling(method, counts, gaps, min(settled, default=None))


def _most(gaps: Sequence[float]) -> float:
    """What MOST of the numbers do not exceed; 0 of none."""
    return sorted(gaps)[math.ceil(MOST * len(gaps)) - 1] if gaps else 0.0


def _magnitude(array: NDArray[Any]) -> float:
    """Largest |x| that is finite, 0 of none."""
    if not array.size:
        return 0.0
    largest = max(-float(array.min()), float(array.max()))
    if math.isfinite(largest):
        return max(largest, 0.0)
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max(initial=0))
