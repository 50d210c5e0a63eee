"""Append what `graph.extra_ops` of the build file asks for.

1. softmax: Softmax over the classes of the single output, axis 1 for (N, C, H, W), else the last.
2. argmax: the number of the largest class, along the same axis, which stays with length 1; uint8
   up to 256 classes, else int64. Of equal classes the lowest wins.
3. threshold: 1 where the output exceeds 0.5 after a Sigmoid, 0 otherwise (a logit), uint8.
4. None and insert_odma (moving data on the device): nothing to do.
5. The detectors' `*_nms`: outputs that are not read go. `append_nms` does the rest when the network
   is compiled: before that, what its outputs lose can be told, of lists of boxes hardly anything.
6. Every other type, such as those for point clouds: the outputs stay as they are, with a warning.

In 1 to 3 the output keeps its name, and the scores get a new one. A network that has several
outputs, or ends in what is asked for, or whose outputs are not those of the detector, stays as it
is, with a warning.
"""

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.graph.detector import Detection, find_head
from compiler.graph.head import class_axis, is_class_map, threshold_of
from compiler.graph.query import is_static, producer, unique_name
from compiler.passes.append_nms import open_head
from compiler.passes.result import PassResult

NOTHING = (None, "insert_odma")
CLASS_MAPS = ("argmax", "threshold")
MOST_BYTES = 256  # classes that uint8 can number
PASSED_BY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def append_extra_ops(
    graph: gs.Graph, *, kind: str | None, detection: Detection | None = None
) -> PassResult:
    """Append the operators that graph.extra_ops of the build file names.

    Args:
        graph: Its outputs keep their names; the type and shape of a class map are its own.
        kind: `graph.extra_ops.type` of the build file; an unknown one is a warning.
        detection: For the detectors' types, what the build file says besides.
    """
    result = PassResult("append_extra_ops")
    if kind in NOTHING:
        return result
    if detection is not None:
        head = find_head(graph, detection)
        if isinstance(head, str):
            result.warnings.append(f"extra_ops '{kind}': {head}; outputs stay as they are")
        else:
            open_head(graph, head)
            result.changed = 1
    elif kind not in ("softmax", *CLASS_MAPS):
        result.warnings.append(f"extra_ops '{kind}' is not compiled: outputs stay as they are")
    elif reason := _why_not(graph, kind):
        result.warnings.append(f"extra_ops '{kind}': {reason}; outputs stay as they are")
    else:
        {"softmax": _softmax, "argmax": _argmax, "threshold": _threshold}[kind](graph)
        graph.cleanup().toposort()
        result.changed = 1
    return result


def _why_not(graph: gs.Graph, kind: str) -> str | None:
    if len(graph.outputs) != 1:
        return f"it needs one output, the network has {len(graph.outputs)}"
    (output,) = graph.outputs
    last = producer(output)
    while last is not None and last.op in PASSED_BY:
        last = producer(last.inputs[0])
    if last is None:
        return "the output is not computed"
    if kind == "softmax":
        return "the network already ends in Softmax" if last.op == "Softmax" else None
    if is_class_map(output):
        return "the network already ends in class numbers"
    if kind == "threshold":
        return None
    if not is_static(output):
        return "the shape of the output is not known"
    one = output.shape[class_axis(output)] == 1
    return "the output has one channel, which threshold is for" if one else None


def _softmax(graph: gs.Graph) -> None:
    output = graph.outputs[0]
    logits = _take_over(graph, "logits")
    _append(graph, "Softmax", [logits], output, axis=class_axis(output))


def _argmax(graph: gs.Graph) -> None:
    output, axis = graph.outputs[0], class_axis(graph.outputs[0])
    scores = _take_over(graph, "scores")
    output.dtype, output.shape = np.dtype(np.int64), list(scores.shape)
    output.shape[axis] = 1
    number = output
    if scores.shape[axis] <= MOST_BYTES:
        number = gs.Variable(unique_name(graph, f"{output.name}_class"), np.int64, output.shape)
        _append_cast(graph, number, output)
    _append(graph, "ArgMax", [scores], number, axis=axis, keepdims=1)


def _threshold(graph: gs.Graph) -> None:
    output = graph.outputs[0]
    value = np.array(threshold_of(output), np.float32)
    scores = _take_over(graph, "scores")
    above = gs.Variable(unique_name(graph, f"{output.name}_above"), np.bool_, output.shape)
    limit = gs.Constant(unique_name(graph, f"{output.name}_threshold"), value)
    _append(graph, "Greater", [scores, limit], above)
    _append_cast(graph, above, output)


def _take_over(graph: gs.Graph, role: str) -> gs.Variable:
    """A tensor that takes the place of the output behind its producer."""
    output = graph.outputs[0]
    name = unique_name(graph, f"{output.name}_{role}")
    scores = gs.Variable(name, output.dtype, output.shape)
    source = output.inputs[0]
    source.outputs = [scores if tensor is output else tensor for tensor in source.outputs]
    return scores


def _append_cast(graph: gs.Graph, source: gs.Variable, output: gs.Variable) -> None:
    output.dtype = np.dtype(np.uint8)
    _append(graph, "Cast", [source], output, to=int(onnx.TensorProto.UINT8))


def _append(
    graph: gs.Graph, op: str, inputs: list[gs.Tensor], output: gs.Variable, **attrs: int
) -> None:
    name = unique_name(graph, f"{op}_{output.name}")
    graph.nodes.append(gs.Node(op, name, dict(attrs), inputs, [output]))
