"""Common subexpressions: what is computed twice is computed once.

Two nodes are equal when op, attributes and inputs are; constants are equal when their type, shape
and bytes are. The constants themselves are not merged: sharing a weight between layers would only
stand in the way of passes that rewrite it.

Kept: random operators, and If, Loop, Scan, whose graphs would have to be compared.
"""

from collections import defaultdict
from collections.abc import Hashable

import onnx_graphsurgeon as gs

from compiler.graph.query import RANDOM_OPS, constant_value, replace_tensor, why_not_replace
from compiler.passes.result import PassResult, Skip


def merge_duplicates(graph: gs.Graph) -> PassResult:
    """Compute equal expressions once."""
    result = PassResult("merge_duplicates")
    alike: defaultdict[Hashable, list[gs.Node]] = defaultdict(list)
    for node in list(graph.nodes):
        if node.op in RANDOM_OPS or list(node.subgraphs()):
            continue
        seen = alike[_key(node)]
        twin = next((other for other in seen if _same_constants(node, other)), None)
        if twin is None:
            seen.append(node)
        elif reason := _why_not(graph, node, twin):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            for old, new in zip(list(node.outputs), list(twin.outputs), strict=True):
                replace_tensor(graph, old, new)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not(graph: gs.Graph, node: gs.Node, twin: gs.Node) -> str | None:
    pairs = zip(node.outputs, twin.outputs, strict=True)
    reasons = (why_not_replace(graph, old, new) for old, new in pairs)
    return next((reason for reason in reasons if reason), None)


def _key(node: gs.Node) -> Hashable:
    """Everything but the values of constant inputs: comparing those is worth it only after this."""
    attributes = tuple(sorted((name, _frozen(value)) for name, value in node.attrs.items()))
    inputs = tuple(_input_key(tensor) for tensor in node.inputs)
    outputs = tuple(bool(tensor.name) for tensor in node.outputs)
    return node.op, node.domain, repr(attributes), inputs, outputs


def _frozen(value: object) -> object:
    if isinstance(value, gs.Constant):
        return str(value.dtype), value.shape, value.values.tobytes()
    return value


def _input_key(tensor: gs.Tensor) -> Hashable:
    if isinstance(tensor, gs.Constant):
        return str(tensor.dtype), tuple(tensor.shape)
    return id(tensor) if tensor.name else None


def _same_constants(node: gs.Node, other: gs.Node) -> bool:
    for one, two in zip(node.inputs, other.inputs, strict=True):
        mine, theirs = constant_value(one), constant_value(two)
        if one is two or mine is None or theirs is None:
            continue
        if mine.tobytes() != theirs.tobytes():
            return False
    return True
