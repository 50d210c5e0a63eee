"""Move an activation up over nodes that only move values, to the nodes that compute them.

f(move(x)) = move(f(x)) for every elementwise f and every move: bit-exact. Rewrites that interleave
phases put Reshape, Transpose, Concat and Slice between a Conv and its activation. In front of them
the engine computes it inside the Conv, and in int8 the values are rounded once, after it.

Only if every value comes from a Conv, ConvTranspose, MatMul or Add that nothing else reads before
it is moved; otherwise the activation would be one more node.
"""

from typing import Final

import onnx_graphsurgeon as gs

from compiler.cost.model import ACTIVATIONS
from compiler.graph.query import (
    DRAFTED,
    only_reader,
    origin_of,
    producer,
    replace_tensor,
    unique_name,
    why_not_replace,
)
from compiler.passes.result import PassResult, Skip

#: Operators that move the values of their inputs; Concat of all of them, the others of the first.
MOVERS: Final = frozenset({"Reshape", "Transpose", "Concat", "Slice", "DepthToSpace"})
COMPUTES: Final = frozenset({"Conv", "ConvTranspose", "MatMul", "Add"})


def hoist_activation(graph: gs.Graph) -> PassResult:
    """Move every activation after moved values of a Conv to that Conv."""
    result = PassResult("hoist_activation")
    for node in [node for node in graph.nodes if node.op in ACTIVATIONS]:
        moved = node.inputs[0]
        if not _is_moved(moved):
            continue
        if reason := _why_not(graph, node, moved):
            result.skipped.append(Skip(node.outputs[0].name, reason))
            continue
        sources = {id(source): source for source in _sources(moved)}
        for source in sources.values():
            _apply(graph, node, source)
        replace_tensor(graph, node.outputs[0], moved)
        result.changed += 1
    graph.cleanup().toposort()
    return result


def _is_moved(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    return node is not None and node.op in MOVERS


def _why_not(graph: gs.Graph, node: gs.Node, moved: gs.Tensor) -> str | None:
    output = node.outputs[0]
    dynamic = [one.name for one in node.inputs[1:] if one.name and not isinstance(one, gs.Constant)]
    if dynamic:
        return f"not constant: {', '.join(dynamic)}"
    for tensor in [moved, *_moved_tensors(moved)]:
        if only_reader(graph, tensor) is None:
            return f"'{tensor.name}' has another reader"
    for source in _sources(moved):
        before = producer(source)
        if before is None or before.op not in COMPUTES:
            return f"'{source.name}' is not computed by {', '.join(sorted(COMPUTES))}"
    return why_not_replace(graph, output, moved)


def _inputs_moved(tensor: gs.Tensor) -> list[gs.Tensor]:
    node = producer(tensor)
    if node is None or node.op not in MOVERS:
        return []
    return list(node.inputs) if node.op == "Concat" else [node.inputs[0]]


def _moved_tensors(tensor: gs.Tensor) -> list[gs.Tensor]:
    """The tensors between the sources of `tensor` and itself, sources included."""
    before = _inputs_moved(tensor)
    return before + [inner for one in before for inner in _moved_tensors(one)]


def _sources(tensor: gs.Tensor) -> list[gs.Tensor]:
    """The tensors whose values `tensor` shows, moved."""
    before = _inputs_moved(tensor)
    return [source for one in before for source in _sources(one)] if before else [tensor]


def _apply(graph: gs.Graph, activation: gs.Node, source: gs.Tensor) -> None:
    """Let everything that reads `source` read activation(source)."""
    name = unique_name(graph, f"{origin_of(activation.name)}{DRAFTED}hoisted")
    result = gs.Variable(name, source.dtype, source.shape)
    replace_tensor(graph, source, result)
    inputs = [source, *activation.inputs[1:]]
    graph.nodes.append(gs.Node(activation.op, name, dict(activation.attrs), inputs, [result]))
