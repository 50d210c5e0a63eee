"""Parts of the graph that do not depend on its inputs, computed once.

1. A node whose inputs are all constants becomes its result, computed by the ONNX reference.
2. Shape and Size of a tensor of known shape become numbers: exporters compute targets of Reshape,
   Resize and Expand from them, and after folding those targets are constants too.

Kept: random operators, quantization pairs, If, Loop and Scan, graph outputs, and results that would
grow the model by more than `limit` bytes (an Expand of one value to a feature map costs less to
run than to store and read).
"""

from typing import Any, Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from compiler.graph.query import RANDOM_OPS, constant_value, is_static, output_ids
from compiler.passes.result import PassResult, Skip

_KEPT: Final = RANDOM_OPS | {"QuantizeLinear", "DequantizeLinear"}

Arrays = list[NDArray[Any]]  # any element type that ONNX has


def fold_constants(graph: gs.Graph, *, limit: int = 1 << 20) -> PassResult:
    """Compute what does not depend on the inputs.

    Args:
        graph: Edited in place.
        limit: Bytes that a result may be larger than the constants it replaces.
    """
    result = PassResult("fold_constants")
    outputs = output_ids(graph)
    for node in list(graph.nodes):
        if not _is_constant(node):
            continue
        if reason := _why_not(node, outputs, limit):
            result.skipped.append(Skip(node.outputs[0].name, reason))
            continue
        values = _compute(graph, node)
        if reason := values if isinstance(values, str) else _too_large(node, values, limit):
            result.skipped.append(Skip(node.outputs[0].name, reason))
            continue
        tensors = list(node.outputs)
        node.outputs.clear()
        for tensor, value in zip(tensors, values, strict=True):
            tensor.to_constant(value)
        result.changed += 1
    graph.cleanup().toposort()
    return result


def _is_constant(node: gs.Node) -> bool:
    if node.op in _KEPT or list(node.subgraphs()):
        return False
    if node.op in ("Shape", "Size"):
        return is_static(node.inputs[0])
    return all(isinstance(tensor, gs.Constant) or not tensor.name for tensor in node.inputs)


def _why_not(node: gs.Node, outputs: set[int], limit: int) -> str | None:
    if any(id(tensor) in outputs for tensor in node.outputs):
        return "is a graph output"
    sizes = [
        int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
        for tensor in node.outputs
        if tensor.dtype is not None and is_static(tensor)
    ]
    return _growth(node, sum(sizes), limit)


def _too_large(node: gs.Node, values: Arrays, limit: int) -> str | None:
    return _growth(node, sum(value.nbytes for value in values), limit)


def _growth(node: gs.Node, size: int, limit: int) -> str | None:
    constants = [constant_value(tensor) for tensor in node.inputs]
    growth = size - sum(value.nbytes for value in constants if value is not None)
    return f"would add {growth} bytes to the model" if growth > limit else None


def _compute(graph: gs.Graph, node: gs.Node) -> Arrays | str:
    """Results of `node`, or why they cannot be computed."""
    if node.op in ("Shape", "Size"):
        return [_shape_or_size(node)]
    constants = {tensor.name: tensor for tensor in node.inputs if tensor.name}
    variables = {
        name: gs.Variable(name, tensor.dtype, tensor.shape) for name, tensor in constants.items()
    }
    outputs = [gs.Variable(tensor.name) for tensor in node.outputs]
    inputs = [variables.get(tensor.name, gs.Variable.empty()) for tensor in node.inputs]
    alone = gs.Graph(
        nodes=[node.copy(inputs=inputs, outputs=outputs)],
        inputs=list(variables.values()),
        outputs=[tensor for tensor in outputs if tensor.name],
        opset=graph.opset,
    )
    feeds = {name: tensor.values for name, tensor in constants.items()}
    try:
        with np.errstate(all="ignore"):
            evaluator = ReferenceEvaluator(gs.export_onnx(alone, do_type_check=False))
            values = evaluator.run(None, feeds)
    except Exception as error:  # the reference raises whatever its numpy code raises
        return f"the ONNX reference cannot compute {node.op}: {error}"
    if not all(isinstance(value, np.ndarray | np.generic) for value in values):
        return f"{node.op} does not return tensors"
    return [np.asarray(value) for value in values]


def _shape_or_size(node: gs.Node) -> NDArray[Any]:
    shape = node.inputs[0].shape
    if node.op == "Size":
        return np.array(int(np.prod(shape, dtype=np.int64)), dtype=np.int64)
    window = slice(node.attrs.get("start", 0), node.attrs.get("end"))
    return np.array(list(shape)[window], dtype=np.int64)
