"""Fold a constant scale per channel into the Conv, ConvTranspose or Gemm beside it.

1. y * c and c * y: s = c, t = 0 (see linear.py).
2. y / c: s = 1 / c, t = 0; c / y is no scale and stays.
3. c may be one number, or one per channel as it broadcasts: (C, 1, 1) or (1, C, 1, 1) at rank 4.

After the linear node comes first; before it is always exact, as the padding of a scaled tensor
is zero too.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.passes.linear import (
    Floats,
    fold_into_neighbour,
    has_linear_neighbour,
    per_channel,
    split_operands,
)
from compiler.passes.result import PassResult, Skip


def fuse_scale(graph: gs.Graph) -> PassResult:
    """Fold a constant Mul or Div per channel into the Conv, ConvTranspose or Gemm beside it."""
    result = PassResult("fuse_scale")
    for node in [node for node in graph.nodes if node.op in ("Mul", "Div")]:
        operands = split_operands(node)
        if operands is None or not has_linear_neighbour(node, operands[0]):
            continue
        if reason := _why_not(node, *operands) or _fold(graph, node, *operands):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not(node: gs.Node, value: gs.Tensor, constant: gs.Constant) -> str | None:
    if node.op == "Mul":
        return None
    if node.inputs[0] is constant:
        return f"'{value.name}' is the divisor"
    return None if constant.values.all() else f"'{constant.name}' divides by zero"


def _fold(graph: gs.Graph, node: gs.Node, value: gs.Tensor, constant: gs.Constant) -> str | None:
    def affine(rank: int, channels: int) -> tuple[Floats, Floats] | str:
        scale = per_channel(constant.values, rank, channels)
        if scale is None:
            return f"'{constant.name}' of shape {constant.shape} is not one number per channel"
        return (1.0 / scale if node.op == "Div" else scale), np.zeros(channels)

    return fold_into_neighbour(graph, node, value, affine)
