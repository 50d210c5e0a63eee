"""The outputs of a detector, recognised by their shapes, for the `*_nms` types of a build file.

C is the number of classes, M that of the boxes before suppression, H and W the sizes of a map, A
the number of anchors of a place of a map, and `cells` the number of places of all maps.

1. joined: (1, 4 + C, M), M = cells: centre and size (pixels), scores. The export of YOLOv8, 11, 12.
2. split: (1, 4, M) and (1, C, M), the same in two outputs.
3. bins: for each stride (1, 64 + C, H, W): logits of 16 bins for each side, logits of the classes.
   What (1) is computed from, and where YOLOv10 is usually cut.
4. rows: (1, M, 5 + C), M = A * cells: centre and size (pixels), objectness, scores. YOLOv5, YOLOX.
5. offsets: the same shape, centre and size not decoded yet. The usual export of YOLOX.
6. maps: for each stride (1, A * (5 + C), H, W) or (1, A, H, W, 5 + C) of logits. YOLOv3, v4, v5.
7. found: (1, M, 6): corners (pixels), score, class. YOLOv10, which needs no suppression.
8. found apart: (1, M, 4), then (1, M) or (1, M, 1) for the scores, then for the classes.
9. priors: (1, M, 4), (1, M, 2) and (1, M, 10), in any order: offsets of boxes, scores of background
   and face, offsets of landmarks. RetinaFace.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import onnx_graphsurgeon as gs

from compiler.graph.query import is_static, producer

Form = Literal[
    "joined", "split", "bins", "rows", "offsets", "maps", "found", "found apart", "priors"
]
Shape = tuple[int, ...]

BINS: Final = 16
"""Of the distance from a place of a map to one side of a box, each one stride wide."""

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
        masks: Whether masks of the objects are asked for besides.
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
        form: As the module describes them.
        outputs: Names, in the order of the form; of maps, in the order of the strides.
        classes: C.
        anchors: A.
        boxes: M.
        size: Height and width of the network's image in pixels.
    """

    form: Form
    outputs: tuple[str, ...]
    classes: int
    anchors: int
    boxes: int
    size: tuple[int, int]


def find_head(graph: gs.Graph, detection: Detection) -> Head | str:
    """The outputs that `detection` describes; or, as one clause, what was expected and found.

    Args:
        graph: Before any pass, or after `open_head`.
        detection: From the build file.
    """
    if detection.masks:
        return "masks (seg_enable) are not built"
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
    scene = _Scene(
        {one.name: tuple(one.shape) if is_static(one) else () for one in graph.outputs},
        tuple((-(-height // stride), -(-width // stride)) for stride in detection.strides),
        detection.classes,
        1 if detection.kind == _GRID else len(detection.anchors) // unit,
    )
    for form in FORMS[detection.kind]:
        match = _RULES[form].match(scene)
        if match is None:
            continue
        if detection.kind == _GRID and not _is_decoded(graph, match[0][0]):
            form = "offsets"
        outputs, _, anchors = match
        listed = form in ("found", "found apart")
        boxes = scene.outputs[outputs[0]][1] if listed else scene.cells * anchors
        return Head(form, *match, boxes, (height, width))
    expected = "; or ".join(_RULES[form].expects(scene) for form in FORMS[detection.kind])
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


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the outputs are compared with; `anchors` is 0, and `classes` None, if unknown."""

    outputs: Mapping[str, Shape]
    grids: tuple[tuple[int, int], ...]
    classes: int | None
    anchors: int

    @property
    def cells(self) -> int:
        return sum(height * width for height, width in self.grids)

    def named(self, fits: Callable[[Shape], bool]) -> list[str]:
        """Outputs whose shapes fit."""
        return [name for name, shape in self.outputs.items() if fits(shape)]

    def counts(self, classes: int) -> bool:
        """Whether it can be the number of classes."""
        return classes > 0 and self.classes in (None, classes)


_Match = tuple[tuple[str, ...], int, int]  # outputs, classes, anchors


def _joined(scene: _Scene) -> _Match | None:
    names = scene.named(
        lambda s: len(s) == 3 and s[::2] == (1, scene.cells) and scene.counts(s[1] - 4)
    )
    return ((names[0],), scene.outputs[names[0]][1] - 4, 1) if len(names) == 1 else None


def _split(scene: _Scene) -> _Match | None:
    names = scene.named(lambda s: len(s) == 3 and s[::2] == (1, scene.cells))
    if len(names) != 2 or scene.outputs[names[0]][1] != 4:
        return None
    classes = scene.outputs[names[1]][1]
    return (tuple(names), classes, 1) if scene.counts(classes) else None


def _bins(scene: _Scene) -> _Match | None:
    return _of_each_grid(scene, lambda s: s[1] - 4 * BINS if len(s) == 4 else 0, 1)


def _maps(scene: _Scene) -> _Match | None:
    anchors = scene.anchors

    def classes(shape: Shape) -> int:
        if len(shape) == 5:
            return shape[4] - 5 if shape[1] == anchors else 0
        return shape[1] // anchors - 5 if shape[1] % anchors == 0 else 0

    return _of_each_grid(scene, classes, anchors) if anchors else None


def _of_each_grid(scene: _Scene, classes: Callable[[Shape], int], anchors: int) -> _Match | None:
    """One output for each stride, all with the same number of classes."""
    found: list[str] = []
    for grid in scene.grids:
        found += [
            name
            for name, shape in scene.outputs.items()
            if len(shape) in (4, 5)
            and (shape[0], shape[2:4]) == (1, grid)
            and scene.counts(classes(shape))
        ]
    numbers = {classes(scene.outputs[name]) for name in found}
    if len(found) != len(scene.grids) or len(numbers) != 1:
        return None
    return tuple(found), numbers.pop(), anchors


def _rows(scene: _Scene) -> _Match | None:
    names = scene.named(
        lambda s: (
            len(s) == 3
            and s[0] == 1
            and s[1] % scene.cells == 0
            and s[1] // scene.cells == (scene.anchors or s[1] // scene.cells)
            and scene.counts(s[2] - 5)
        )
    )
    if len(names) != 1:
        return None
    _, rows, numbers = scene.outputs[names[0]]
    return (names[0],), numbers - 5, rows // scene.cells


def _found(scene: _Scene) -> _Match | None:
    names = scene.named(lambda s: len(s) == 3 and s[::2] == (1, 6))
    return ((names[0],), scene.classes or 0, 1) if len(names) == 1 else None


def _found_apart(scene: _Scene) -> _Match | None:
    boxes = scene.named(lambda s: len(s) == 3 and s[::2] == (1, 4))
    if len(boxes) != 1 or len(scene.outputs) != 3:
        return None
    rows = scene.outputs[boxes[0]][1]
    others = scene.named(lambda s: s in ((1, rows), (1, rows, 1)))
    return ((boxes[0], *others), scene.classes or 0, 1) if len(others) == 2 else None


def _priors(scene: _Scene) -> _Match | None:
    rows = scene.cells * scene.anchors
    names = {shape: name for name, shape in scene.outputs.items()}
    wanted = [(1, rows, numbers) for numbers in (4, 2, 10)]
    if not scene.anchors or not scene.counts(1) or not names.keys() >= set(wanted):
        return None
    return tuple(names[shape] for shape in wanted), 1, scene.anchors


def _expect_maps(scene: _Scene) -> str:
    if not scene.anchors:
        return "a map of logits for each stride, with params.anchor"
    return f"{_each(scene, _channels(scene, 5, scene.anchors))} (logits)"


def _expect_priors(scene: _Scene) -> str:
    if not scene.anchors:
        return "boxes, scores and landmarks, with params.anchor"
    return ", ".join(f"[1, {scene.cells * scene.anchors}, {numbers}]" for numbers in (4, 2, 10))


def _channels(scene: _Scene, others: int, anchors: int = 1) -> str:
    if scene.classes is not None:
        return str(anchors * (others + scene.classes))
    return f"{others} + classes" if anchors == 1 else f"{anchors} * ({others} + classes)"


def _each(scene: _Scene, channels: str) -> str:
    return ", ".join(f"[1, {channels}, {height}, {width}]" for height, width in scene.grids)


def _text(tensors: Sequence[gs.Tensor]) -> str:
    shapes = [f"'{one.name}' {one.shape or 'of unknown shape'}" for one in tensors]
    return ", ".join(shapes).replace("(", "[").replace(")", "]")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a form is recognised, and how its shapes are described."""

    match: Callable[[_Scene], _Match | None]
    expects: Callable[[_Scene], str]


_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "joined": _Rule(
            _joined, lambda s: f"[1, {_channels(s, 4)}, {s.cells}] (centre, size, scores)"
        ),
        "split": _Rule(
            _split, lambda s: f"[1, 4, {s.cells}], [1, {s.classes or 'classes'}, {s.cells}]"
        ),
        "bins": _Rule(_bins, lambda s: f"{_each(s, _channels(s, 4 * BINS))} (bins, logits)"),
        "rows": _Rule(
            _rows,
            lambda s: (
                f"[1, {s.cells * (s.anchors or 1)}{'' if s.anchors else ' * n'}, "
                f"{_channels(s, 5)}] (centre, size, objectness, scores)"
            ),
        ),
        "maps": _Rule(_maps, _expect_maps),
        "found": _Rule(_found, lambda _: "[1, M, 6] (corners, score, class)"),
        "found apart": _Rule(_found_apart, lambda _: "[1, M, 4], [1, M, 1], [1, M, 1]"),
        "priors": _Rule(_priors, _expect_priors),
    }
)

FORMS: Final[Mapping[str, tuple[Form, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(("yolov8_nms", "yolov11_nms", "yolov12_nms"), ("joined", "split", "bins")),
        "yolov10_nms": ("found", "found apart", "bins"),
        "yolov5_nms": ("maps", "rows"),
        "yolov4_nms": ("maps",),
        "mmdet_yolov3_nms": ("maps",),
        _GRID: ("rows",),
        _FACE: ("priors",),
    }
)
"""Forms of each type; where several fit, the first is taken."""
