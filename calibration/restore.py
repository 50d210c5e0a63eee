"""From a tensor that a network reads back to pixels that one can look at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def restore_levels(
    tensor: NDArray[Any],
    table: NDArray[Any],  # Any: the type that a network reads
) -> NDArray[np.uint8] | None:
    """The 8-bit pixels that became a tensor.

    Args:
        tensor: Shape (C, H, W).
        table: What became of the levels 0 to 255 of each channel, shape (C, 256), same type.

    Returns:
        Shape (H, W, C); None if a value of the tensor is none of its channel's in the table, so
        that other arithmetic made it.
    """
    planes = []
    for plane, values in zip(tensor, table, strict=True):
        levels = np.argsort(values, kind="stable")
        places = np.searchsorted(values[levels], plane).clip(0, len(levels) - 1)
        found = levels[places]
        if not np.array_equal(values[found], plane):
            return None
        planes.append(found.astype(np.uint8))
    return np.stack(planes, axis=-1)


def stretch_levels(tensor: NDArray[Any]) -> NDArray[np.uint8]:  # Any: as above
    """Pixels that show a tensor: each channel's smallest value is 0, its largest 255.

    Args:
        tensor: Shape (C, H, W); what is not finite is shown as 0.

    Returns:
        Shape (H, W, C).
    """
    planes = []
    for plane in tensor.astype(np.float64):
        finite = plane[np.isfinite(plane)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        scaled = (plane - low) / (high - low) if high > low else np.zeros_like(plane)
        planes.append(np.rint(np.nan_to_num(scaled, posinf=0, neginf=0) * 255).astype(np.uint8))
    return np.stack(planes, axis=-1)
