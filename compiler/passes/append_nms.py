"""Turn the outputs of a detector into lists of fixed length: classes, scores, boxes.

With masks, the coefficients of the boxes make a fourth list; the prototypes stay as they are.

1. Boxes and scores are computed from the outputs (see `decode_boxes`); each box counts for its
   best class alone, as in the exports of these networks that suppress boxes themselves.
2. The boxes of the highest scores are candidates; of equal scores, ONNX Runtime takes the first
   as higher, OpenVINO any. A score that is too low, or no number, which would disturb the order of
   the others, counts as -1.
3. NonMaxSuppression keeps those above the score threshold that overlap no kept one of their class
   with a higher score by more than the IoU threshold. YOLOv10 has no such duplicates: there the
   score threshold alone decides.
4. What is kept moves to the front, in the order of the scores; -1 fills the other rows, but 0 those
   of the coefficients: no logit of such a mask is above 0. A kept candidate of position i gets the
   key K - i, every other one 0, and TopK sorts by the key: so no two of those kept are equal, and
   all shapes outside are fixed.

All of it computes in float32, whatever the precision of the network.

Source: Neubeck and Van Gool, Efficient Non-Maximum Suppression, ICPR 2006; ONNX, operator
NonMaxSuppression-11.
"""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike

from compiler.graph.convert import infer_shapes
from compiler.graph.detector import Detection, Head
from compiler.graph.query import is_static, producer, unique_name
from compiler.passes.decode_boxes import Boxes, decode_boxes
from compiler.passes.node_writer import NodeWriter
from compiler.passes.result import PassResult

STEM = "nms"
PROTOTYPES = "prototypes"
UNUSED = -1.0
NO_MASK = 0.0


def open_head(graph: gs.Graph, head: Head) -> None:
    """Let the outputs of a network be what the detections are computed from.

    Outputs that are not read go. Boxes, scores and coefficients of masks that only Concats have
    joined become outputs of their own: in int8, one scale for pixels and probabilities would leave
    nothing of the probabilities.
    """
    graph.outputs = [one for name in head.read for one in graph.outputs if one.name == name]
    sizes = [4, head.classes]
    if head.masks is not None and not head.masks.coefficients:
        sizes.append(head.masks.channels)
    if head.form == "joined" and (parts := _parts_of(graph.outputs[0], sizes)):
        graph.outputs = [*parts, *graph.outputs[1:]]
    graph.cleanup().toposort()


def _parts_of(tensor: gs.Tensor, sizes: list[int]) -> list[gs.Tensor]:
    """Computed tensors of these sizes along axis 1 that Concats join to this one; else none."""
    parts = [tensor]
    for place, size in enumerate(sizes):
        while place < len(parts) and is_static(parts[place]) and parts[place].shape[1] > size:
            last = producer(parts[place])
            if last is None or last.op != "Concat":
                return []
            parts[place : place + 1] = last.inputs
    computed = all(producer(one) is not None and is_static(one) for one in parts)
    return parts if computed and [one.shape[1] for one in parts] == sizes else []


def append_nms(graph: gs.Graph, *, head: Head, detection: Detection) -> PassResult:
    """Append what makes classes (1, N, 1), scores (1, N, 1) and boxes (1, N, 4) of the outputs.

    Boxes are xmin, ymin, xmax, ymax in pixels of the network's input, all three are float32, and N
    is `detection.boxes`, or the number of candidates if that is smaller. Rows that are not used
    hold -1. With masks there follow their coefficients (1, N, K), 0 in rows that are not used, and
    the prototypes (1, K, H, W) as the network computes them.

    Args:
        graph: Compiled, with float32 outputs as `head` says.
        head: From `find_head`.
        detection: From the build file.
    """
    write = NodeWriter(graph, STEM)
    boxes = decode_boxes(write, head, detection)
    count = min(detection.candidates, head.boxes)
    candidates = _candidates(write, boxes, count, detection)
    if detection.kind == "yolov10_nms":
        keys = _keys_above(write, candidates, count, detection)
    else:
        keys = _keys_kept(write, candidates, count, head, detection)
    lists = _in_order(write, candidates, keys, min(detection.boxes, count))
    graph.outputs = [*lists, *_prototypes(graph, head)]
    graph.cleanup().toposort()
    infer_shapes(graph)
    return PassResult("append_nms", changed=1)


def _candidates(write: NodeWriter, found: Boxes, count: int, detection: Detection) -> Boxes:
    """The boxes of the highest scores, in order, as corners; scores and classes (1, K) float32."""
    above = _above(write, found.scores, detection)
    no_score = write.constant("no_score", np.array(-1.0))
    high = write.add("high_scores", "Where", [above, found.scores, no_score])
    scores, chosen = _top(write, "candidates", high, count)
    numbers = write.add("numbers", "Squeeze", [chosen, _whole(write, "batch", [0])], np.int64)
    boxes = write.add("candidate_boxes", "Gather", [found.boxes, numbers], axis=1)
    if not found.corners:
        centre, size = write.split("halves", boxes, 2, 2, 2)
        half = write.add("half", "Mul", [size, write.constant("one_half", np.array(0.5))])
        first = write.add("minimum", "Sub", [centre, half])
        last = write.add("maximum", "Add", [centre, half])
        boxes = write.add("candidate_corners", "Concat", [first, last], axis=2)
    chosen = write.add("candidate_numbers", "Gather", [found.classes, numbers], np.int64, axis=1)
    classes = write.add("candidate_classes", "Cast", [chosen], to=int(onnx.TensorProto.FLOAT))
    coefficients = found.coefficients
    if coefficients is not None:
        inputs = [coefficients, numbers]
        coefficients = write.add("candidate_coefficients", "Gather", inputs, axis=1)
    return Boxes(boxes, True, scores, classes, coefficients)


def _keys_above(
    write: NodeWriter, candidates: Boxes, count: int, detection: Detection
) -> gs.Variable:
    """Keys (1, K) of the candidates whose scores are high enough."""
    above = _above(write, candidates.scores, detection)
    falling = write.constant("falling", np.arange(count, 0.0, -1.0)[None])
    return write.add("keys", "Where", [above, falling, write.constant("none", np.array(0.0))])


def _keys_kept(
    write: NodeWriter, candidates: Boxes, count: int, head: Head, detection: Detection
) -> gs.Variable:
    """Keys (1, K) of the candidates that suppression keeps."""
    axis = _whole(write, "class_axis", [1])
    classes = write.add("classes_row", "Unsqueeze", [candidates.classes, axis])
    scores = write.add("scores_row", "Unsqueeze", [candidates.scores, axis])
    numbers = write.constant("class_numbers", np.arange(float(head.classes)).reshape(1, -1, 1))
    own = write.add("own_class", "Equal", [classes, numbers], np.bool_)
    no_score = write.constant("no_score", np.array(-1.0))
    of_classes = write.add("class_scores", "Where", [own, scores, no_score])
    kept = write.add(
        "suppress",
        "NonMaxSuppression",
        [
            candidates.boxes,
            of_classes,
            _whole(write, "most", [min(detection.boxes, count)]),
            write.constant("overlap", np.array([detection.overlap])),
            write.constant("confidence", np.array([detection.confidence])),
        ],
        np.int64,
    )
    column = _whole(write, "box_column", 2)
    positions = write.add("positions", "Gather", [kept, column], np.int64, axis=1)
    falling = write.add("falling", "Sub", [_whole(write, "count", count), positions], np.int64)
    none = _whole(write, "none", np.zeros(count))
    keys = write.add("kept", "ScatterElements", [none, positions, falling], np.int64)
    floats = write.add("keys", "Cast", [keys], to=int(onnx.TensorProto.FLOAT))
    return write.add("keys_row", "Unsqueeze", [floats, _whole(write, "batch", [0])])


def _in_order(
    write: NodeWriter, candidates: Boxes, keys: gs.Tensor, rows: int
) -> list[gs.Variable]:
    """The lists, each an output of its own."""
    highest, places = _top(write, "order", keys, rows)
    numbers = write.add("places", "Squeeze", [places, _whole(write, "batch", [0])], np.int64)
    none = write.constant("none", np.array(0.0))
    used = write.add("used", "Greater", [highest, none], np.bool_)
    used = write.add("used_rows", "Unsqueeze", [used, _whole(write, "last", [2])], np.bool_)
    columns = [
        write.add("column", "Unsqueeze", [values, _whole(write, "last", [2])])
        for values in (candidates.classes, candidates.scores)
    ]
    lists = [
        ("classes", columns[0], UNUSED),
        ("scores", columns[1], UNUSED),
        ("boxes", candidates.boxes, UNUSED),
    ]
    if candidates.coefficients is not None:
        lists.append(("coefficients", candidates.coefficients, NO_MASK))
    outputs = []
    for name, values, unused in lists:
        chosen = write.add("chosen", "Gather", [values, numbers], axis=1)
        fill = write.constant("fill", np.array(unused))
        output = write.add("filled", "Where", [used, chosen, fill])
        output.name = unique_name(write.graph, name)
        outputs.append(output)
    return outputs


def _prototypes(graph: gs.Graph, head: Head) -> list[gs.Tensor]:
    """The network's own output under a plain name; none without masks."""
    if head.masks is None:
        return []
    (found,) = (one for one in graph.outputs if one.name == head.masks.prototypes)
    if found.name != PROTOTYPES:
        found.name = unique_name(graph, PROTOTYPES)
    return [found]


def _above(write: NodeWriter, scores: gs.Tensor, detection: Detection) -> gs.Variable:
    limit = write.constant("confidence", np.array(detection.confidence))
    # OpenVINO's Greater is true of NaN.
    return write.add("above", "Less", [limit, scores], np.bool_)


def _top(
    write: NodeWriter, role: str, values: gs.Tensor, count: int
) -> tuple[gs.Variable, gs.Variable]:
    """The largest `count` along the last axis, falling, and their numbers (int64)."""
    amount = _whole(write, f"{role}_count", [count])
    largest, numbers = write.add_many(role, "TopK", [values, amount], 2)
    numbers.dtype = np.dtype(np.int64)
    return largest, numbers


def _whole(write: NodeWriter, role: str, values: ArrayLike) -> gs.Constant:
    return write.constant(role, np.asarray(values, np.int64))
