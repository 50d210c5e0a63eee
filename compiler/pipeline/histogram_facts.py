"""What was observed of each tensor, small enough for a page: its histogram and its thresholds."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from calibration.histogram import Histogram
from calibration.ranges import TensorRange
from calibration.rules import THRESHOLD_RULES, threshold_by

Facts = dict[str, Any]  # Any: a JSON object

BINS: Final = 128
"""As many as a plot resolves."""


def histogram_facts(
    ranges: Iterable[TensorRange], histograms: Mapping[str, Histogram], *, fraction: float
) -> list[Facts]:
    """Histogram of every tensor that was observed, with what each rule would make of it.

    Args:
        ranges: Chosen ones, in graph order.
        histograms: By tensor; none of those that come from a table.
        fraction: Share of the values that `percentile` keeps.
    """
    return [
        _facts(range_, histograms[range_.name], fraction)
        for range_ in ranges
        if range_.name in histograms
    ]


def _facts(chosen: TensorRange, histogram: Histogram, fraction: float) -> Facts:
    counts, width = histogram.coarse()
    merged = max(1, -(-counts.size // BINS))
    padded = np.pad(counts, (0, -counts.size % merged))
    thresholds = {name: threshold_by(name, histogram, fraction=fraction) for name in _RULES}
    return {
        "name": chosen.name,
        "method": chosen.method,
        "minimum": chosen.minimum,
        "maximum": chosen.maximum,
        "threshold": chosen.threshold,
        # In float32, as the chosen one is: then it equals that of its own rule.
        "thresholds": {name: float(np.float32(value)) for name, value in thresholds.items()},
        "bin_width": width * merged,
        "counts": padded.reshape(-1, merged).sum(axis=1).tolist(),
        "zeros": histogram.zeros,
        "total": histogram.total,
    }


_RULES: Final = tuple(sorted(THRESHOLD_RULES))
