"""float16 networks in float32, where passes and calibration work.

Every float16 value is a float32 value, so weights do not change; results can only become more
exact. The types of inputs and outputs become float32 too.
"""

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.graph.convert import graph_and_subgraphs


def widen_float16(graph: gs.Graph) -> int:
    """Turn every float16 tensor of `graph` into float32, in place; returns how many."""
    widened = 0
    for each in graph_and_subgraphs(graph):
        borders = {tensor.name: tensor for tensor in [*each.inputs, *each.outputs]}
        for tensor in {**borders, **each.tensors()}.values():
            widened += _widen(tensor)
        for node in each.nodes:
            _widen_attributes(node)
    return widened


def _widen(tensor: gs.Tensor) -> bool:
    if tensor.dtype != np.float16:
        return False
    if isinstance(tensor, gs.Constant):
        tensor.values = tensor.values.astype(np.float32)
    else:
        tensor.dtype = np.dtype(np.float32)
    return True


def _widen_attributes(node: gs.Node) -> None:
    for key, value in node.attrs.items():
        if isinstance(value, gs.Constant):
            _widen(value)
        elif key in ("to", "dtype") and value in (onnx.TensorProto.FLOAT16, np.float16):
            node.attrs[key] = int(onnx.TensorProto.FLOAT)
