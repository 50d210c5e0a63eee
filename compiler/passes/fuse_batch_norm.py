"""Fold BatchNormalization into the Conv, ConvTranspose or Gemm beside it.

    z = gamma * (y - mean) / sqrt(var + eps) + beta = s * y + t
with
    s = gamma / sqrt(var + eps),  t = beta - mean * s,  both per channel, in double precision.

1. BatchNormalization reads a linear node: folded into it (see linear.py).
2. BatchNormalization feeds a linear node: folded where exact, that is without padding or at t = 0.
3. In training mode, with parameters that are not constant, or with no such neighbour: left alone.

Source: Ioffe and Szegedy, "Batch Normalization", 2015, section 3.1 (inference form).
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.passes.linear import Floats, fold_into_neighbour
from compiler.passes.result import PassResult, Skip


def fuse_batch_norm(graph: gs.Graph) -> PassResult:
    """Fold each BatchNormalization into the Conv, ConvTranspose or Gemm beside it."""
    result = PassResult("fuse_batch_norm")
    for norm in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        reason = _why_not(norm) or _fold(graph, norm)
        if reason:
            result.skipped.append(Skip(norm.outputs[0].name, reason))
        else:
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not(norm: gs.Node) -> str | None:
    if norm.attrs.get("training_mode", 0) or len(norm.outputs) > 1:
        return "it is in training mode"
    dynamic = [tensor.name for tensor in norm.inputs[1:] if not isinstance(tensor, gs.Constant)]
    return f"not constant: {', '.join(dynamic)}" if dynamic else None


def _fold(graph: gs.Graph, norm: gs.Node) -> str | None:
    return fold_into_neighbour(graph, norm, norm.inputs[0], lambda rank, channels: _affine(norm))


def _affine(norm: gs.Node) -> tuple[Floats, Floats]:
    gamma, beta, mean, var = (tensor.values.astype(np.float64) for tensor in norm.inputs[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = gamma / np.sqrt(var + norm.attrs.get("epsilon", 1e-5))
        return scale, beta - mean * scale
