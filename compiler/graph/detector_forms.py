"""The forms that the outputs of detectors come in, and the shapes by which they are recognised.

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Form = Literal[
    "joined", "split", "bins", "rows", "offsets", "maps", "found", "found apart", "priors"
]
Shape = tuple[int, ...]

BINS: Final = 16
"""Of the distance from a place of a map to one side of a box, each one stride wide."""


@dataclass(frozen=True, slots=True)
class Scene:
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


Match = tuple[tuple[str, ...], int, int]  # outputs, classes, anchors


def _joined(scene: Scene) -> Match | None:
    names = scene.named(
        lambda s: len(s) == 3 and s[::2] == (1, scene.cells) and scene.counts(s[1] - 4)
    )
    if len(names) != 1 or _split(scene):  # whose scores alone may look like both joined
        return None
    return (names[0],), scene.outputs[names[0]][1] - 4, 1


def _split(scene: Scene) -> Match | None:
    names = scene.named(lambda s: len(s) == 3 and s[::2] == (1, scene.cells))
    if len(names) != 2 or scene.outputs[names[0]][1] != 4:
        return None
    classes = scene.outputs[names[1]][1]
    return (tuple(names), classes, 1) if scene.counts(classes) else None


def _bins(scene: Scene) -> Match | None:
    return _of_each_grid(scene, lambda s: s[1] - 4 * BINS if len(s) == 4 else 0, 1)


def _maps(scene: Scene) -> Match | None:
    anchors = scene.anchors

    def classes(shape: Shape) -> int:
        if len(shape) == 5:
            return shape[4] - 5 if shape[1] == anchors else 0
        return shape[1] // anchors - 5 if shape[1] % anchors == 0 else 0

    return _of_each_grid(scene, classes, anchors) if anchors else None


def _of_each_grid(scene: Scene, classes: Callable[[Shape], int], anchors: int) -> Match | None:
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


def _rows(scene: Scene) -> Match | None:
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


def _found(scene: Scene) -> Match | None:
    names = scene.named(lambda s: len(s) == 3 and s[::2] == (1, 6))
    return ((names[0],), scene.classes or 0, 1) if len(names) == 1 else None


def _found_apart(scene: Scene) -> Match | None:
    boxes = scene.named(lambda s: len(s) == 3 and s[::2] == (1, 4))
    if len(boxes) != 1 or len(scene.outputs) != 3:
        return None
    rows = scene.outputs[boxes[0]][1]
    others = scene.named(lambda s: s in ((1, rows), (1, rows, 1)))
    return ((boxes[0], *others), scene.classes or 0, 1) if len(others) == 2 else None


def _priors(scene: Scene) -> Match | None:
    rows = scene.cells * scene.anchors
    names = {shape: name for name, shape in scene.outputs.items()}
    wanted = [(1, rows, numbers) for numbers in (4, 2, 10)]
    if not scene.anchors or not scene.counts(1) or not names.keys() >= set(wanted):
        return None
    return tuple(names[shape] for shape in wanted), 1, scene.anchors


def _expect_maps(scene: Scene) -> str:
    if not scene.anchors:
        return "a map of logits for each stride, with params.anchor"
    return f"{text_of_grids(scene, _channels(scene, 5, scene.anchors))} (logits)"


def _expect_priors(scene: Scene) -> str:
    if not scene.anchors:
        return "boxes, scores and landmarks, with params.anchor"
    return ", ".join(f"[1, {scene.cells * scene.anchors}, {numbers}]" for numbers in (4, 2, 10))


def _channels(scene: Scene, others: int, anchors: int = 1) -> str:
    if scene.classes is not None:
        return str(anchors * (others + scene.classes))
    return f"{others} + classes" if anchors == 1 else f"{anchors} * ({others} + classes)"


def text_of_grids(scene: Scene, channels: str) -> str:
    """Shapes of one map for each stride, with this number of channels."""
    return ", ".join(f"[1, {channels}, {height}, {width}]" for height, width in scene.grids)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a form is recognised, and how its shapes are described."""

    match: Callable[[Scene], Match | None]
    expects: Callable[[Scene], str]


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "joined": Rule(
            _joined, lambda s: f"[1, {_channels(s, 4)}, {s.cells}] (centre, size, scores)"
        ),
        "split": Rule(
            _split, lambda s: f"[1, 4, {s.cells}], [1, {s.classes or 'classes'}, {s.cells}]"
        ),
        "bins": Rule(_bins, lambda s: f"{text_of_grids(s, _channels(s, 4 * BINS))} (bins, logits)"),
        "rows": Rule(
            _rows,
            lambda s: (
                f"[1, {s.cells * (s.anchors or 1)}{'' if s.anchors else ' * n'}, "
                f"{_channels(s, 5)}] (centre, size, objectness, scores)"
            ),
        ),
        "maps": Rule(_maps, _expect_maps),
        "found": Rule(_found, lambda _: "[1, M, 6] (corners, score, class)"),
        "found apart": Rule(_found_apart, lambda _: "[1, M, 4], [1, M, 1], [1, M, 1]"),
        "priors": Rule(_priors, _expect_priors),
    }
)
