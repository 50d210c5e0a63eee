"""What a network that ends in non-maximum suppression found, in pixels of the original image.

    outputs                          shape
    classes, scores, boxes           (1, N, 1), (1, N, 1), (1, N, 4): corners in pixels of the input
    coefficients, prototypes         (1, N, K), (1, K, h, w): where there are masks

Rows count up to the first class below 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.preprocess.pixels import resize_opencv
from compiler.runner.engine import Tensor
from compiler.runner.masks import Window

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects of one image, in the order of the network.

    Args:
        classes: Class numbers, shape (N,).
        scores: Shape (N,).
        boxes: Corners (x1, y1, x2, y2) in pixels of the image, x1 <= x2; they may lie beyond it.
        coefficients: Shape (N, K); None without masks.
        prototypes: Shape (K, h, w); None without masks.
        window: What the network saw of the image.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    coefficients: NDArray[np.float32] | None
    prototypes: NDArray[np.float32] | None
    window: Window

    def clipped(self, size: Size) -> NDArray[np.float64]:
        """The boxes, cut off at the edges of the image."""
        height, width = size
        return np.asarray(np.clip(self.boxes, 0, [width, height] * 2))

    def masks(self, size: Size) -> Iterator[NDArray[np.uint8]]:
        """A mask of 0 and 1 in the size of the image for every object; none without prototypes.

        It is 1 where the sum of the prototypes, weighted by the object's coefficients, is positive
        within the object's box. The whole cells of the prototypes that show the image are enlarged
        bilinearly.

        Source: Bolya et al., YOLACT (ICCV 2019) §3, in the form of YOLOv8 with `retina_masks`.
        """
        if self.coefficients is None or self.prototypes is None:
            return
        cells = self.prototypes.shape[1:]
        window, (height, width) = self.window, size
        rows = _cells(window.top, window.bottom, height, cells[0])
        columns = _cells(window.left, window.right, width, cells[1])
        seen = np.ascontiguousarray(self.prototypes[:, rows, columns])
        y, x = np.ogrid[:height, :width]
        for weights, (x1, y1, x2, y2) in zip(self.coefficients, self.clipped(size), strict=True):
            logits = np.tensordot(weights, seen, 1)
            inside = (y >= y1) & (y < y2) & (x >= x1) & (x < x2)
            enlarged = resize_opencv(logits.astype(np.float32), height, width)
            yield np.asarray((enlarged > 0) & inside, np.uint8)


def read_objects(arrays: Sequence[Tensor], window: Window, input_size: Size) -> Objects:
    """Objects from the three or five outputs of a detector.

    Rows with values that are no finite numbers have no place on the image and are left out.

    Args:
        arrays: In the order of the module's table.
        window: What the network saw of the image.
        input_size: Of the network's input, in pixels.
    """
    rows = np.concatenate([array[0].astype(np.float64) for array in arrays[:3]], axis=1)
    unused = np.flatnonzero(rows[:, 0] < 0)
    count = int(unused[0]) if unused.size else len(rows)
    used = np.flatnonzero(np.isfinite(rows[:count]).all(axis=1))
    down = (window.bottom - window.top) / input_size[0]
    across = (window.right - window.left) / input_size[1]
    x = np.sort(window.left + across * rows[used][:, 2::2], axis=1)
    y = np.sort(window.top + down * rows[used][:, 3::2], axis=1)
    masks = len(arrays) > 3
    return Objects(
        rows[used, 0].astype(np.int64),
        rows[used, 1],
        np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1),
        arrays[3][0][used].astype(np.float32) if masks else None,
        arrays[4][0].astype(np.float32) if masks else None,
        window,
    )


def _cells(start: float, stop: float, pixels: int, cells: int) -> slice:
    """The whole cells of `cells` from `start` to `stop` that show pixels 0 … `pixels`.

    Halves are rounded as in `compiler.compat.vaststreamx.instance_masks`.
    """
    scale = cells / (stop - start)
    first = max(round(-start * scale - 0.1), 0)
    beyond = max(round((stop - pixels) * scale + 0.1), 0)
    return slice(first, max(cells - beyond, first + 1))
