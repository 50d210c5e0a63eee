"""From the outputs of a detector to boxes and scores, and to the coefficients of their masks.

With the place p = (x, y) of a box on its map, the stride s of that map, an anchor (w, h), and the
sigmoid σ(t) of logits t:

1. joined, split, rows, found: the network has decoded them.
2. bins: the distance to a side is the mean of 0 ... 15 weighted by the softmax of its 16 logits;
   corners = (p + 0.5 -/+ distances) * s; scores = σ(t). YOLOv8, 10, 11, 12.
   Source: Li et al., Generalized Focal Loss, arXiv:2006.04388, section 3.2; `DFL` and `dist2bbox`
   of ultralytics.
3. maps: centre = (a * σ(t) - (a - 1) / 2 + p) * s with a = 1 in YOLOv3 and, from the smallest
   stride, 1.2, 1.1, 1.05 in YOLOv4; size = exp(t) * (w, h).
   Source: Redmon and Farhadi, YOLOv3, arXiv:1804.02767, section 2.1; `scale_x_y` of yolov4.cfg.
   In YOLOv5, as in YOLOv7, a = 2 and size = (2 * σ(t))² * (w, h).
   Source: `Detect.forward` of ultralytics/yolov5.
4. offsets: centre = (t + p) * s, size = exp(t) * s.
   Source: Ge et al., YOLOX, arXiv:2107.08430; `decode_outputs` of its head.
5. priors: square boxes of size q with the centre of a cell: centre = (p + 0.5) * s + 0.1 * t * q,
   size = q * exp(0.2 * t); scores after Softmax; landmarks are not read.
   Source: Liu et al., SSD, arXiv:1512.02325, section 2.2; `PriorBox` and the variances of
   biubug6/Pytorch_Retinaface.

The score of a box for a class is its objectness, where it has one, times its score for the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.detector import Detection, Head
from compiler.graph.detector_forms import BINS
from compiler.graph.detector_masks import Masks
from compiler.passes.node_writer import NodeWriter

Floats = NDArray[np.float64]

_SCALES: Final = {
    "yolov5_nms": (2.0, 2.0, 2.0),
    "yolov4_nms": (1.2, 1.1, 1.05),
    "mmdet_yolov3_nms": (1.0, 1.0, 1.0),
}
"""How far centres reach beyond their cell: a of (3), from the smallest stride; the last goes on."""

_VARIANCES: Final = (0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Boxes:
    """What suppression reads.

    Args:
        boxes: (1, M, 4) in pixels: centre and size, or corners.
        corners: Which of both.
        scores: (1, M), of the best class.
        classes: (1, M), the best class; int64, of candidates float32.
        coefficients: (1, M, K), of the masks, if they are asked for.
    """

    boxes: gs.Tensor
    corners: bool
    scores: gs.Tensor
    classes: gs.Tensor
    coefficients: gs.Tensor | None = None


def decode_boxes(write: NodeWriter, head: Head, detection: Detection) -> Boxes:
    """Append what computes boxes and scores from the outputs of a network, in float32.

    With masks, also their coefficients, which are only put in order (see `detector_masks`).
    """
    tensors = {one.name: one for one in write.graph.outputs}
    outputs = [tensors[name] for name in head.outputs]
    if head.masks is None:
        return _boxes(write, outputs, head, detection)
    coefficients = [tensors[name] for name in head.masks.coefficients]
    if not coefficients:
        sizes = (4 + head.classes, head.masks.channels)
        *outputs, behind = write.split("rows_and_coefficients", outputs[0], 1, *sizes)
        coefficients = [behind]
    boxes = _boxes(write, outputs, head, detection)
    return replace(boxes, coefficients=_rows_of_coefficients(write, coefficients, head.masks))


def _boxes(
    write: NodeWriter, outputs: Sequence[gs.Tensor], head: Head, detection: Detection
) -> Boxes:
    match head.form:
        case "joined":
            boxes, scores = write.split("parts", outputs[0], 1, 4, head.classes)
            return _best(write, _rows_of(write, boxes), scores, axis=1)
        case "split":
            return _best(write, _rows_of(write, outputs[0]), outputs[1], axis=1)
        case "bins":
            return _from_bins(write, outputs, head, detection)
        case "found" | "found apart":
            return _from_found(write, outputs)
        case "priors":
            boxes = _from_priors(write, outputs[0], head, detection)
            _, faces = write.split("faces", outputs[1], 2, 1, 1)
            return _best(write, boxes, faces, axis=2)
        case "maps":
            rows = _rows_of_maps(write, outputs, head)
            logits, objectness, scores = write.split("parts", rows, 2, 4, 1, head.classes)
            boxes = _from_anchors(write, logits, head, detection)
            objectness, scores = (
                write.add(role, "Sigmoid", [one])
                for role, one in (("objectness", objectness), ("scores", scores))
            )
        case _:
            boxes, objectness, scores = write.split("parts", outputs[0], 2, 4, 1, head.classes)
            if head.form == "offsets":
                boxes = _from_offsets(write, boxes, head, detection)
    return _best(write, boxes, scores, axis=2, objectness=objectness)


def _best(
    write: NodeWriter,
    boxes: gs.Tensor,
    scores: gs.Tensor,
    *,
    axis: int,
    objectness: gs.Tensor | None = None,
    corners: bool = False,
) -> Boxes:
    """Each box with its best class; objectness is positive and does not change which that is."""
    numbers = write.add("best_class", "ArgMax", [scores], np.int64, axis=axis)
    best = write.add("best_score", "GatherElements", [scores, numbers], axis=axis)
    if objectness is not None:
        best = write.add("product", "Mul", [best, objectness])
    axes = write.constant("class_axis", np.array([axis]))
    classes = write.add("class", "Squeeze", [numbers, axes], np.int64)
    return Boxes(boxes, corners, write.add("score", "Squeeze", [best, axes]), classes)


def _rows_of(write: NodeWriter, boxes: gs.Tensor) -> gs.Variable:
    """(1, 4, M) -> (1, M, 4)."""
    return write.add("rows", "Transpose", [boxes], perm=[0, 2, 1])


def _rows_of_coefficients(
    write: NodeWriter, outputs: Sequence[gs.Tensor], masks: Masks
) -> gs.Variable:
    """(1, K, M), or maps (1, K, H, W) -> (1, M, K)."""
    flat = [write.reshape("coefficients", one, 1, masks.channels, -1) for one in outputs]
    joined = write.add("coefficients_of_all", "Concat", flat, axis=2)
    return write.add("coefficients_last", "Transpose", [joined], perm=[0, 2, 1])


def _from_found(write: NodeWriter, outputs: Sequence[gs.Tensor]) -> Boxes:
    count = int(outputs[0].shape[1])
    boxes, *others = outputs
    if not others:
        boxes, *others = write.split("parts", boxes, 2, 4, 1, 1)
    scores, labels = (write.reshape("row", one, 1, count) for one in others)
    labels.dtype = others[1].dtype
    whole = int(onnx.TensorProto.INT64)
    return Boxes(boxes, True, scores, write.add("class", "Cast", [labels], np.int64, to=whole))


def _from_bins(
    write: NodeWriter, outputs: Sequence[gs.Tensor], head: Head, detection: Detection
) -> Boxes:
    maps = [write.reshape("map", one, 1, 4 * BINS + head.classes, -1) for one in outputs]
    joined = write.add("maps", "Concat", maps, axis=2)
    logits, scores = write.split("parts", joined, 1, 4 * BINS, head.classes)
    shares = write.add("shares", "Softmax", [write.reshape("bins", logits, 1, 4, BINS, -1)], axis=2)
    numbers = write.constant("numbers", np.arange(BINS, dtype=np.float64).reshape(1, 1, -1, 1))
    weighted = write.add("weighted", "Mul", [shares, numbers])
    axes = write.constant("bins_axis", np.array([2]))
    distances = write.add("distances", "ReduceSum", [weighted, axes], keepdims=0)
    before, after = write.split("sides", _rows_of(write, distances), 2, 2, 2)
    cells = _cells(head, detection)
    middle = write.constant("middle", cells.points + 0.5)
    first = write.add("first", "Sub", [middle, before])
    last = write.add("last", "Add", [middle, after])
    corners = write.add("corners", "Concat", [first, last], axis=2)
    pixels = _affine(write, "pixels", corners, cells.strides)
    return _best(write, pixels, write.add("scores", "Sigmoid", [scores]), axis=1, corners=True)


def _rows_of_maps(write: NodeWriter, outputs: Sequence[gs.Tensor], head: Head) -> gs.Variable:
    """All maps as one tensor (1, M, 5 + C): by map, then anchor, row by row."""
    rows: list[gs.Tensor] = []
    for output in outputs:
        values: gs.Tensor = output
        if len(output.shape) == 4:
            parts = write.reshape("anchors", output, 1, head.anchors, 5 + head.classes, -1)
            values = write.add("numbers_last", "Transpose", [parts], perm=[0, 1, 3, 2])
        rows.append(write.reshape("map", values, 1, -1, 5 + head.classes))
    return write.add("maps", "Concat", rows, axis=1)


def _from_anchors(
    write: NodeWriter, logits: gs.Tensor, head: Head, detection: Detection
) -> gs.Variable:
    cells = _cells(head, detection)
    centre, size = write.split("centre_and_size", logits, 2, 2, 2)
    known = _SCALES[detection.kind]
    steps = np.array([*known, *[known[-1]] * len(detection.strides)])[cells.maps, None]
    shift = (cells.points - (steps - 1) / 2) * cells.strides
    centre = write.add("shares", "Sigmoid", [centre])
    sizes = np.reshape(detection.anchors, (len(detection.strides), head.anchors, 2))
    factor = sizes[cells.maps, cells.anchors]
    if detection.kind == "yolov5_nms":
        roots = write.add("roots", "Sigmoid", [size])
        size, factor = write.add("squares", "Mul", [roots, roots]), 4 * factor
    else:
        size = write.add("factors", "Exp", [size])
    return _joined(
        write,
        _affine(write, "centres", centre, steps * cells.strides, shift),
        _affine(write, "sizes", size, factor),
    )


def _from_offsets(
    write: NodeWriter, values: gs.Tensor, head: Head, detection: Detection
) -> gs.Variable:
    cells = _cells(head, detection)
    centre, size = write.split("centre_and_size", values, 2, 2, 2)
    size = write.add("factors", "Exp", [size])
    return _joined(
        write,
        _affine(write, "centres", centre, cells.strides, cells.points * cells.strides),
        _affine(write, "sizes", size, cells.strides),
    )


def _from_priors(
    write: NodeWriter, values: gs.Tensor, head: Head, detection: Detection
) -> gs.Variable:
    """All boxes of a cell follow one another."""
    cells = _cells(replace(head, anchors=1), detection)
    sizes = np.reshape(detection.anchors, (len(detection.strides), -1))[cells.maps].reshape(-1, 1)
    middle = np.repeat((cells.points + 0.5) * cells.strides, head.anchors, axis=0)
    centre, size = write.split("centre_and_size", values, 2, 2, 2)
    size = write.add("factors", "Exp", [_affine(write, "exponents", size, _VARIANCES[1])])
    return _joined(
        write,
        _affine(write, "centres", centre, _VARIANCES[0] * sizes, middle),
        _affine(write, "sizes", size, sizes),
    )


def _affine(
    write: NodeWriter,
    role: str,
    values: gs.Tensor,
    factor: Floats | float,
    shift: Floats | None = None,
) -> gs.Variable:
    """Multiply and add arrays of shape (M, 1) or (M, 2)."""
    scale = write.constant(f"{role}_factor", np.asarray(factor, np.float64))
    product = write.add(f"{role}_scaled", "Mul", [values, scale])
    if shift is None:
        return product
    return write.add(role, "Add", [product, write.constant(f"{role}_shift", shift)])


def _joined(write: NodeWriter, centre: gs.Tensor, size: gs.Tensor) -> gs.Variable:
    return write.add("boxes", "Concat", [centre, size], axis=2)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Where the boxes come from: by map, then anchor, row by row.

    Args:
        points: x and y on the map, (M, 2).
        strides: (M, 1).
        maps: Number of the map, (M,).
        anchors: Number of the anchor, (M,).
    """

    points: Floats
    strides: Floats
    maps: NDArray[np.int64]
    anchors: NDArray[np.int64]


def _cells(head: Head, detection: Detection) -> _Cells:
    height, width = head.size
    rows = []
    for number, stride in enumerate(detection.strides):
        sizes = (head.anchors, -(-height // stride), -(-width // stride))
        anchor, y, x = (one.ravel() for one in np.indices(sizes))
        rows.append(np.stack([x, y, np.full_like(x, number), anchor], axis=1))
    table = np.concatenate(rows)
    strides = np.array(detection.strides, np.float64)[table[:, 2], None]
    return _Cells(table[:, :2].astype(np.float64), strides, table[:, 2], table[:, 3])
