"""Fold a constant shift per channel into the bias of the Conv, ConvTranspose or Gemm beside it.

1. y + c and c + y: s = 1, t = c (see linear.py).
2. y - c: s = 1, t = -c.
3. c - y: s = -1, t = c.
4. c may be one number, or one per channel as it broadcasts: (C, 1, 1) or (1, C, 1, 1) at rank 4.

After the linear node comes first; before it only without padding, whose zeros are not shifted.
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


def fuse_bias(graph: gs.Graph) -> PassResult:
    """Fold a constant Add or Sub per channel into the Conv, ConvTranspose or Gemm beside it."""
    result = PassResult("fuse_bias")
    for node in [node for node in graph.nodes if node.op in ("Add", "Sub")]:
        operands = split_operands(node)
        if operands is None or not has_linear_neighbour(node, operands[0]):
            continue
        if reason := _fold(graph, node, *operands):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _fold(graph: gs.Graph, node: gs.Node, value: gs.Tensor, constant: gs.Constant) -> str | None:
    def affine(rank: int, channels: int) -> tuple[Floats, Floats] | str:
        shift = per_channel(constant.values, rank, channels)
        if shift is None:
            return f"'{constant.name}' of shape {constant.shape} is not one number per channel"
        sign = -1.0 if node.op == "Sub" and node.inputs[0] is constant else 1.0
        return np.full(channels, sign), -shift if node.op == "Sub" and sign > 0 else shift

    return fold_into_neighbour(graph, node, value, affine)
