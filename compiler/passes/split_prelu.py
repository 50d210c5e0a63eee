"""Write PRelu as operators that the engine computes in the layout of the convolutions.

    PRelu(x) = x if x >= 0, else s x  =  (1 - s) Relu(x) + s x

for finite x. The two products cancel, which costs |s| + |1 - s| roundings; slopes above 4 are left
alone. ONNX Runtime's PRelu takes 1.4 ns per element (scalar code)
and knows the plain layout only, so that the convolutions around it reorder their tensors as well.
The four operators take a fifth of that: Relu joins the convolution before it, and the products with
one constant per channel become depthwise convolutions, the second of which adds the first.
"""

from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import constant_value, is_static, replace_tensor, why_not_replace
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip

STEEPEST: Final = 4


def split_prelu(graph: gs.Graph) -> PassResult:
    """Write PRelu as Relu, products with constants and a sum."""
    result = PassResult("split_prelu")
    for node in [node for node in graph.nodes if node.op == "PRelu"]:
        reason = _split(graph, node)
        if reason is None:
            result.changed += 1
        else:
            result.skipped.append(Skip(node.outputs[0].name, reason))
    graph.cleanup().toposort()
    return result


def _split(graph: gs.Graph, node: gs.Node) -> str | None:
    """Replace `node`; or why not."""
    x, y = node.inputs[0], node.outputs[0]
    slope = constant_value(node.inputs[1])
    if slope is None:
        return f"its slope '{node.inputs[1].name}' is not constant"
    if np.abs(slope).max() > STEEPEST:
        return f"its slope {np.abs(slope).max():g} is above {STEEPEST}"
    if not is_static(x) or x.dtype != np.float32:
        return "its shape is not static or its type not float32"
    draft = Draft(graph, node.name)
    s = slope.astype(np.float64)
    positive = draft.add("Relu", [x], x.shape, role="relu")
    positive = draft.add("Mul", [positive, draft.constant("rest", 1 - s)], x.shape, role="positive")
    sloped = draft.add("Mul", [x, draft.constant("slope", s)], x.shape, role="sloped")
    new = draft.add("Add", [positive, sloped], x.shape, role="sum")
    if reason := why_not_replace(graph, y, new):
        draft.discard()
        return reason
    graph.nodes.extend(draft.nodes)
    replace_tensor(graph, y, new)
    return None
