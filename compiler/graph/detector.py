"""The outputs of a detector, recognised by their shapes, for the `*_nms` types of a build file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import onnx_graphsurgeon as gs

from compiler.graph.detector_forms import RULES, Form, Scene
from compiler.graph.detector_masks import Masks, expected_masks, find_masks
from compiler.graph.query import is_static, producer

_FACE: Final = "retinaface_nms"
_GRID: Final = "yolox_nms"  # one box for each place of a map, no anchors
_DECODING: Final = frozenset(
    {"Concat", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
    | {"Add", "Mul", "Slice", "Split", "Gather", "ScatterND"}
)


@dataclass(frozen=True, slots=True)
class Detection:
    """What a build file says of a detector.

    Args:
        kind: `graph.extra_ops.type`, one of FORMS.
        classes: Number of classes; None means what the outputs have.
        strides: Of the maps that the boxes come from, in pixels.
        anchors: Widths and heights (pixels) of the anchors of all strides, in their order; for
            RetinaFace only widths. Empty where a head has none.
        confidence: A box needs a higher score.
        overlap: Of two boxes of one class whose intersection over union is above it, only the one
            with the higher score stays.
        candidates: As many boxes of the highest scores are looked at.
        boxes: Rows of the outputs.
        masks: Whether masks of the boxes are asked for besides.
    """

    kind: str
    classes: int | None = None
    strides: tuple[int, ...] = (8, 16, 32)
    anchors: tuple[float, ...] = ()
    confidence: float = 0.25
    overlap: float = 0.45
    candidates: int = 4096
    boxes: int = 300
    masks: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """Outputs of a network that are understood.

    Args:
        form: As `detector_forms` describes them.
        outputs: Names, in the order of the form; of maps, in the order of the strides.
        classes: C.
        anchors: A.
        boxes: M.
        size: Height and width of the network's image in pixels.
        masks: What masks are made from, if they are asked for.
    """

    form: Form
    outputs: tuple[str, ...]
    classes: int
    anchors: int
    boxes: int
    size: tuple[int, int]
    masks: Masks | None = None

    @property
    def read(self) -> tuple[str, ...]:
        """Names of all outputs that are read, those for masks last."""
        if self.masks is None:
            return self.outputs
        return (*self.outputs, *self.masks.coefficients, self.masks.prototypes)


def find_head(graph: gs.Graph, detection: Detection) -> Head | str:
    """The outputs that `detection` describes; or, as one clause, what was expected and found.

    Args:
        graph: Before any pass, or after `open_head`.
        detection: From the build file.
    """
    if detection.masks and detection.kind not in MASKED:
        return f"masks (seg_enable) are built for {', '.join(MASKED)} alone"
    images = [one.shape for one in graph.inputs if is_static(one) and len(one.shape) == 4]
    if len(graph.inputs) != 1 or not images or images[0][0] != 1:
        found = _text(graph.inputs)
        return f"it needs one input, an image of fixed shape [1, C, H, W]; found {found}"
    unit = len(detection.strides) * (1 if detection.kind == _FACE else 2)
    if len(detection.anchors) % unit:
        numbers = "a size" if detection.kind == _FACE else "widths and heights"
        text = f"anchor needs {numbers} for each of {len(detection.strides)} strides"
        return f"{text}; found {len(detection.anchors)} numbers"
    height, width = (int(side) for side in images[0][2:])
    scene = Scene(
        {one.name: tuple(one.shape) if is_static(one) else () for one in graph.outputs},
        tuple((-(-height // stride), -(-width // stride)) for stride in detection.strides),
        detection.classes,
        1 if detection.kind == _GRID else len(detection.anchors) // unit,
    )
    masks, others = find_masks(scene) if detection.masks else (None, scene)
    for form in FORMS[detection.kind]:
        match = RULES[form].match(others)
        if match is None:
            continue
        if detection.kind == _GRID and not _is_decoded(graph, match[0][0]):
            form = "offsets"
        outputs, _, anchors = match
        listed = form in ("found", "found apart")
        boxes = scene.outputs[outputs[0]][1] if listed else scene.cells * anchors
        return Head(form, *match, boxes, (height, width), masks)
    expected = "; or ".join(RULES[form].expects(scene) for form in FORMS[detection.kind])
    if detection.masks:
        expected += f"; with masks besides {expected_masks(scene)}"
    return f"of an image of {height} x {width} it needs {expected}; found {_text(graph.outputs)}"


def _is_decoded(graph: gs.Graph, output: str) -> bool:
    """Whether sizes of boxes are exponentiated between the last convolutions and the output."""
    waiting = [producer(one) for one in graph.outputs if one.name == output]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        if node.op == "Exp":
            return True
        seen.add(id(node))
        if node.op in _DECODING:
            waiting.extend(producer(one) for one in node.inputs)
    return False


def _text(tensors: Sequence[gs.Tensor]) -> str:
    shapes = [f"'{one.name}' {one.shape or 'of unknown shape'}" for one in tensors]
    return ", ".join(shapes).replace("(", "[").replace(")", "]")


MASKED: Final = ("yolov8_nms", "yolov11_nms", "yolov12_nms")
"""Types of networks that may compute masks."""

FORMS: Final[Mapping[str, tuple[Form, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(MASKED, ("joined", "split", "bins")),
        "yolov10_nms": ("found", "found apart", "bins"),
        "yolov5_nms": ("maps", "rows"),
        "yolov4_nms": ("maps",),
        "mmdet_yolov3_nms": ("maps",),
        _GRID: ("rows",),
        _FACE: ("priors",),
    }
)
"""Forms of each type; where several fit, the first is taken."""
