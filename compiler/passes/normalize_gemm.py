"""Bring fully connected layers to one form: Gemm with alpha = beta = transB = 1 and transA = 0.

    alpha * A B + beta * C = A (alpha * B^T)^T + beta * C
1. Gemm: alpha goes into B, beta into C, and B is stored transposed, as (outputs, inputs).
   C becomes one number per output, shape (outputs,), where it broadcasts from that.
2. MatMul of a matrix by a constant matrix, followed by Add of a constant bias: becomes such a Gemm.
3. transA = 1, operands that would have to change but are not constant, MatMul of a higher rank:
   left alone.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import only_reader, rank, unique_name
from compiler.passes.linear import Floats, per_channel, split_operands
from compiler.passes.result import PassResult, Skip


def normalize_gemm(graph: gs.Graph) -> PassResult:
    """Bring Gemm, and MatMul with bias, to Gemm with alpha = beta = transB = 1."""
    result = PassResult("normalize_gemm")
    for gemm in [node for node in graph.nodes if node.op == "Gemm" and not _is_normal(node)]:
        if reason := _why_not_gemm(gemm):
            result.skipped.append(Skip(gemm.outputs[0].name, reason))
        else:
            _normalize(graph, gemm)
            result.changed += 1
    for matmul in [node for node in graph.nodes if node.op == "MatMul"]:
        add = _bias_add(graph, matmul)
        if add is None:
            continue
        if reason := _why_not_matmul(matmul, add):
            result.skipped.append(Skip(matmul.outputs[0].name, reason))
        else:
            _merge(graph, matmul, add)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _attributes(gemm: gs.Node) -> tuple[float, float, int, int]:
    """Alpha, beta, transA, transB."""
    attrs = gemm.attrs
    return (
        attrs.get("alpha", 1.0),
        attrs.get("beta", 1.0),
        attrs.get("transA", 0),
        attrs.get("transB", 0),
    )


def _bias(gemm: gs.Node) -> gs.Tensor | None:
    return next((tensor for tensor in gemm.inputs[2:] if tensor.name), None)


def _is_normal(gemm: gs.Node) -> bool:
    return _attributes(gemm) == (1.0, 1.0, 0, 1) and not _is_vector_in_disguise(gemm)


def _is_vector_in_disguise(gemm: gs.Node) -> bool:
    """Whether C broadcasts from one constant per output, but has another shape."""
    weight, bias = gemm.inputs[1], _bias(gemm)
    if not (isinstance(weight, gs.Constant) and isinstance(bias, gs.Constant)):
        return False
    outputs = int(weight.shape[0 if gemm.attrs.get("transB", 0) else 1])
    return bias.shape != (outputs,) and per_channel(bias.values, 2, outputs) is not None


def _why_not_gemm(gemm: gs.Node) -> str | None:
    _, beta, trans_a, _ = _attributes(gemm)
    weight, bias = gemm.inputs[1], _bias(gemm)
    if trans_a:
        return "transA = 1: its input is transposed"
    if not isinstance(weight, gs.Constant):
        return f"'{weight.name}' is not constant"
    if beta != 1.0 and bias is not None and not isinstance(bias, gs.Constant):
        return f"'{bias.name}' is not constant"
    return None if weight.dtype.kind == "f" else f"'{weight.name}' is not floating-point"


def _normalize(graph: gs.Graph, gemm: gs.Node) -> None:
    alpha, beta, _, trans_b = _attributes(gemm)
    weight, bias = gemm.inputs[1], _bias(gemm)
    if (alpha, trans_b) != (1.0, 1):
        values = weight.values if trans_b else weight.values.T
        weight = _constant(graph, gemm, "weight", alpha * values.astype(np.float64), weight)
    if isinstance(bias, gs.Constant):
        values = beta * bias.values.astype(np.float64)
        vector = per_channel(values, 2, weight.shape[0])
        bias = _constant(graph, gemm, "bias", values if vector is None else vector, bias)
    gemm.inputs = [gemm.inputs[0], weight, *([] if bias is None else [bias])]
    gemm.attrs = {"transB": 1}


def _constant(
    graph: gs.Graph, node: gs.Node, role: str, values: Floats, old: gs.Constant
) -> gs.Constant:
    values = np.ascontiguousarray(values.astype(old.dtype))
    return gs.Constant(unique_name(graph, f"{node.name}.{role}"), values)


def _bias_add(graph: gs.Graph, matmul: gs.Node) -> gs.Node | None:
    """The Add of a constant that alone reads a product with a constant matrix."""
    weight = matmul.inputs[1]
    if not isinstance(weight, gs.Constant) or len(weight.shape) != 2 or weight.dtype.kind != "f":
        return None
    add = only_reader(graph, matmul.outputs[0])
    return add if add is not None and add.op == "Add" and split_operands(add) else None


def _why_not_matmul(matmul: gs.Node, add: gs.Node) -> str | None:
    value, weight = matmul.inputs
    if rank(value) != 2:
        return f"'{value.name}' has rank {rank(value) or 'unknown'}; Gemm takes 2"
    bias = _added(add)
    if per_channel(bias.values, 2, weight.shape[1]) is None:
        return f"'{bias.name}' of shape {bias.shape} is not one number per output"
    return None


def _added(add: gs.Node) -> gs.Constant:
    return next(tensor for tensor in add.inputs if isinstance(tensor, gs.Constant))


def _merge(graph: gs.Graph, matmul: gs.Node, add: gs.Node) -> None:
    """MatMul becomes the Gemm and keeps its name; the result keeps the name of Add's output."""
    value, weight = matmul.inputs
    bias = _added(add)
    matmul.op, matmul.attrs = "Gemm", {"transB": 1}
    vector = np.broadcast_to(bias.values.reshape(-1), weight.shape[1:])
    matmul.inputs = [
        value,
        _constant(graph, matmul, "weight", weight.values.T, weight),
        _constant(graph, matmul, "bias", vector, bias),
    ]
    outputs = list(add.outputs)
    add.outputs.clear()
    matmul.outputs = outputs
