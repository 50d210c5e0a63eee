"""Shape and element type of every tensor, from the graph inputs.

The other passes decide by shapes, and the bundle states them. Shapes that depend on values become
known as `fold_constants` turns those values into constants, hence both run until nothing changes.
"""

import onnx_graphsurgeon as gs

from compiler.graph import convert
from compiler.graph.query import is_static
from compiler.passes.result import PassResult, Skip


def infer_shapes(graph: gs.Graph) -> PassResult:
    """Compute the shape and element type of every tensor.

    Raises:
        ValueError: Shapes contradict each other.
    """
    result = PassResult("infer_shapes", changed=convert.infer_shapes(graph))
    for node in graph.nodes:
        for tensor in node.outputs:
            if tensor.name and not is_static(tensor):
                result.skipped.append(Skip(tensor.name, f"shape of {node.op} depends on values"))
    return result
