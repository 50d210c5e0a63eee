"""The outputs from which masks of the boxes are made, recognised by their shapes.

K is the number of coefficients of a box; the other letters are those of `detector_forms`.

1. prototypes: (1, K, 2 * H, 2 * W), H and W of the map of the smallest stride: a quarter of the
   image's sides for a stride of 8.
2. coefficients: (1, K, M); or for each stride (1, K, H, W); or, where the boxes and scores are
   joined, behind the scores: (1, 4 + C + K, M). All in the order of the boxes.

The logits of the mask of a box are the sum of the prototypes weighted by its coefficients.

Source: Bolya et al., YOLACT, arXiv:1904.02689, section 3.
"""

from dataclasses import dataclass, replace

from compiler.graph.detector_forms import Scene, Shape, text_of_grids


@dataclass(frozen=True, slots=True)
class Masks:
    """Outputs of a network that masks are made from.

    Args:
        coefficients: Names, of maps in the order of the strides; none where they are behind the
            scores.
        prototypes: Name.
        channels: K.
    """

    coefficients: tuple[str, ...]
    prototypes: str
    channels: int


def find_masks(scene: Scene) -> tuple[Masks | None, Scene]:
    """The outputs for masks, and the scene as it were without them.

    A scene without outputs, which fits no form, comes where there are none for masks. Of outputs
    of one shape the last holds the coefficients: there may be as many classes as coefficients.
    """
    height, width = scene.grids[0]
    prototypes = scene.named(lambda s: (s[:1], s[2:]) == ((1,), (2 * height, 2 * width)))
    if len(prototypes) != 1:
        return None, replace(scene, outputs={})
    channels = scene.outputs[prototypes[0]][1]

    def last(*shape: int) -> list[str]:
        return scene.named(lambda s: s == shape)[-1:]

    names = last(1, channels, scene.cells)
    maps = [name for grid in scene.grids for name in last(1, channels, *grid)]
    if not names and len(maps) == len(scene.grids):
        names = maps
    masks = Masks(tuple(names), prototypes[0], channels)
    read = {*prototypes, *names}
    outputs = {name: shape for name, shape in scene.outputs.items() if name not in read}
    return masks, replace(scene, outputs=outputs if names else _shortened(outputs, channels))


def _shortened(outputs: dict[str, Shape], channels: int) -> dict[str, Shape]:
    """The output that joins everything, as it were without the coefficients."""
    rows = {name: shape for name, shape in outputs.items() if len(shape) == 3}
    if len(rows) != 1:
        return {}
    return {name: (shape[0], shape[1] - channels, shape[2]) for name, shape in rows.items()}


def expected_masks(scene: Scene) -> str:
    """The shapes that `find_masks` looks for."""
    height, width = scene.grids[0]
    return (
        f"[1, K, {2 * height}, {2 * width}] (prototypes) and [1, K, {scene.cells}] or "
        f"{text_of_grids(scene, 'K')} (coefficients, in one output behind the scores)"
    )
