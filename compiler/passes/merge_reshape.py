"""Merge Reshape, Flatten, Squeeze and Unsqueeze nodes that follow each other.

None of them moves a value in memory, so of a chain only the last shape counts.

1. Two or more in a row with a static last shape: the last becomes a Reshape of the first's input.
2. When that input already has the shape: the whole chain goes.
3. Last shape dynamic, or with an empty axis (0 would mean "copy" in Reshape): left alone.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import (
    is_static,
    producer,
    replace_tensor,
    unique_name,
    why_not_replace,
)
from compiler.passes.result import PassResult, Skip

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def merge_reshape(graph: gs.Graph) -> PassResult:
    """Merge Reshape, Flatten, Squeeze and Unsqueeze nodes that follow each other."""
    result = PassResult("merge_reshape")
    for second in [node for node in graph.nodes if node.op in RESHAPES]:
        first = producer(second.inputs[0])
        if first is None or first.op not in RESHAPES:
            continue
        output = second.outputs[0]
        if reason := _why_not(output):
            result.skipped.append(Skip(output.name, reason))
        else:
            _merge(graph, first.inputs[0], second)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not(output: gs.Tensor) -> str | None:
    if not is_static(output):
        return f"the shape of '{output.name}' is not static"
    return f"'{output.name}' has an empty axis" if 0 in output.shape else None


def _merge(graph: gs.Graph, source: gs.Tensor, second: gs.Node) -> None:
    output = second.outputs[0]
    shape = list(output.shape)
    if (
        source.shape is not None
        and list(source.shape) == shape
        and why_not_replace(graph, output, source) is None
    ):
        replace_tensor(graph, output, source)
        return
    name = unique_name(graph, f"{second.name}.shape")
    second.op, second.attrs = "Reshape", {}
    second.inputs = [source, gs.Constant(name, np.array(shape, np.int64))]
