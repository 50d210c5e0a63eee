"""Outputs as the device hands them out: float16, and some without their batch axis.

    graph                                 delivered
    [1, C, H, W], [1, N]                  as they are
    [1, M, N]                             [M, N]
    [1, N, 1], [1, N, 1], [1, N, 4]       as they are: these three together are classes, scores and
                                          boxes after non-maximum suppression
    anything else                         as it is

Source: what the published readers of both `vamp` and `vaststreamx` results index.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.runner.engine import Tensor
from compiler.runner.manifest import TensorSpec


def deliver(
    outputs: Mapping[str, Tensor], specs: Sequence[TensorSpec]
) -> list[NDArray[np.float16]]:
    """Outputs of one sample in the order, shape and type in which the device hands them out.

    Args:
        outputs: By name, as the runner gives them.
        specs: Of the outputs, in graph order.

    Returns:
        Contiguous arrays; values beyond ±65504 become infinite, as float16 has it.
    """
    ordered = [np.asarray(outputs[spec.name]) for spec in specs]
    shapes = delivered_shapes([array.shape for array in ordered])
    with np.errstate(over="ignore"):
        return [
            np.ascontiguousarray(array.astype(np.float16).reshape(shape))
            for array, shape in zip(ordered, shapes, strict=True)
        ]


def delivered_shapes(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shapes in which outputs of these shapes are handed out."""
    if is_detection(shapes):
        return list(shapes)
    return [shape[1:] if len(shape) == 3 and shape[0] == 1 else shape for shape in shapes]


def is_detection(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether outputs are the classes, scores and boxes of a graph that ends in NMS."""
    if len(shapes) != 3 or any(len(shape) != 3 for shape in shapes):
        return False
    rows = {shape[:2] for shape in shapes}
    return len(rows) == 1 and [shape[2] for shape in shapes] == [1, 1, 4]
