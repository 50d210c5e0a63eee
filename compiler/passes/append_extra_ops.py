"""Append what `graph.extra_ops` of the build file asks for.

1. softmax: Softmax over the classes of the single output, axis 1 for (N, C, H, W), else the last.
   The output keeps its name; the logits get a new one. A network that already ends in Softmax, or
   has several outputs, stays as it is, with a warning.
2. None and insert_odma (moving data on the device): nothing to do.
3. Every other type, such as the detectors' `*_nms`: the outputs stay as they are, with a warning.
"""

import onnx_graphsurgeon as gs

from compiler.graph.query import producer, rank, unique_name
from compiler.passes.result import PassResult

NOTHING = (None, "insert_odma")
PASSED_BY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def append_extra_ops(graph: gs.Graph, *, kind: str | None) -> PassResult:
    """Append the operators that graph.extra_ops of the build file names.

    Args:
        graph: Its outputs keep their names.
        kind: `graph.extra_ops.type` of the build file; an unknown one is a warning.
    """
    result = PassResult("append_extra_ops")
    if kind in NOTHING:
        return result
    if kind != "softmax":
        result.warnings.append(f"extra_ops '{kind}' is not compiled: outputs stay as they are")
    elif reason := _why_not(graph):
        result.warnings.append(f"extra_ops 'softmax': {reason}; outputs stay as they are")
    else:
        _append_softmax(graph)
        result.changed = 1
    return result


def _why_not(graph: gs.Graph) -> str | None:
    if len(graph.outputs) != 1:
        return f"it needs one output, the network has {len(graph.outputs)}"
    last = producer(graph.outputs[0])
    while last is not None and last.op in PASSED_BY:
        last = producer(last.inputs[0])
    if last is None:
        return "the output is not computed"
    return "the network already ends in Softmax" if last.op == "Softmax" else None


def _append_softmax(graph: gs.Graph) -> None:
    output = graph.outputs[0]
    logits = gs.Variable(unique_name(graph, f"{output.name}_logits"), output.dtype, output.shape)
    source = output.inputs[0]
    source.outputs = [logits if tensor is output else tensor for tensor in source.outputs]
    graph.nodes.append(
        gs.Node(
            "Softmax",
            name=unique_name(graph, f"Softmax_{output.name}"),
            attrs={"axis": 1 if rank(output) == 4 else -1},
            inputs=[logits],
            outputs=[output],
        )
    )
    graph.cleanup().toposort()
