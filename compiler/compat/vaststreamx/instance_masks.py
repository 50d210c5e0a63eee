"""`yolov8_seg_op`: boxes and masks in the image, from what YOLOv8-like networks for instances give.

The mask of an object is where the sum of its prototypes, weighted by its coefficients, is positive
(its sigmoid above 0.5), within its box. The network saw the image letterboxed.
"""

from collections.abc import Sequence
from struct import Struct
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.compat.vaststreamx.containers import Array, Pixels, Tensor
from compiler.compat.vaststreamx.operation import Operation, Shape, check_sizes, fitted
from compiler.preprocess.ops import PadTo, Resize
from compiler.preprocess.pixels import resize_opencv

Floats = NDArray[np.float32]


class InstanceMasks(Operation):
    """Five outputs of a network → classes, scores, boxes, masks and their number.

    Inputs, N rows each, those of class -1 unused: classes (N), scores (N), boxes (N, 4) as corners
    in pixels of the network's input, coefficients (N, k), and the prototypes (k, h, w).

    Results, in rows from the top, all others 0: classes (M) and scores (M); boxes (M, 4) as
    (x1, y1, x2, y2) in pixels of the image, clipped to it; masks of 0 and 1, (M, H, W) of the image
    if `retina_masks` is 1, else of the network's input; the number of objects and a 0. At most M
    objects, the first.

    Args:
        numbers: Height, width and their pitches of the network's input, of the prototypes and of
            the image; k, retina_masks, M.

    Raises:
        ValueError: Sizes below 1, or pitches other than the sizes.

    Source: Bolya et al., YOLACT (ICCV 2019) §3, in the form of YOLOv8: without `retina_masks` an
    object is cropped among the prototypes and then enlarged; with it, the part of the prototypes
    that shows the image is enlarged, its borders rounded to whole cells, and cropped then.
    """

    layout: ClassVar[Struct] = Struct("<12i3I")
    inputs: ClassVar[int] = 5

    def __init__(self, *numbers: int) -> None:
        names = ("model_in_shape", "model_out_shape", "origin_image_shape")
        for i, name in enumerate(names):
            check_sizes(name, numbers[4 * i : 4 * i + 2], numbers[4 * i + 2 : 4 * i + 4])
        self._input, self._cells, self._image = ((numbers[i], numbers[i + 1]) for i in (0, 4, 8))
        self._k, retina_masks, self._rows = numbers[12:]
        if min(self._k, self._rows) < 1 or retina_masks not in (0, 1):
            raise ValueError(
                f"k {self._k}, retina_masks {retina_masks}, max_detect_num {self._rows} given; "
                "expected k and max_detect_num from 1, retina_masks 0 or 1"
            )
        self._retina = retina_masks == 1
        self._masks = (self._rows, *(self._image if self._retina else self._input))

    @property
    def shapes(self) -> Sequence[Shape | None]:
        return [(self._rows,), (self._rows,), (self._rows, 4), self._masks, (2,), None]

    def __call__(self, arrays: Sequence[Array]) -> list[Tensor]:
        classes, scores, corners, coefficients, prototypes = self._read(arrays)
        used = np.flatnonzero(classes >= 0)[: self._rows]
        boxes = self._in_image(corners[used])
        cells = prototypes.reshape(self._k, -1)
        masks = np.zeros(self._masks, np.uint8)
        for row, source in enumerate(used):  # one by one: all logits at once would be large
            logits = (coefficients[source] @ cells).reshape(self._cells)
            if self._retina:
                masks[row] = self._mask_of_image(logits, boxes[row])
            else:
                masks[row] = self._mask_of_input(logits, corners[source])
        results: list[Array] = [self._fill(v) for v in (classes[used], scores[used], boxes)]
        results += [masks, np.array([len(used), 0], np.uint32)]
        return [Tensor(array, copy=False) for array in results]

    def _read(self, arrays: Sequence[Array]) -> list[Floats]:
        rows = arrays[0].size
        shapes: dict[str, Shape] = {
            "classes": (rows,),
            "scores": (rows,),
            "boxes": (rows, 4),
            "coefficients": (rows, self._k),
            "prototypes": (self._k, *self._cells),
        }
        return [
            fitted(name, array, shape).astype(np.float32)
            for array, (name, shape) in zip(arrays, shapes.items(), strict=True)
        ]

    def _in_image(self, corners: Floats) -> Floats:
        """Corners (N, 4) in pixels of the image, the letterbox undone as preprocessing does it."""
        height, width = self._image
        rows, columns = Resize(size=self._input, adaptive_side="long").target(height, width)
        top, _, left, _ = PadTo(size=self._input).edges(rows, columns)
        scale = np.array([width / columns, height / rows] * 2, np.float32)
        places = (corners - np.array([left, top] * 2, np.float32)) * scale
        return np.asarray(np.clip(places, 0, [width, height] * 2), np.float32)

    def _mask_of_input(self, logits: Floats, corners: Floats) -> Pixels:
        down, across = (c / pixels for c, pixels in zip(self._cells, self._input, strict=True))
        box = corners * np.array([across, down] * 2, np.float32)
        cut = np.where(_inside(box, self._cells), logits, np.float32(0))
        height, width = self._input
        return np.asarray(resize_opencv(cut, height, width) > 0, np.uint8)

    def _mask_of_image(self, logits: Floats, box: Floats) -> Pixels:
        height, width = self._image
        ratio = min(self._cells[0] / height, self._cells[1] / width)
        rows = _middle(self._cells[0], height * ratio)
        columns = _middle(self._cells[1], width * ratio)
        enlarged = resize_opencv(logits[rows, columns], height, width)
        return np.asarray((enlarged > 0) & _inside(box, self._image), np.uint8)

    def _fill(self, values: Floats) -> NDArray[np.float16]:
        """The values in float16, with rows of 0 after them."""
        result = np.zeros((self._rows, *values.shape[1:]), np.float16)
        with np.errstate(over="ignore"):
            result[: len(values)] = values
        return result


def _inside(box: Floats, size: Shape) -> NDArray[np.bool_]:
    """Which cells (height, width) lie in a box (x1, y1, x2, y2), in cells."""
    x1, y1, x2, y2 = box
    y, x = np.ogrid[: size[0], : size[1]]
    return np.asarray((y >= y1) & (y < y2) & (x >= x1) & (x < x2))


def _middle(cells: int, covered: float) -> slice:
    """The whole cells nearest to the middle part of so many; at least one."""
    margin = (cells - covered) / 2
    first = round(margin - 0.1)
    return slice(first, max(cells - round(margin + 0.1), first + 1))
