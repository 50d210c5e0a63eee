"""Lists of boxes from ONNX nodes, in both engines, against suppression in plain loops."""

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.graph.convert import check_model, to_model
from compiler.graph.detector import Detection, Head, find_head
from compiler.passes.append_nms import append_nms, open_head
from tests.support.detectors import CELLS, image_of, network, suppress

Engine = Literal["onnxruntime", "openvino"]
Floats = NDArray[np.float32]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino")
CLASSES = 3


@cache
def _model(what: Detection, *shapes: tuple[int, ...], opset: int = 17) -> tuple[bytes, Head]:
    outputs = {f"output{number}": shape for number, shape in enumerate(shapes)}
    graph = network(outputs, opset=opset)
    head = find_head(graph, what)
    assert isinstance(head, Head)
    append_nms(graph, head=head, detection=what)
    model = to_model(graph)
    check_model(model)
    return model.SerializeToString(), head


@cache
def _session(model: bytes, engine: Engine) -> Any:  # of the engines, which are not typed
    if engine == "onnxruntime":
        return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = ov.Core()
    return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _run(model: bytes, feeds: dict[str, NDArray[Any]], engine: Engine) -> list[Floats]:
    session = _session(model, engine)
    if engine == "onnxruntime":
        return list(session.run(None, feeds))
    found = session(feeds)
    return [np.array(found[output]) for output in session.outputs]


def _boxes(random: np.random.Generator, crowd: int) -> Floats:
    """Boxes in crowds that overlap; sides and places are multiples of one half."""
    centres = random.integers(10, 50, (crowd, 2))[random.integers(0, crowd, CELLS)]
    low = centres + random.integers(-8, 9, (CELLS, 2)) / 2
    return np.concatenate([low, low + random.integers(8, 41, (CELLS, 2)) / 2], 1).astype("f4")


def _scores(random: np.random.Generator) -> Floats:
    """All different, and none near a threshold of the tests."""
    numbers = random.permutation(CELLS * CLASSES).reshape(CELLS, CLASSES)
    return ((numbers + 0.37) / (CELLS * CLASSES)).astype(np.float32)


def _joined(boxes: Floats, scores: Floats) -> Floats:
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([centre, size, scores], axis=1).T[None]


WHATS = (
    Detection("yolov8_nms", CLASSES, overlap=0.4503, boxes=20),  # no overlap comes close to it
    Detection("yolov8_nms", CLASSES, confidence=0.001, overlap=0.6503),
    Detection("yolov8_nms", CLASSES, confidence=0.5, overlap=0.3003, candidates=30, boxes=60),
    Detection("yolov8_nms", CLASSES, confidence=0.0, overlap=0.9503, boxes=84),
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", WHATS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crowd=st.integers(1, 12))
def test_the_lists_are_those_of_plain_loops(
    what: Detection, engine: Engine, seed: int, crowd: int
) -> None:
    random = np.random.default_rng(seed)
    boxes, scores = _boxes(random, crowd), _scores(random)
    model, _ = _model(what, (1, 4 + CLASSES, CELLS))
    actual = _run(model, image_of({"output0": _joined(boxes, scores)}), engine)
    for one, other in zip(actual, suppress(boxes, scores, what), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


COEFFICIENTS = 6
PROTOTYPES = (1, COEFFICIENTS, 16, 16)


def _parts(
    coefficients: Floats, boxes: Floats, scores: Floats, layout: str
) -> dict[str, NDArray[np.float32]]:
    """What the outputs of a network hold; the coefficients have the shape (M, K)."""
    joined, columns = _joined(boxes, scores), coefficients.T[None]
    if layout == "behind":
        return {"output0": np.concatenate([joined, columns], axis=1)}
    if layout == "split":
        return {"output0": joined[:, :4], "output1": joined[:, 4:], "output2": columns}
    maps, first = {}, 0
    for number, side in enumerate((8, 4, 2)):
        part = columns[:, :, first : first + side * side]
        maps[f"output{1 + number}"] = part.reshape(1, COEFFICIENTS, side, side)
        first += side * side
    return {"output0": joined, **maps}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", ["behind", "split", "maps"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crowd=st.integers(1, 12), what=st.sampled_from(WHATS))
def test_boxes_bring_the_coefficients_of_their_masks_and_prototypes_pass_unchanged(
    engine: Engine, layout: str, seed: int, crowd: int, what: Detection
) -> None:
    random = np.random.default_rng(seed)
    boxes, scores = _boxes(random, crowd), _scores(random)
    coefficients = random.normal(size=(CELLS, COEFFICIENTS)).astype(np.float32)
    prototypes = random.normal(size=PROTOTYPES).astype(np.float32)
    values = _parts(coefficients, boxes, scores, layout)
    values[f"output{len(values)}"] = prototypes
    model, _ = _model(replace(what, masks=True), *(one.shape for one in values.values()))
    actual = _run(model, image_of(values), engine)
    expected = [*suppress(boxes, scores, what, coefficients), prototypes]
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_boxes_coefficients_are_zero_so_that_masks_are_empty(engine: Engine) -> None:
    prototypes = np.ones(PROTOTYPES, np.float32)
    nothing = np.zeros((1, 4 + CLASSES, CELLS), np.float32)
    coefficients = np.ones((1, COEFFICIENTS, CELLS), np.float32)
    values = {"output0": np.concatenate([nothing, coefficients], 1), "output1": prototypes}
    model, _ = _model(replace(WHATS[0], masks=True), *(one.shape for one in values.values()))
    *lists, chosen, same = _run(model, image_of(values), engine)
    assert all((one == -1).all() for one in lists)
    assert not chosen.any()
    assert chosen.shape == (1, 20, COEFFICIENTS)
    np.testing.assert_array_equal(same, prototypes)


def test_of_equal_scores_the_first_box_stays() -> None:
    """In ONNX Runtime; OpenVINO's TopK does not order equal values."""
    boxes = np.tile(np.array([10, 10, 30, 30], np.float32), (CELLS, 1))
    boxes[:, 0] += np.arange(CELLS) / 100
    scores = np.full((CELLS, CLASSES), 0.5, np.float32)
    model, _ = _model(WHATS[0], (1, 4 + CLASSES, CELLS))
    feeds = image_of({"output0": _joined(boxes, scores)})
    classes, best, kept = _run(model, feeds, "onnxruntime")
    assert classes.ravel().tolist() == [0] + [-1] * 19
    assert best.ravel().tolist() == [0.5] + [-1] * 19
    np.testing.assert_array_equal(kept[0, :2], [[10, 10, 30, 30], [-1, -1, -1, -1]])


@pytest.mark.parametrize("engine", ENGINES)
def test_boxes_of_different_classes_do_not_suppress_each_other(engine: Engine) -> None:
    boxes = np.tile(np.array([10, 10, 30, 30], np.float32), (CELLS, 1))
    scores = np.zeros((CELLS, CLASSES), np.float32)
    scores[5, 1], scores[7, 2], scores[9, 1] = 0.6, 0.9, 0.5
    model, _ = _model(WHATS[0], (1, 4 + CLASSES, CELLS))
    classes, best, _ = _run(model, image_of({"output0": _joined(boxes, scores)}), engine)
    assert classes.ravel()[:3].tolist() == [2, 1, -1]
    np.testing.assert_array_equal(best.ravel()[:3], np.array([0.9, 0.6, -1], np.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_that_are_no_numbers_do_not_disturb_the_others(engine: Engine) -> None:
    random = np.random.default_rng(0)
    boxes, scores = _boxes(random, 12), _scores(random)
    broken = random.random(CELLS) < 0.3
    model, _ = _model(WHATS[1], (1, 4 + CLASSES, CELLS))
    with_nan = np.where(broken[:, None], np.float32(np.nan), scores)
    actual = _run(model, image_of({"output0": _joined(boxes, with_nan)}), engine)
    without = np.where(broken[:, None], np.float32(0), scores)
    for one, other in zip(actual, suppress(boxes, without, WHATS[1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_boxes_all_rows_are_minus_one(engine: Engine) -> None:
    model, _ = _model(WHATS[0], (1, 4 + CLASSES, CELLS))
    outputs = _run(model, image_of({"output0": np.zeros((1, 7, CELLS), np.float32)}), engine)
    assert [one.shape for one in outputs] == [(1, 20, 1), (1, 20, 1), (1, 20, 4)]
    assert all((one == -1).all() for one in outputs)


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_the_nodes_suit_every_opset(opset: int) -> None:
    random = np.random.default_rng(0)
    boxes, scores = _boxes(random, 5), _scores(random)
    model, _ = _model(WHATS[0], (1, 4 + CLASSES, CELLS), opset=opset)
    actual = _run(model, image_of({"output0": _joined(boxes, scores)}), "onnxruntime")
    for one, other in zip(actual, suppress(boxes, scores, WHATS[0]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("apart", [False, True])
def test_boxes_that_were_found_already_are_only_put_in_order(engine: Engine, apart: bool) -> None:
    what = Detection("yolov10_nms", CLASSES, confidence=0.25, boxes=12)
    random = np.random.default_rng(1)
    boxes, best = _boxes(random, 1)[:30], _scores(random)[:30, 0]
    numbers = random.integers(0, CLASSES, 30)
    columns: dict[str, NDArray[Any]] = {
        "boxes": boxes[None],
        "scores": best[None],
        "labels": numbers[None],
    }
    if apart:
        shapes = {name: values.shape for name, values in columns.items()}
        graph = network(shapes, labels="labels")
        values = columns
    else:
        values = {"output0": np.concatenate([boxes, best[:, None], numbers[:, None]], 1)[None]}
        graph = network({"output0": (1, 30, 6)})
    head = find_head(graph, what)
    assert isinstance(head, Head)
    append_nms(graph, head=head, detection=what)
    model = to_model(graph)
    check_model(model)

    order = [i for i in np.argsort(-best) if best[i] > 0.25][:12]
    actual = _run(model.SerializeToString(), image_of(values), engine)

    assert len(order) == 12
    np.testing.assert_array_equal(actual[0].ravel(), numbers[order])
    np.testing.assert_array_equal(actual[1].ravel(), best[order])
    np.testing.assert_array_equal(actual[2][0], boxes[order])


def test_the_outputs_have_plain_names_unless_the_network_uses_them() -> None:
    what = WHATS[0]
    graph = network({"scores": (1, 7, CELLS)})
    head = find_head(graph, what)
    assert isinstance(head, Head)
    append_nms(graph, head=head, detection=what)
    assert [one.name for one in graph.outputs] == ["classes", "scores_1", "boxes"]
    assert [one.shape for one in graph.outputs] == [[1, 20, 1], [1, 20, 1], [1, 20, 4]]


@pytest.mark.parametrize(
    ("name", "renamed"),
    [("output1", "prototypes"), ("prototypes", "prototypes"), ("boxes", "prototypes")],
)
def test_the_outputs_for_masks_have_plain_names_too(name: str, renamed: str) -> None:
    what = replace(WHATS[0], masks=True)
    graph = network({"coefficients": (1, 7 + COEFFICIENTS, CELLS), name: PROTOTYPES})
    head = find_head(graph, what)
    assert isinstance(head, Head)
    append_nms(graph, head=head, detection=what)
    boxes = "boxes_1" if name == "boxes" else "boxes"
    names = ["classes", "scores", boxes, "coefficients_1", renamed]
    assert [one.name for one in graph.outputs] == names
    assert [one.shape for one in graph.outputs] == [
        *([1, 20, width] for width in (1, 1, 4, COEFFICIENTS)),
        list(PROTOTYPES),
    ]
    check_model(to_model(graph))


def test_what_is_not_read_leaves_the_network() -> None:
    what = Detection("yolov5_nms", CLASSES, anchors=tuple(map(float, range(1, 19))))
    maps = {f"map{side}": (1, 3, side, side, 8) for side in (8, 4, 2)}
    graph = network({"decoded": (1, 3 * CELLS, 8), **maps})
    head = find_head(graph, what)
    assert isinstance(head, Head)
    open_head(graph, head)
    assert [one.name for one in graph.outputs] == list(maps)
    assert not any(node.name.startswith("decoded") for node in graph.nodes)
    assert find_head(graph, what) == head


@pytest.mark.parametrize(
    ("parts", "outputs"), [((4, 3), ["part0", "part1"]), ((2, 2, 3), ["y"]), ((5, 2), ["y"])]
)
def test_boxes_and_scores_are_parted_where_one_concat_joins_them(
    parts: tuple[int, ...], outputs: list[str]
) -> None:
    graph = network({f"part{i}": (1, rows, CELLS) for i, rows in enumerate(parts)})
    joined = gs.Variable("y", np.float32, [1, 7, CELLS])
    graph.nodes.append(gs.Node("Concat", "join", {"axis": 1}, list(graph.outputs), [joined]))
    graph.outputs = [joined]
    head = find_head(graph, WHATS[0])
    assert isinstance(head, Head)
    open_head(graph, head)
    assert [one.name for one in graph.outputs] == outputs
    again = find_head(graph, WHATS[0])
    assert isinstance(again, Head)
    assert again.form == ("split" if len(outputs) == 2 else "joined")


@pytest.mark.parametrize("nesting", ["flat", "scores last", "coefficients last"])
def test_coefficients_are_parted_too(nesting: str) -> None:
    """YOLOv8 joins boxes and scores first, then both and the coefficients."""
    what = replace(WHATS[0], masks=True)
    sizes = {"b": 4, "s": CLASSES, "w": COEFFICIENTS}
    graph = network({**{name: (1, n, CELLS) for name, n in sizes.items()}, "p": PROTOTYPES})
    *parts, prototypes = graph.outputs
    if nesting != "flat":
        first = 0 if nesting == "coefficients last" else 1
        rows = sum(one.shape[1] for one in parts[first : first + 2])
        inner = gs.Variable("inner", np.float32, [1, rows, CELLS])
        pair = parts[first : first + 2]
        graph.nodes.append(gs.Node("Concat", "inside", {"axis": 1}, pair, [inner]))
        parts[first : first + 2] = [inner]
    joined = gs.Variable("y", np.float32, [1, 7 + COEFFICIENTS, CELLS])
    graph.nodes.append(gs.Node("Concat", "outside", {"axis": 1}, parts, [joined]))
    graph.outputs = [joined, prototypes]
    head = find_head(graph, what)
    assert isinstance(head, Head)
    open_head(graph, head)
    assert [one.name for one in graph.outputs] == ["b", "s", "w", "p"]
    assert not any(node.op == "Concat" for node in graph.nodes)
    again = find_head(graph, what)
    assert isinstance(again, Head)
    assert (again.form, again.read) == ("split", ("b", "s", "w", "p"))
