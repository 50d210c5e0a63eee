"""What no graph output depends on.

1. Nodes and constants without a path to a graph output.
2. Trailing outputs that their operator declares optional and nobody reads, such as the indices of
   MaxPool: runtimes choose slower kernels where they are asked for.

Graph inputs stay, also unread ones: callers feed them.
"""

import onnx
import onnx_graphsurgeon as gs

from compiler.graph.query import output_ids
from compiler.passes.result import PassResult


def remove_dead(graph: gs.Graph) -> PassResult:
    """Remove nodes and optional outputs that nobody reads."""
    before = len(graph.nodes)
    graph.cleanup().toposort()
    outputs = output_ids(graph)
    trimmed = sum(_trim(graph, node, outputs) for node in graph.nodes)
    return PassResult("remove_dead", changed=before - len(graph.nodes) + trimmed)


def _trim(graph: gs.Graph, node: gs.Node, outputs: set[int]) -> bool:
    formal = onnx.defs.get_schema(node.op, graph.opset, node.domain or "").outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    before = len(node.outputs)
    while formal[min(len(node.outputs), len(formal)) - 1].option == optional:
        last = node.outputs[-1]
        if last.outputs or id(last) in outputs:
            break
        node.outputs.pop()
    return len(node.outputs) < before
