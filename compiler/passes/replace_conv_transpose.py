"""Replace ConvTranspose by Convs of its phases.

With stride s, kernel K (Cin, Cout/g, k, k) and pads p, per axis:

    y[o] = sum over q of x[q] K[o + p - s q]

which passes/phases.py computes by s x s Convs with ceil(k / s) taps or fewer; output_padding only
says how many y there are. k = s needs one 1x1 Conv, s = 1 one Conv with the kernel flipped. The
arithmetic is the same as that of ConvTranspose. What is won is ONNX Runtime's integer Conv: its
ConvTranspose computes in float32 only.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.graph.query import constant_value, is_static
from compiler.passes.draft import Draft
from compiler.passes.phases import TransposedConv, draft_phases
from compiler.passes.result import PassResult, Skip


def replace_conv_transpose(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Replace every ConvTranspose by Convs where that is cheaper."""
    result = PassResult("replace_conv_transpose")
    for node in [node for node in graph.nodes if node.op == "ConvTranspose"]:
        site = transposed_site(node)
        if isinstance(site, str):
            reason: str | None = site
        else:
            draft = Draft(graph, node.name)
            y = draft_phases(draft, site, cost.precision)
            reason = draft.replace(node.outputs[0], y, cost)
        if reason is None:
            result.changed += 1
        else:
            result.skipped.append(Skip(node.outputs[0].name, reason))
    return result


def transposed_site(node: gs.Node) -> TransposedConv | str:
    """The map that a ConvTranspose computes, or why it cannot be rewritten."""
    constants = [constant_value(tensor) for tensor in node.inputs[1:] if tensor.name]
    if any(values is None for values in constants):
        return "its weights are not constant"
    weight, *biases = [values.astype(np.float64) for values in constants if values is not None]
    if weight.ndim != 4:
        return "it is not two-dimensional"
    x, y = node.inputs[0], node.outputs[0]
    if not (is_static(x) and is_static(y)):
        return "its shapes are not static"
    if "SAME" in node.attrs.get("auto_pad", "") or "output_shape" in node.attrs:
        return "its pads follow from its output_shape or auto_pad"
    if any(step != 1 for step in node.attrs.get("dilations", ())):
        return "it has dilations"
    groups = int(node.attrs.get("group", 1))
    inputs, per_group, *taps = weight.shape
    kernel = weight.reshape(groups, inputs // groups, per_group, *taps).swapaxes(1, 2)
    down, across = node.attrs.get("strides", (1, 1))
    top, left, *_ = node.attrs.get("pads", (0, 0, 0, 0))
    return TransposedConv(
        x=x,
        kernel=kernel.reshape(groups * per_group, inputs // groups, *taps),
        bias=biases[0] if biases else np.zeros(groups * per_group),
        strides=(int(down), int(across)),
        start=(int(top), int(left)),
        size=(int(y.shape[2]), int(y.shape[3])),
        groups=groups,
    )
