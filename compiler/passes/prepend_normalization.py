"""Let the network read 8-bit pixels, and compute itself what Normalize of its preprocessing did.

The steps of Normalize are one affine map per channel,

    y = s * x + t = s * (x - m), m = -t / s, x from 0 to 255

In front of the input go Cast (uint8 to float32), Sub (m) and Mul (s). In this order Mul meets the
first convolution, which takes it in (fuse_scale); so does Sub where no padding is in the way
(fuse_bias, or fold_normalization in int8), and otherwise costs one operation per pixel.

The input keeps its name and shape, and becomes uint8.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import unique_name
from compiler.passes.result import PassResult
from compiler.preprocess.ops import Normalize

Floats = NDArray[np.float64]


def prepend_normalization(graph: gs.Graph, *, steps: Sequence[Normalize]) -> PassResult:
    """Let the network read 8-bit pixels and normalize them itself.

    Args:
        graph: Has one float32 input, (N, C, H, W).
        steps: What the preprocessing did to the pixels; none means that it passed them on.

    Raises:
        ValueError: A mean or std has not one number per channel.
    """
    values = graph.inputs[0]
    pixels = gs.Variable(values.name, np.uint8, values.shape)
    values.name = unique_name(graph, f"{pixels.name}_normalized")
    graph.inputs = [pixels]
    scale, mean = _affine(steps, values.shape[1])
    chain: list[tuple[str, Floats | None]] = [("Cast", None)]
    if mean.any():
        chain.append(("Sub", mean))
    if (scale != 1).any():
        chain.append(("Mul", scale))
    tensor = pixels
    for op, operand in chain:
        tensor = _append(graph, op, tensor, operand)
    source = tensor.inputs[0]
    source.outputs = [values]
    graph.toposort()
    return PassResult("prepend_normalization", changed=1)


def _append(graph: gs.Graph, op: str, tensor: gs.Tensor, operand: Floats | None) -> gs.Variable:
    stem = graph.inputs[0].name
    node = gs.Node(op, unique_name(graph, f"{op}_{stem}"), inputs=[tensor])
    if operand is None:
        node.attrs["to"] = int(onnx.TensorProto.FLOAT)
    else:
        values = operand.astype(np.float32).reshape(1, -1, 1, 1)
        node.inputs.append(gs.Constant(unique_name(graph, f"{node.name}_operand"), values))
    result = gs.Variable(unique_name(graph, f"{node.name}_output"), np.float32, tensor.shape)
    node.outputs = [result]
    graph.nodes.append(node)
    return result


def _affine(steps: Sequence[Normalize], channels: int) -> tuple[Floats, Floats]:
    """(s, m), one of each per channel: all steps together are s * (x - m)."""
    scale, shift = np.ones(channels), np.zeros(channels)
    for step in steps:
        if step.div255:
            scale, shift = scale / 255, shift / 255
        if step.applies_mean_std:
            mean, std = (_per_channel(values, channels) for values in (step.mean, step.std))
            scale, shift = scale / std, (shift - mean) / std
    return scale, -shift / scale


def _per_channel(values: Sequence[float] | None, channels: int) -> Floats:
    vector = np.asarray(values, np.float64)
    if vector.size not in (1, channels):
        raise ValueError(f"Normalize has {vector.size} numbers for {channels} channel(s)")
    return np.broadcast_to(vector, (channels,))
