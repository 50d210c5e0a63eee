"""Write a Resize of some axes as a Resize of all, with scale 1 or the size as it is for the others.

Since opset 18 a Resize may name its axes. ONNX Runtime's layout optimizer loses them when it moves
an integer Resize, and other passes have one form to read. Not where the Resize keeps the aspect
ratio, which depends on the axes that are named.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import constant_value, is_static, unique_name
from compiler.passes.result import PassResult, Skip


def normalize_resize(graph: gs.Graph) -> PassResult:
    """Let every Resize name the scales or sizes of all axes."""
    result = PassResult("normalize_resize")
    for node in [node for node in graph.nodes if node.op == "Resize" and "axes" in node.attrs]:
        if reason := _why_not(node):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            _spread(graph, node)
            result.changed += 1
    return result


def _why_not(node: gs.Node) -> str | None:
    if node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "it keeps the aspect ratio"
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "it crops"
    if not is_static(node.inputs[0]):
        return "its shape is not static"
    given = [tensor for tensor in node.inputs[2:] if tensor.name]
    if any(constant_value(tensor) is None for tensor in given):
        return f"'{given[0].name}' is not constant"
    return None


def _spread(graph: gs.Graph, node: gs.Node) -> None:
    shape = [int(size) for size in node.inputs[0].shape]
    axes = [int(axis) % len(shape) for axis in node.attrs.pop("axes")]
    for position, rest in ((2, np.ones(len(shape), np.float32)), (3, np.array(shape, np.int64))):
        if len(node.inputs) <= position or not node.inputs[position].name:
            continue
        rest[axes] = np.asarray(constant_value(node.inputs[position]))
        name = unique_name(graph, f"{node.inputs[position].name}_of_all_axes")
        inputs = list(node.inputs)
        inputs[position] = gs.Constant(name, rest)
        node.inputs = inputs
