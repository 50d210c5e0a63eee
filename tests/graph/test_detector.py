import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.detector import FORMS, MASKED, Detection, Head, find_head
from compiler.graph.detector_forms import Form
from compiler.graph.detector_masks import Masks
from tests.support.detectors import CELLS, network

ANCHORS = tuple(map(float, range(1, 19)))
GRIDS = (8, 4, 2)


def _maps(channels: int) -> dict[str, tuple[int, ...]]:
    return {f"map{side}": (1, channels, side, side) for side in GRIDS}


@pytest.mark.parametrize(
    ("what", "outputs", "form", "names", "classes"),
    [
        (Detection("yolov8_nms", 3), {"y": (1, 7, 84)}, "joined", ["y"], 3),
        (Detection("yolov11_nms"), {"y": (1, 7, 84)}, "joined", ["y"], 3),
        (
            Detection("yolov12_nms", 4),
            {"b": (1, 4, 84), "s": (1, 4, 84)},
            "split",
            ["b", "s"],
            4,
        ),
        (Detection("yolov8_nms"), {"b": (1, 4, 84), "s": (1, 9, 84)}, "split", ["b", "s"], 9),
        (Detection("yolov8_nms", 3), _maps(67), "bins", ["map8", "map4", "map2"], 3),
        (Detection("yolov10_nms", 1), _maps(65), "bins", ["map8", "map4", "map2"], 1),
        (Detection("yolov10_nms", 3), {"y": (1, 30, 6)}, "found", ["y"], 3),
        (
            Detection("yolov10_nms", 3),
            {"b": (1, 30, 4), "s": (1, 30, 1), "n": (1, 30)},
            "found apart",
            ["b", "s", "n"],
            3,
        ),
        (Detection("yolov5_nms", 3), {"y": (1, 252, 8)}, "rows", ["y"], 3),
        (Detection("yolov5_nms", 3, anchors=ANCHORS), {"y": (1, 252, 8)}, "rows", ["y"], 3),
        (
            Detection("yolov5_nms", 3, anchors=ANCHORS),
            {"y": (1, 252, 8), **_maps(24)},
            "maps",
            ["map8", "map4", "map2"],
            3,
        ),
        (
            Detection("yolov5_nms", anchors=ANCHORS),
            {f"map{side}": (1, 3, side, side, 8) for side in reversed(GRIDS)},
            "maps",
            ["map8", "map4", "map2"],
            3,
        ),
        (
            Detection("yolov4_nms", 3, anchors=ANCHORS),
            _maps(24),
            "maps",
            ["map8", "map4", "map2"],
            3,
        ),
        (Detection("yolox_nms", 3), {"y": (1, 84, 8)}, "offsets", ["y"], 3),
        (
            Detection("retinaface_nms", 1, anchors=(16.0, 32, 64, 128, 256, 512)),
            {"marks": (1, 168, 10), "conf": (1, 168, 2), "loc": (1, 168, 4)},
            "priors",
            ["loc", "conf", "marks"],
            1,
        ),
    ],
)
def test_the_usual_heads_are_recognised(
    what: Detection,
    outputs: dict[str, tuple[int, ...]],
    form: Form,
    names: list[str],
    classes: int,
) -> None:
    head = find_head(network(outputs), what)
    assert isinstance(head, Head), head
    assert (head.form, list(head.outputs), head.classes) == (form, names, classes)
    found = form in ("found", "found apart")
    assert (head.boxes, head.size) == (30 if found else CELLS * head.anchors, (64, 64))


PROTOTYPES = {"p": (1, 5, 16, 16)}
WEIGHTS = {f"w{side}": (1, 5, side, side) for side in GRIDS}


@pytest.mark.parametrize("kind", MASKED)
@pytest.mark.parametrize(
    ("outputs", "form", "names", "coefficients"),
    [
        ({"y": (1, 12, 84), **PROTOTYPES}, "joined", ["y"], []),
        ({**PROTOTYPES, "y": (1, 7, 84), "w": (1, 5, 84)}, "joined", ["y"], ["w"]),
        (
            {"b": (1, 4, 84), "s": (1, 3, 84), "w": (1, 5, 84), **PROTOTYPES},
            "split",
            ["b", "s"],
            ["w"],
        ),
        (
            {**_maps(67), "w": (1, 5, 84), **PROTOTYPES},
            "bins",
            ["map8", "map4", "map2"],
            ["w"],
        ),
        (
            {**PROTOTYPES, **dict(reversed(WEIGHTS.items())), **_maps(67)},
            "bins",
            ["map8", "map4", "map2"],
            ["w8", "w4", "w2"],
        ),
    ],
)
@pytest.mark.parametrize("classes", [None, 3])
def test_outputs_for_masks_are_recognised_beside_every_form(
    kind: str,
    classes: int | None,
    outputs: dict[str, tuple[int, ...]],
    form: Form,
    names: list[str],
    coefficients: list[str],
) -> None:
    head = find_head(network(outputs), Detection(kind, classes, masks=True))
    assert isinstance(head, Head), head
    assert (head.form, list(head.outputs), head.classes) == (form, names, 3)
    assert head.masks == Masks(tuple(coefficients), "p", 5)
    assert head.read == (*names, *coefficients, "p")
    assert (head.boxes, head.size) == (CELLS, (64, 64))


def test_of_as_many_classes_as_coefficients_the_last_output_holds_the_coefficients() -> None:
    outputs = {"b": (1, 4, 84), "s": (1, 5, 84), "w": (1, 5, 84), **PROTOTYPES}
    head = find_head(network(outputs), Detection("yolov8_nms", masks=True))
    assert isinstance(head, Head)
    assert (head.outputs, head.classes) == (("b", "s"), 5)
    assert head.masks == Masks(("w",), "p", 5)


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": (1, 7, 84)},
        {"y": (1, 7, 84), **PROTOTYPES},
        {"y": (1, 12, 84), "p": (1, 5, 32, 32)},
        {"y": (1, 12, 84), **PROTOTYPES, "q": (1, 5, 16, 16)},
        {"b": (1, 9, 84), "s": (1, 8, 84), **PROTOTYPES},
        {**_maps(67), **PROTOTYPES},
        {**_maps(67), "w8": (1, 5, 8, 8), "w4": (1, 5, 4, 4), **PROTOTYPES},
    ],
)
def test_outputs_without_prototypes_or_coefficients_are_declined(
    outputs: dict[str, tuple[int, ...]],
) -> None:
    reason = find_head(network(outputs), Detection("yolov8_nms", 3, masks=True))
    assert isinstance(reason, str)
    assert "[1, K, 16, 16] (prototypes)" in reason


@pytest.mark.parametrize("outputs", [{"y": (1, 7, 84), **PROTOTYPES}, {**_maps(67), **WEIGHTS}])
def test_nothing_is_said_of_masks_that_are_not_asked_for(
    outputs: dict[str, tuple[int, ...]],
) -> None:
    head = find_head(network(outputs), Detection("yolov8_nms", 3))
    assert isinstance(head, Head)
    assert head.masks is None
    assert head.read == head.outputs


@pytest.mark.parametrize(("decoder", "form"), [("Exp", "rows"), ("Neg", "offsets")])
def test_decoded_boxes_of_yolox_are_known_by_their_exponential(decoder: str, form: Form) -> None:
    graph = network({"y": (1, CELLS, 8)})
    cast = graph.nodes[-1]
    source, doubled = cast.inputs[0], gs.Variable("doubled", np.float32, [1, CELLS, 8])
    decoded = gs.Variable("decoded", np.float32, [1, CELLS, 8])
    graph.nodes += [
        gs.Node(decoder, "decoder", inputs=[source], outputs=[decoded]),
        gs.Node("Add", "twice", inputs=[decoded, decoded], outputs=[doubled]),
    ]
    cast.op, cast.attrs, cast.inputs = "Mul", {}, [doubled, decoded]
    head = find_head(graph.toposort(), Detection("yolox_nms", 3))
    assert isinstance(head, Head)
    assert head.form == form


@pytest.mark.parametrize(
    ("what", "outputs", "reason"),
    [
        (
            Detection("yolov8_nms", 3),
            {"y": (1, 8, 84)},
            "of an image of 64 x 64 it needs [1, 7, 84] (centre, size, scores); or [1, 4, 84], "
            "[1, 3, 84]; or [1, 67, 8, 8], [1, 67, 4, 4], [1, 67, 2, 2] (bins, logits); "
            "found 'y' [1, 8, 84]",
        ),
        (
            Detection("yolov8_nms", strides=(8, 16)),
            {"y": (1, 8, 84)},
            "of an image of 64 x 64 it needs [1, 4 + classes, 80] (centre, size, scores); or "
            "[1, 4, 80], [1, classes, 80]; or [1, 64 + classes, 8, 8], [1, 64 + classes, 4, 4] "
            "(bins, logits); found 'y' [1, 8, 84]",
        ),
        (
            Detection("yolov10_nms", 3),
            {"y": (1, 7, 84)},
            "of an image of 64 x 64 it needs [1, M, 6] (corners, score, class); or [1, M, 4], "
            "[1, M, 1], [1, M, 1]; or [1, 67, 8, 8], [1, 67, 4, 4], [1, 67, 2, 2] (bins, logits); "
            "found 'y' [1, 7, 84]",
        ),
        (
            Detection("yolov5_nms", 3),
            {"y": (1, 7, 84)},
            "of an image of 64 x 64 it needs a map of logits for each stride, with params.anchor; "
            "or [1, 84 * n, 8] (centre, size, objectness, scores); found 'y' [1, 7, 84]",
        ),
        (
            Detection("yolov4_nms", anchors=ANCHORS),
            _maps(25),
            "of an image of 64 x 64 it needs [1, 3 * (5 + classes), 8, 8], [1, 3 * (5 + classes), "
            "4, 4], [1, 3 * (5 + classes), 2, 2] (logits); found 'map8' [1, 25, 8, 8], 'map4' "
            "[1, 25, 4, 4], 'map2' [1, 25, 2, 2]",
        ),
        (
            Detection("yolox_nms", 3),
            {"y": (1, 168, 8)},
            "of an image of 64 x 64 it needs [1, 84, 8] (centre, size, objectness, scores); found "
            "'y' [1, 168, 8]",
        ),
        (
            Detection("retinaface_nms", 1),
            {"y": (1, 168, 4)},
            "of an image of 64 x 64 it needs boxes, scores and landmarks, with params.anchor; "
            "found 'y' [1, 168, 4]",
        ),
        (
            Detection("retinaface_nms", 1, anchors=(16.0, 32, 64)),
            {"y": (1, 84, 4)},
            "of an image of 64 x 64 it needs [1, 84, 4], [1, 84, 2], [1, 84, 10]; found 'y' "
            "[1, 84, 4]",
        ),
        (
            Detection("yolov5_nms", anchors=ANCHORS[:8]),
            {"y": (1, 252, 8)},
            "anchor needs widths and heights for each of 3 strides; found 8 numbers",
        ),
        (
            Detection("retinaface_nms", anchors=ANCHORS[:4]),
            {"y": (1, 252, 8)},
            "anchor needs a size for each of 3 strides; found 4 numbers",
        ),
        (
            Detection("yolov8_nms", 3, masks=True),
            {"y": (1, 7, 84)},
            "of an image of 64 x 64 it needs [1, 7, 84] (centre, size, scores); or [1, 4, 84], "
            "[1, 3, 84]; or [1, 67, 8, 8], [1, 67, 4, 4], [1, 67, 2, 2] (bins, logits); with masks "
            "besides [1, K, 16, 16] (prototypes) and [1, K, 84] or [1, K, 8, 8], [1, K, 4, 4], "
            "[1, K, 2, 2] (coefficients, in one output behind the scores); found 'y' [1, 7, 84]",
        ),
        (
            Detection("yolov10_nms", 3, masks=True),
            {"y": (1, 30, 6)},
            "masks (seg_enable) are built for yolov8_nms, yolov11_nms, yolov12_nms alone",
        ),
    ],
)
def test_other_outputs_are_declined_with_what_was_expected_and_found(
    what: Detection, outputs: dict[str, tuple[int, ...]], reason: str
) -> None:
    assert find_head(network(outputs), what) == reason


def test_it_needs_one_image_of_fixed_shape() -> None:
    graph = network({"y": (1, 7, CELLS)})
    graph.inputs[0].shape = ["N", 3, 64, 64]
    assert find_head(graph, Detection("yolov8_nms")) == (
        "it needs one input, an image of fixed shape [1, C, H, W]; found 'image' ['N', 3, 64, 64]"
    )


def test_outputs_of_unknown_shape_are_declined() -> None:
    graph = network({"y": (1, 7, CELLS)})
    graph.outputs[0].shape = None
    for kind in FORMS:
        reason = find_head(graph, Detection(kind, 1))
        assert isinstance(reason, str)
        assert reason.endswith("found 'y' of unknown shape")
