"""Streaming histogram of one tensor's magnitudes, independent of order and of splitting.

|x| is counted in N = 8192 bins over [0, 2**e), where e is the smallest exponent with
max|x| < 2**e. The bin of x is floor(|x| * 2**(13 - e)): multiplying by a power of two is exact in
float32, and so is truncation. When a larger value arrives, e grows by d and 2**d neighbours are
summed; since floor(floor(a) / 2) = floor(a / 2), the counts are then bit for bit those of a
histogram that had the final range from the start.

Exact zeros are counted apart and are in no bin: int8 represents zero without error, and the spike
that Relu leaves there would draw every threshold towards it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FINE_BINS = 8192
COARSE_BINS = 2048
# Keeps FINE_BINS / 2**exponent finite in float32, also for a tensor of subnormals.
MIN_EXPONENT = -100
# Elements per step: the scratch arrays of a step stay in the L2 cache.
_STEP = 1 << 17


@dataclass(eq=False, slots=True)
class Histogram:
    """Everything that calibration remembers about one tensor, in 64 KiB.

    Args:
        counts: Non-zero values per magnitude bin, int64, shape (8192,); bin i covers
            [i, i + 1) * 2**exponent / 8192.
        exponent: The largest magnitude is below 2**exponent; at least -100, which is also the value
            as long as only zeros were seen.
        minimum: Smallest finite value, +inf before the first.
        maximum: Largest finite value, -inf before the first.
        total: Finite values seen, zeros included.
        zeros: Exact zeros among them.
        bad: NaN and infinite values; they count nowhere else.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(FINE_BINS, np.int64))
    exponent: int = MIN_EXPONENT
    minimum: float = math.inf
    maximum: float = -math.inf
    total: int = 0
    zeros: int = 0
    bad: int = 0

    @property
    def absmax(self) -> float:
        """Largest magnitude; 0 before the first value."""
        return max(-self.minimum, self.maximum, 0.0)

    @property
    def signed(self) -> bool:
        """Whether a negative value was seen."""
        return self.minimum < 0

    def add(self, array: NDArray[Any]) -> None:
        """Count the values of one array of any shape and real dtype, as float32."""
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold counts as bad
            values = np.ravel(array, order="K").astype(np.float32, copy=False)
        # min and max carry NaN and infinity along: one cheap test for the usual, clean tensor.
        if values.size and not (math.isfinite(values.min()) and math.isfinite(values.max())):
            finite = values[np.isfinite(values)]
            self.bad += values.size - finite.size
            values = finite
        if values.size:
            self._add_finite(values)

    def merge(self, other: "Histogram") -> None:
        """Take over what another histogram has counted, as if this one had seen its arrays."""
        self._extend(other.exponent)
        self.counts += _double_range(other.counts, self.exponent - other.exponent)
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.total += other.total
        self.zeros += other.zeros
        self.bad += other.bad

    def coarse(self) -> tuple[NDArray[np.int64], float]:
        """Counts merged into at most 2048 bins of equal width, for the searches over thresholds.

        A whole number of fine bins goes into each coarse bin, because unequal merges would put a
        comb into the distribution. The fine bins in use fill more than half of the range, so 1366
        to 2048 coarse bins result, unless all values are below 2**-101.

        Returns:
            Counts, shape (bins,), empty without a non-zero value; and the width of a bin in the
            tensor's own units.
        """
        used = int(self.counts.nonzero()[0].max(initial=-1)) + 1
        merged = max(1, math.ceil(used / COARSE_BINS))
        bins = math.ceil(used / merged)
        padded = np.zeros(bins * merged, np.int64)
        padded[:used] = self.counts[:used]
        width = math.ldexp(merged / FINE_BINS, self.exponent)
        return padded.reshape(bins, merged).sum(axis=1), width

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The histogram as three arrays that `numpy.savez` stores without loss."""
        return {
            "counts": self.counts,
            "extremes": np.array([self.minimum, self.maximum], np.float64),
            "tallies": np.array([self.exponent, self.total, self.zeros, self.bad], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The histogram that `to_arrays` has stored.

        Raises:
            ValueError: An array is missing or has another shape.
        """
        shapes = {"counts": (FINE_BINS,), "extremes": (2,), "tallies": (4,)}
        for name, shape in shapes.items():
            found = arrays[name].shape if name in arrays else None
            if found != shape:
                raise ValueError(f"stored histogram: '{name}' has shape {found}, not {shape}")
        minimum, maximum = arrays["extremes"].tolist()
        exponent, total, zeros, bad = arrays["tallies"].tolist()
        counts = arrays["counts"].astype(np.int64)  # a copy: this histogram may go on counting
        return cls(counts, exponent, minimum, maximum, total, zeros, bad)

    def _add_finite(self, values: NDArray[np.float32]) -> None:
        # + 0.0 turns -0.0 into 0.0, lest the extremes depend on the order of zeros.
        low, high = float(values.min()) + 0.0, float(values.max()) + 0.0
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.total += values.size
        peak = max(-low, high)
        if peak == 0:
            self.zeros += values.size
            return
        self._extend(math.frexp(peak)[1])
        bins_per_unit = np.float32(math.ldexp(FINE_BINS, -self.exponent))
        for start in range(0, values.size, _STEP):
            part = values[start : start + _STEP]
            zeros = part.size - int(np.count_nonzero(part))
            bins = np.abs(part * bins_per_unit).astype(np.int32)
            self.counts += np.bincount(bins, minlength=FINE_BINS)
            self.counts[0] -= zeros
            self.zeros += zeros

    def _extend(self, exponent: int) -> None:
        """Widen the range to [0, 2**exponent) where it is narrower."""
        if exponent > self.exponent:
            self.counts = _double_range(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _double_range(counts: NDArray[np.int64], times: int) -> NDArray[np.int64]:
    """Counts over 2**times the range: the sums of 2**times neighbours, then empty bins."""
    neighbours = 1 << min(times, FINE_BINS.bit_length() - 1)  # at most all bins into one
    wider = np.zeros_like(counts)
    wider[: FINE_BINS // neighbours] = counts.reshape(-1, neighbours).sum(axis=1)
    return wider
