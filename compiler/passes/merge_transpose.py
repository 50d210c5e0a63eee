"""Merge Transposes that follow each other, directly or across elementwise nodes.

With y = transpose(x, p) and z = transpose(y, q): z = transpose(x, [p[i] for i in q]).

1. Transpose, Transpose: the second reads x with the merged permutation; when that is the identity,
   the readers of z read x.
2. Transpose, elementwise nodes, Transpose with q inverse to p: an elementwise node does not care
   about the order of axes, so both go and the nodes between work in the order of x. Other operands
   between must hold one number, and nobody else may read the tensors between.
3. As 2 with permutations that do not cancel: left alone, nothing would be saved.
"""

import onnx_graphsurgeon as gs

from compiler.graph.query import only_reader, producer, rank, replace_tensor, why_not_replace
from compiler.passes.result import PassResult, Skip

# fmt: off
ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg",
    "Not", "Pow", "PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus",
    "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu",
})
# fmt: on


def merge_transpose(graph: gs.Graph) -> PassResult:
    """Merge Transposes that follow each other, directly or across elementwise nodes."""
    result = PassResult("merge_transpose")
    for second in [node for node in graph.nodes if node.op == "Transpose"]:
        between = _elementwise_above(graph, second)
        first = producer(_data(between[-1]) if between else second.inputs[0])
        if first is None or first.op != "Transpose":
            continue
        if reason := _why_not(first, between, second):
            result.skipped.append(Skip(second.outputs[0].name, reason))
        else:
            _merge(graph, first, between, second)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _elementwise_above(graph: gs.Graph, transpose: gs.Node) -> list[gs.Node]:
    """Elementwise nodes above `transpose`, nearest first, that only work for it."""
    found: list[gs.Node] = []
    tensor = transpose.inputs[0]
    while (
        (node := producer(tensor)) is not None
        and _is_elementwise(node)
        and only_reader(graph, tensor) is not None
    ):
        found.append(node)
        tensor = _data(node)
    return found


def _is_elementwise(node: gs.Node) -> bool:
    given = [tensor for tensor in node.inputs if tensor.name]
    constants = [tensor for tensor in given if isinstance(tensor, gs.Constant)]
    return (
        node.op in ELEMENTWISE
        and len(given) - len(constants) == 1
        and all(constant.values.size == 1 for constant in constants)
    )


def _data(node: gs.Node) -> gs.Tensor:
    return next(t for t in node.inputs if t.name and not isinstance(t, gs.Constant))


def _permutation(transpose: gs.Node) -> list[int]:
    """`perm`, or the reversed axes that stand for it; empty if even their number is unknown."""
    default = range(rank(transpose.inputs[0]) or 0)[::-1]
    return list(transpose.attrs.get("perm", default))


def _merged(first: gs.Node, second: gs.Node) -> list[int]:
    p, q = _permutation(first), _permutation(second)
    return [p[axis] for axis in q] if len(p) == len(q) else []


def _why_not(first: gs.Node, between: list[gs.Node], second: gs.Node) -> str | None:
    merged = _merged(first, second)
    if not merged:
        return "the two permutations differ in length, or their length is unknown"
    if between and merged != sorted(merged):
        return "the two permutations do not cancel"
    return None


def _merge(graph: gs.Graph, first: gs.Node, between: list[gs.Node], second: gs.Node) -> None:
    source, result = first.inputs[0], second.outputs[0]
    order, merged = _permutation(second), _merged(first, second)
    if between:
        top, moved = between[-1], first.outputs[0]
        top.inputs = [source if tensor is moved else tensor for tensor in top.inputs]
        for node in between:
            _permute_shape(node.outputs[0], order)
        source = between[0].outputs[0]
    if merged == sorted(merged) and why_not_replace(graph, result, source) is None:
        replace_tensor(graph, result, source)
    else:
        second.inputs, second.attrs = [source], {"perm": merged}


def _permute_shape(tensor: gs.Tensor, order: list[int]) -> None:
    if tensor.shape is not None:
        tensor.shape = [tensor.shape[axis] for axis in order]
