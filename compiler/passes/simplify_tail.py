"""Leave out what does not change a class map: monotone functions before ArgMax and a threshold.

1. ArgMax(f(x)) = ArgMax(x) where f is Softmax or LogSoftmax along the axis of ArgMax (exp grows,
   and what divides is common to all classes), or Sigmoid.
2. Greater(Sigmoid(x), 0.5) = Greater(x, 0), as Sigmoid grows and Sigmoid(0) = 0.5.

Exact but for ties by rounding: where f(x) of two classes is the same float, ArgMax(f(x)) is the
lower class and ArgMax(x) the one with the larger x; and Sigmoid(x) = 0.5 up to x = 6e-8, which is
no 1 before and is one after. So the values of a network's own outputs may change; the pass runs
where `graph.extra_ops` asks for a class map.

ArgMax never moves in front of a Resize: the largest of interpolated values is not the interpolation
of the largest, and a tenth of the pixels would change.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import constant_value, producer, rank, unique_name
from compiler.passes.result import PassResult, Skip

MONOTONE = ("Softmax", "LogSoftmax", "Sigmoid")


def simplify_tail(graph: gs.Graph) -> PassResult:
    """Leave out Softmax and Sigmoid in front of ArgMax, and Sigmoid in front of a threshold."""
    result = PassResult("simplify_tail")
    for node in [node for node in graph.nodes if node.op in ("ArgMax", "Greater")]:
        before = producer(node.inputs[0])
        if before is None or before.op not in MONOTONE:
            continue
        argmax = node.op == "ArgMax"
        reason = _why_not_argmax(node, before) if argmax else _why_not_threshold(node, before)
        if reason:
            result.skipped.append(Skip(node.outputs[0].name, reason))
            continue
        node.inputs[0] = before.inputs[0]
        if not argmax:
            half = node.inputs[1].values
            node.inputs[1] = gs.Constant(
                unique_name(graph, f"{node.name}_zero"), np.zeros_like(half)
            )
        result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not_argmax(argmax: gs.Node, before: gs.Node) -> str | None:
    if before.op == "Sigmoid":
        return None
    dims = rank(before.inputs[0])
    if dims is None:
        return f"the rank of '{before.inputs[0].name}' is unknown"
    same = before.attrs.get("axis", -1) % dims == argmax.attrs.get("axis", 0) % dims
    return None if same else f"{before.op} and ArgMax go along different axes"


def _why_not_threshold(greater: gs.Node, before: gs.Node) -> str | None:
    if before.op != "Sigmoid":
        return f"what exceeds a threshold after {before.op} depends on every class"
    threshold = constant_value(greater.inputs[1])
    half = threshold is not None and (threshold == 0.5).all()
    return None if half else "the threshold is not the constant 0.5"
