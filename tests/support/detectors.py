"""Networks whose outputs are whatever a test writes into their image, and a small YOLOv8."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compiler.graph.convert import infer_shapes, to_graph
from compiler.graph.detector import Detection

SIDE = 64
CELLS = 84  # places of the maps of strides 8, 16 and 32: 64 + 16 + 4

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float32]


def network(
    outputs: Mapping[str, Sequence[int]], *, opset: int = 17, labels: str | None = None
) -> gs.Graph:
    """A graph that cuts its image (1, 3, 64, 64) into outputs of these shapes.

    Args:
        outputs: Name -> shape.
        opset: Of the graph.
        labels: Name of an output that is int64.
    """
    flat = prod((1, 3, SIDE, SIDE))
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["pixels"])]
    weights = [_whole("flat", [flat])]
    first, infos = 0, []
    for name, shape in outputs.items():
        last = first + prod(shape)
        numbers = {"first": [first], "last": [last], "axis": [0], "shape": shape}
        weights += [_whole(f"{name}_{key}", value) for key, value in numbers.items()]
        parts = [f"{name}_{key}" for key in ("first", "last", "axis")]
        nodes += [
            helper.make_node("Slice", ["pixels", *parts], [f"{name}_part"]),
            helper.make_node("Reshape", [f"{name}_part", f"{name}_shape"], [f"{name}_float"]),
        ]
        whole = name == labels
        kind = TensorProto.INT64 if whole else TensorProto.FLOAT
        nodes.append(helper.make_node("Cast", [f"{name}_float"], [name], to=kind))
        infos.append(helper.make_tensor_value_info(name, kind, list(shape)))
        first = last
    assert first <= flat
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "detector", [image], infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    found = to_graph(model)
    infer_shapes(found)
    return found


def image_of(values: Mapping[str, NDArray[Any]]) -> Arrays:
    """The feeds with which `network` yields these values, in the order of its outputs."""
    flat = np.zeros(3 * SIDE * SIDE, np.float32)
    joined = np.concatenate([one.ravel() for one in values.values()])
    flat[: joined.size] = joined
    return {"image": flat.reshape(1, 3, SIDE, SIDE)}


def small_yolo(classes: int = 3, seed: int = 0, masks: int = 0) -> onnx.ModelProto:
    """A seeded network that ends as YOLOv8 does: input `images` 32 x 32, 21 boxes, `output0`.

    With masks, that is their number of coefficients, `output1` holds the prototypes.
    """
    random = np.random.default_rng(seed)
    make = helper.make_node
    grids = (4, 2, 1)
    places = [
        np.stack(np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5)).reshape(2, -1) for n in grids
    ]
    strides = [np.full(n * n, 32 / n) for n in grids]
    weights = [
        _whole("flat", [1, 64 + classes, -1]),
        _whole("parts", [64, classes]),
        _whole("bins", [1, 4, 16, -1]),
        _whole("sides", [1, 4, -1]),
        _whole("pairs", [2, 2]),
        _floats("expectation", np.arange(16).reshape(1, 16, 1, 1)),
        _floats("places", np.concatenate(places, 1)[None]),
        _floats("strides", np.concatenate(strides)[None, None]),
        _floats("half", np.array(0.5)),
    ]
    nodes, below = [], "images"
    for level, stride in enumerate((8, 2, 2)):
        channels = 8 if level else 3
        kernel = random.normal(size=(8, channels, stride, stride)) * (0.3 if level else 0.1)
        head, score = f"box{level}", f"class{level}"
        weights += [
            _floats(f"w{level}", kernel),
            _floats(head, random.normal(size=(64, 8, 1, 1)) * 2),
            _floats(score, random.normal(size=(classes, 8, 1, 1))),
        ]
        nodes += [
            make("Conv", [below, f"w{level}"], [f"c{level}"], strides=[stride, stride]),
            make("Relu", [f"c{level}"], [f"r{level}"]),
            make("Conv", [f"r{level}", head], [f"{head}_map"]),
            make("Conv", [f"r{level}", score], [f"{score}_map"]),
            make("Concat", [f"{head}_map", f"{score}_map"], [f"map{level}"], axis=1),
            make("Reshape", [f"map{level}", "flat"], [f"flat{level}"]),
        ]
        below = f"r{level}"
    nodes += [
        make("Concat", ["flat0", "flat1", "flat2"], ["maps"], axis=2),
        make("Split", ["maps", "parts"], ["logits", "class_logits"], axis=1),
        make("Reshape", ["logits", "bins"], ["binned"]),
        make("Transpose", ["binned"], ["bins_first"], perm=[0, 2, 1, 3]),
        make("Softmax", ["bins_first"], ["shares"], axis=1),
        make("Conv", ["shares", "expectation"], ["means"]),
        make("Reshape", ["means", "sides"], ["distances"]),
        make("Split", ["distances", "pairs"], ["before", "after"], axis=1),
        make("Sub", ["places", "before"], ["low"]),
        make("Add", ["places", "after"], ["high"]),
        make("Add", ["low", "high"], ["sum"]),
        make("Mul", ["sum", "half"], ["centre"]),
        make("Sub", ["high", "low"], ["size"]),
        make("Concat", ["centre", "size"], ["cells"], axis=1),
        make("Mul", ["cells", "strides"], ["pixels"]),
        make("Sigmoid", ["class_logits"], ["probabilities"]),
        make("Concat", ["pixels", "probabilities"], ["output0"], axis=1),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    shapes = {"output0": [1, 4 + classes + masks, 21]}
    if masks:
        shapes["output1"] = [1, masks, 8, 8]
        nodes[-1].output[0] = "boxes_and_probabilities"
        for level in range(3):
            weights.append(_floats(f"mask{level}", random.normal(size=(masks, 8, 1, 1))))
            nodes += [
                make("Conv", [f"r{level}", f"mask{level}"], [f"mask{level}_map"]),
                make("Reshape", [f"mask{level}_map", "mask_flat"], [f"mask{level}_flat"]),
            ]
        flat = [f"mask{level}_flat" for level in range(3)]
        nodes += [
            make("Concat", flat, ["weights_of_masks"], axis=2),
            make("Concat", ["boxes_and_probabilities", "weights_of_masks"], ["output0"], axis=1),
            make("ConvTranspose", ["r0", "prototype"], ["upsampled"], strides=[2, 2]),
            make("Relu", ["upsampled"], ["output1"]),
        ]
        weights += [
            _whole("mask_flat", [1, masks, -1]),
            _floats("prototype", random.normal(size=(8, masks, 2, 2))),
        ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "yolo", [image], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _iou(one: Floats, other: Floats) -> float:
    sides = [
        max(0.0, min(float(one[2 + i]), float(other[2 + i])) - max(float(one[i]), float(other[i])))
        for i in (0, 1)
    ]
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def suppress(
    boxes: Floats, scores: Floats, what: Detection, coefficients: Floats | None = None
) -> list[Floats]:
    """Classes, scores, boxes and, if given, coefficients of those boxes, by plain loops.

    Of equal scores, the first counts as higher.
    """
    best, numbers = scores.max(axis=1), scores.argmax(axis=1)
    order = sorted(range(len(boxes)), key=lambda i: (-best[i], i))[: what.candidates]
    kept: list[int] = []
    for i in [i for i in order if best[i] > what.confidence]:
        rivals = [j for j in kept if numbers[j] == numbers[i]]
        if all(_iou(boxes[i], boxes[j]) <= what.overlap for j in rivals):
            kept.append(i)
    rows = min(what.boxes, what.candidates, len(boxes))
    columns = [np.full((1, rows, width), -1, np.float32) for width in (1, 1, 4)]
    for row, i in enumerate(kept[:rows]):
        columns[0][0, row], columns[1][0, row], columns[2][0, row] = numbers[i], best[i], boxes[i]
    if coefficients is not None:
        chosen = np.zeros((1, rows, coefficients.shape[1]), np.float32)
        for row, i in enumerate(kept[:rows]):
            chosen[0, row] = coefficients[i]
        columns.append(chosen)
    return columns


def _whole(name: str, values: Sequence[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _floats(name: str, values: NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
