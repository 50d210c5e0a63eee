"""Outputs that reduce a tensor inside the engine, so that only a few numbers leave it."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import rank, unique_name

Reduction = Literal["ReduceMean", "ReduceMax", "ReduceMin"]

_AXES_ARE_INPUTS = 18
"""Opset from which the axes of these reductions are an input."""


def reduce_to_channels(
    graph: gs.Graph, reduction: Reduction, axes: Mapping[str, int]
) -> dict[str, str]:
    """Let a graph also return reductions of tensors over everything but their channels.

    Args:
        graph: Edited in place.
        reduction: The ONNX operator.
        axes: Tensor name -> its channel axis; tensors of known rank.

    Returns:
        Tensor name -> name of the new output, of shape (C,).
    """
    tensors = graph.tensors()
    found: dict[str, str] = {}
    for name, axis in axes.items():
        tensor = tensors[name]
        others = [i for i in range(rank(tensor) or 0) if i != axis % len(tensor.shape)]
        stem = unique_name(graph, f"{name}=>{reduction}")
        output = gs.Variable(stem, tensor.dtype, [tensor.shape[axis]])
        inputs, attrs = [tensor], {"axes": others, "keepdims": 0}
        if graph.opset >= _AXES_ARE_INPUTS:
            inputs.append(gs.Constant(f"{stem}/axes", np.array(attrs.pop("axes"), np.int64)))
        graph.nodes.append(gs.Node(reduction, f"{stem}/node", attrs, inputs, [output]))
        graph.outputs.append(output)
        found[name] = stem
    return found
