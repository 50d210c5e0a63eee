"""Every rule that turns a histogram into a threshold, under its name in build files."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from calibration import kl, max_abs, mse, percentile
from calibration.histogram import Histogram

ThresholdRule = Callable[[Histogram], float]

THRESHOLD_RULES: Mapping[str, ThresholdRule] = MappingProxyType(
    {
        "kl_divergence": kl.threshold,
        "percentile": percentile.threshold,
        "max": max_abs.threshold,
        "mse": mse.threshold,
    }
)


def threshold_by(
    method: str, histogram: Histogram, *, fraction: float = percentile.DEFAULT_FRACTION
) -> float:
    """Threshold of a histogram under one of the rules.

    Args:
        method: A name in `THRESHOLD_RULES`.
        histogram: What was observed.
        fraction: Of the values that `percentile` keeps; the other rules take none.

    Returns:
        Threshold in the tensor's own units; 0 only for a tensor of zeros.

    Raises:
        ValueError: There is no such rule.
    """
    if method not in THRESHOLD_RULES:
        raise ValueError(f"no threshold rule '{method}'; there are {', '.join(THRESHOLD_RULES)}")
    if method == "percentile":
        return percentile.threshold(histogram, fraction)
    return THRESHOLD_RULES[method](histogram)
