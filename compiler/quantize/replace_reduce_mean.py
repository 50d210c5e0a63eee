"""Write a mean over height and width as GlobalAveragePool, which has an integer kernel.

    ReduceMean(x, axes = {2, 3}, keepdims = 1), x (N, C, H, W)  =  GlobalAveragePool(x)
With keepdims = 0 a Flatten follows: (N, C, 1, 1) -> (N, C).
"""

import onnx_graphsurgeon as gs

from compiler.graph.query import rank, unique_name


def replace_reduce_mean(graph: gs.Graph) -> int:
    """Rewrite every mean over height and width, in place.

    Args:
        graph: Opset 13 or later, shapes known.

    Returns:
        Number of nodes rewritten.
    """
    nodes = [node for node in graph.nodes if node.op == "ReduceMean" and _is_spatial(node)]
    for node in nodes:
        _replace(graph, node)
    graph.cleanup().toposort()
    return len(nodes)


def _is_spatial(node: gs.Node) -> bool:
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1 and isinstance(node.inputs[1], gs.Constant):
        axes = node.inputs[1].values.tolist()
    return rank(node.inputs[0]) == 4 and axes is not None and {axis % 4 for axis in axes} == {2, 3}


def _replace(graph: gs.Graph, node: gs.Node) -> None:
    keeps_dimensions = node.attrs.get("keepdims", 1)
    node.op, node.attrs, node.inputs = "GlobalAveragePool", {}, [node.inputs[0]]
    if keeps_dimensions:
        return
    mean = node.outputs[0]
    shape = None if mean.shape is None else [*mean.shape, 1, 1]
    pooled = gs.Variable(unique_name(graph, f"{mean.name}_pooled"), mean.dtype, shape)
    node.outputs = [pooled]
    name = unique_name(graph, f"{node.name}_flatten")
    graph.nodes.append(gs.Node("Flatten", name, {"axis": 1}, [pooled], [mean]))
