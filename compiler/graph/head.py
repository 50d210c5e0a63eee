"""What the first output of a network means, read from its shape and the operators before it."""

from typing import Literal

import onnx_graphsurgeon as gs

from compiler.graph.query import producer

MaskKind = Literal["binary", "argmax"]

_MOVERS = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Resize", "Cast"})


def mask_rule(graph: gs.Graph) -> tuple[MaskKind, float] | None:
    """How the first output becomes a class map.

    Returns:
        ("binary", threshold) for one channel: 0.5 after a Sigmoid, else 0 (a logit);
        ("argmax", 0) for several channels; None where the output is no (1, C, H, W) map.
    """
    output = graph.outputs[0]
    if output.shape is None or len(output.shape) != 4 or output.shape[0] != 1:
        return None
    channels, *size = output.shape[1:]
    if not all(isinstance(side, int) and side > 1 for side in size):
        return None
    if channels != 1:
        return "argmax", 0.0
    node = producer(output)
    while node is not None and node.op in _MOVERS:
        node = producer(node.inputs[0])
    return "binary", 0.5 if node is not None and node.op in {"Sigmoid", "HardSigmoid"} else 0.0
