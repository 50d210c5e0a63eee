"""What the first output of a network means, read from its shape and the operators before it."""

from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import producer, rank

MaskKind = Literal["binary", "argmax", "classes"]

_MOVERS = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Resize", "Cast"})


def mask_rule(graph: gs.Graph) -> tuple[MaskKind, float] | None:
    """How the first output becomes a class map.

    Returns:
        ("binary", threshold) for one channel: 0.5 after a Sigmoid, else 0 (a logit);
        ("argmax", 0) for several channels; ("classes", 0) for one channel of class numbers; None
        where the output is no (1, C, H, W) map.
    """
    output = graph.outputs[0]
    if output.shape is None or len(output.shape) != 4 or output.shape[0] != 1:
        return None
    channels, *size = output.shape[1:]
    if not all(isinstance(side, int) and side > 1 for side in size):
        return None
    if is_class_map(output):
        return ("classes", 0.0) if channels == 1 else None
    return ("binary", threshold_of(output)) if channels == 1 else ("argmax", 0.0)


def is_class_map(output: gs.Tensor) -> bool:
    """Whether an output holds numbers of classes instead of scores."""
    return output.dtype is not None and np.dtype(output.dtype).kind in "biu"


def class_axis(output: gs.Tensor) -> int:
    """Axis of the classes: 1 for (N, C, H, W), else the last."""
    return 1 if rank(output) == 4 else -1


def threshold_of(output: gs.Tensor) -> float:
    """The score from which on a class counts: 0.5 after a Sigmoid, else 0 (a logit)."""
    node = producer(output)
    while node is not None and node.op in _MOVERS:
        node = producer(node.inputs[0])
    return 0.5 if node is not None and node.op in {"Sigmoid", "HardSigmoid"} else 0.0
