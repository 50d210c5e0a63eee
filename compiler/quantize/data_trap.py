"""Whether the evaluation images are what the network was calibrated for.

Both go through the float network. Images of another kind, or prepared in another way, show in
values beyond the calibrated thresholds and in channels whose mean has moved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, ldexp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import FINE_BINS, Histogram
from calibration.ranges import TensorRange
from compiler.quantize.traps import Trap

CLIPPED: Final = 0.01
"""Share of the evaluation's values that may lie beyond a threshold."""

TIMES_CLIPPED: Final = 5.0
"""And how many times the calibration's share that may be."""

SHIFT: Final = 0.15
"""How far the mean of a channel may lie from calibration's, as a share of the range."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One tensor over calibration samples and over evaluation images.

    Args:
        layer: Name of the layer in the original network that makes it, or of the input.
        range: Calibrated.
        calibration: Of its values.
        evaluation: Likewise.
        calibration_means: Of its channels, shape (channels,), or empty.
        evaluation_means: Likewise.
    """

    layer: str
    range: TensorRange
    calibration: Histogram
    evaluation: Histogram
    calibration_means: NDArray[np.float64]
    evaluation_means: NDArray[np.float64]


def data_trap(tensors: Sequence[Evaluated]) -> Trap | None:
    """Calibration samples that differ from the evaluation images.

    Args:
        tensors: The network's input and some inner ones.
    """
    found = {one.layer: shifts for one in tensors if (shifts := list(_shifts(one)))}
    if not found:
        return None
    told = "; ".join(f"'{name}': {', '.join(shifts)}" for name, shifts in found.items())
    return Trap(
        "data",
        (),
        f"the evaluation images differ from the calibration samples: {told}",
        "calibrate with samples of what the network will see (dataset.path), prepared as it will "
        "be (process_ops)",
    )


def _shifts(one: Evaluated) -> Iterator[str]:
    clipped = _beyond(one.evaluation, one.range.threshold)
    usual = _beyond(one.calibration, one.range.threshold)
    if clipped > CLIPPED and clipped > TIMES_CLIPPED * usual:
        largest = one.evaluation.absmax
        yield (
            f"{clipped:.1%} of its values are clipped at {one.range.threshold:.4g} instead of "
            f"{usual:.1%}, the largest is {largest:.4g}"
        )
    width = max(one.range.maximum, 0.0) - min(one.range.minimum, 0.0)
    if one.calibration_means.size and width:
        shifts = np.abs(one.evaluation_means - one.calibration_means) / width
        shifts[~np.isfinite(shifts)] = 0
        channel = int(shifts.argmax())
        if shifts[channel] > SHIFT:
            yield (
                f"the mean of channel {channel} is {one.evaluation_means[channel]:.4g} instead of "
                f"{one.calibration_means[channel]:.4g}"
            )


def _beyond(histogram: Histogram, threshold: float) -> float:
    """Share of the values whose magnitude is above a threshold, beyond the bin that it is in."""
    first = floor(threshold / ldexp(1 / FINE_BINS, histogram.exponent)) + 1
    return int(histogram.counts[first:].sum()) / max(histogram.total, 1)
