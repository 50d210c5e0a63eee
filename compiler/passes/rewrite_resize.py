"""Compute a Resize as two matrix products where that is faster than the engine's own loop.

With the operators V and H of `interpolation`, resize(x)[n, c] = V @ (x[n, c] @ H.T), exact for
every mode. The second factor is dense and small, as it acts on the low rows; V is applied in
strips. ONNX Runtime interpolates the plain layout pixel by pixel, which takes several times as
long, and cubic interpolation many times.
"""

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.draft import Draft
from compiler.passes.interpolation import upsampled
from compiler.passes.result import PassResult, Skip
from compiler.passes.strips import multiply


def rewrite_resize(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compute a Resize as two matrix products where that is faster."""
    result = PassResult("rewrite_resize")
    for node in [node for node in graph.nodes if node.op == "Resize"]:
        output = node.outputs[0]
        draft = Draft(graph, node.name)
        new = _draft(draft, output, cost)
        reason = new if isinstance(new, str) else draft.replace(output, new, cost)
        if reason:
            result.skipped.append(Skip(output.name, reason))
        else:
            result.changed += 1
    return result


def _draft(draft: Draft, output: gs.Tensor, cost: CostModel) -> gs.Variable | str:
    if output.dtype != np.float32:
        return "it is not float32"
    if output.inputs[0].attrs.get("mode", "nearest") == "nearest":
        return "copying nearest neighbours takes no arithmetic"
    found = upsampled(output)
    if isinstance(found, str):
        return found
    shape = [int(size) for size in found.low.shape]
    across = draft.constant("horizontal/weights", found.horizontal.T)
    wide = draft.add(
        "MatMul", [found.low, across], [*shape[:3], len(found.horizontal)], role="horizontal"
    )
    return multiply(draft, found.vertical[:, :, None], wide, cost, role="vertical")
