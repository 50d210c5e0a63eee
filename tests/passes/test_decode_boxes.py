"""Boxes and scores of every form, against the formulas written as loops over places."""

from collections.abc import Callable, Iterator, Mapping
from math import exp
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.graph.convert import check_model, infer_shapes, to_model
from compiler.graph.detector import Detection, Head, find_head
from compiler.passes.decode_boxes import decode_boxes
from compiler.passes.node_writer import NodeWriter
from tests.support.detectors import image_of, network
from tests.support.models import run

STRIDES = {8: 8, 4: 16, 2: 32}  # side of a map -> stride
ANCHORS = tuple(
    map(float, (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 3, 9))
)
Row = tuple[list[float], bool, list[float]]  # box, whether by its corners, scores of the classes
Values = Mapping[str, NDArray[np.float32]]
random = np.random.default_rng(0)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def _seeded(**shapes: tuple[int, ...]) -> Values:
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _places() -> Iterator[tuple[int, int, int]]:
    for side in STRIDES:
        for y in range(side):
            for x in range(side):
                yield side, x, y


def _joined(values: Values) -> Iterator[Row]:
    for row in values["y"][0].T.tolist():
        yield row[:4], False, row[4:]


def _split(values: Values) -> Iterator[Row]:
    for box, scores in zip(values["b"][0].T.tolist(), values["s"][0].T.tolist(), strict=True):
        yield box, False, scores


def _bins(values: Values) -> Iterator[Row]:
    for side, x, y in _places():
        numbers = values[f"m{side}"][0, :, y, x].tolist()
        sides = []
        for first in range(0, 64, 16):
            powers = [exp(one) for one in numbers[first : first + 16]]
            sides.append(sum(i * one for i, one in enumerate(powers)) / sum(powers))
        left, top, right, bottom = sides
        corners = [x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom]
        box = [STRIDES[side] * one for one in corners]
        yield box, True, [_sigmoid(one) for one in numbers[64:]]


def _anchored(scales: Mapping[int, float] | None) -> Callable[[Values], Iterator[Row]]:
    def rows(values: Values) -> Iterator[Row]:
        for index, side in enumerate(STRIDES):
            stride = STRIDES[side]
            maps = values[f"m{side}"]
            if maps.ndim == 4:
                maps = maps.reshape(1, 3, 8, side, side).transpose(0, 1, 3, 4, 2)
            for anchor in range(3):
                wide, high = ANCHORS[6 * index + 2 * anchor :][:2]
                for y in range(side):
                    for x in range(side):
                        t = maps[0, anchor, y, x].tolist()
                        a, b, c, d, objectness, *scores = map(_sigmoid, t)
                        if scales is None:
                            centre = [2 * a - 0.5 + x, 2 * b - 0.5 + y]
                            size = [(2 * c) ** 2 * wide, (2 * d) ** 2 * high]
                        else:
                            scale = scales[side]
                            beyond = (scale - 1) / 2
                            centre = [scale * a - beyond + x, scale * b - beyond + y]
                            size = [exp(t[2]) * wide, exp(t[3]) * high]
                        box = [stride * centre[0], stride * centre[1], *size]
                        yield box, False, [objectness * one for one in scores]

    return rows


def _rows(values: Values) -> Iterator[Row]:
    for row in values["y"][0].tolist():
        yield row[:4], False, [row[4] * one for one in row[5:]]


def _offsets(values: Values) -> Iterator[Row]:
    for (side, x, y), row in zip(_places(), values["y"][0].tolist(), strict=True):
        stride = STRIDES[side]
        centre = [(row[0] + x) * stride, (row[1] + y) * stride]
        box = [*centre, exp(row[2]) * stride, exp(row[3]) * stride]
        yield box, False, [row[4] * one for one in row[5:]]


def _priors(values: Values) -> Iterator[Row]:
    sizes = {8: (16, 32), 4: (64, 128), 2: (256, 512)}
    priors = [(s, x, y, size) for s, x, y in _places() for size in sizes[s]]
    for index, (side, x, y, size) in enumerate(priors):
        offsets, scores = values["loc"][0, index].tolist(), values["conf"][0, index].tolist()
        shares = [(x + 0.5) * STRIDES[side] / 64, (y + 0.5) * STRIDES[side] / 64, size / 64]
        centre = [shares[i] + 0.1 * offsets[i] * shares[2] for i in (0, 1)]
        box = [*centre, *(shares[2] * exp(0.2 * one) for one in offsets[2:])]
        yield [64 * one for one in box], False, scores[1:]


YOLOV5 = Detection("yolov5_nms", 3, anchors=ANCHORS)
MAPS = _seeded(m8=(1, 24, 8, 8), m4=(1, 24, 4, 4), m2=(1, 24, 2, 2))
FACES = Detection("retinaface_nms", 1, anchors=(16, 32, 64, 128, 256, 512))
CASES = {
    "joined": (Detection("yolov8_nms", 3), _seeded(y=(1, 7, 84)), _joined),
    "split": (Detection("yolov11_nms", 3), _seeded(b=(1, 4, 84), s=(1, 3, 84)), _split),
    "bins": (
        Detection("yolov8_nms", 3),
        _seeded(m8=(1, 67, 8, 8), m4=(1, 67, 4, 4), m2=(1, 67, 2, 2)),
        _bins,
    ),
    "bins of one class": (
        Detection("yolov10_nms", 1),
        _seeded(m8=(1, 65, 8, 8), m4=(1, 65, 4, 4), m2=(1, 65, 2, 2)),
        _bins,
    ),
    "yolov5": (YOLOV5, MAPS, _anchored(None)),
    "yolov5, numbers last": (
        YOLOV5,
        _seeded(m8=(1, 3, 8, 8, 8), m4=(1, 3, 4, 4, 8), m2=(1, 3, 2, 2, 8)),
        _anchored(None),
    ),
    "yolov4": (
        Detection("yolov4_nms", 3, anchors=ANCHORS),
        MAPS,
        _anchored({8: 1.2, 4: 1.1, 2: 1.05}),
    ),
    "yolov3": (
        Detection("mmdet_yolov3_nms", 3, anchors=ANCHORS),
        MAPS,
        _anchored({8: 1.0, 4: 1.0, 2: 1.0}),
    ),
    "rows": (
        Detection("yolov5_nms", 3),
        {"y": np.abs(_seeded(y=(1, 252, 8))["y"])},
        _rows,
    ),
    "offsets": (
        Detection("yolox_nms", 3),
        {"y": np.abs(_seeded(y=(1, 84, 8))["y"])},
        _offsets,
    ),
    "priors": (FACES, _seeded(loc=(1, 168, 4), conf=(1, 168, 2), marks=(1, 168, 10)), _priors),
}


@pytest.mark.parametrize("case", CASES)
def test_boxes_and_scores_follow_the_formulas(case: str) -> None:
    what, values, reference = CASES[case]
    graph = network({name: array.shape for name, array in values.items()})
    head = find_head(graph, what)
    assert isinstance(head, Head), head
    found = decode_boxes(NodeWriter(graph, "nms"), head, what)
    graph.outputs = [found.boxes, found.scores, found.classes]
    graph.cleanup().toposort()
    infer_shapes(graph)
    model = to_model(graph)
    check_model(model)

    boxes, scores, classes = run(model, image_of(values))

    rows = list(reference(values))
    wanted: list[Any] = [[list(column) for column in zip(*rows, strict=True)][i] for i in (0, 1, 2)]
    assert boxes.shape == (1, head.boxes, 4)
    assert set(wanted[1]) == {found.corners}
    np.testing.assert_allclose(boxes[0], np.array(wanted[0]), rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(scores[0], np.max(wanted[2], axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(classes[0], np.argmax(wanted[2], axis=1))


def test_boxes_that_are_found_already_are_read_as_they_are() -> None:
    what = Detection("yolov10_nms", 3)
    values = _seeded(y=(1, 9, 6))
    values["y"][..., 5] = np.arange(9) % 3
    graph = network({"y": (1, 9, 6)})
    head = find_head(graph, what)
    assert isinstance(head, Head)
    found = decode_boxes(NodeWriter(graph, "nms"), head, what)
    graph.outputs = [found.boxes, found.scores, found.classes]
    boxes, scores, classes = run(to_model(graph.cleanup().toposort()), image_of(values))
    assert found.corners
    np.testing.assert_array_equal(
        np.concatenate([boxes[0], scores.T, classes.T], 1), values["y"][0]
    )
