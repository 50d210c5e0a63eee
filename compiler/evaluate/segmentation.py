"""Segmentation metrics, computed on class maps at the network's resolution.

Two families that must not be mixed: `foreground_iou` and `dice` are means of per-image ratios
(portrait matting), `mean_iou` a ratio of sums over the whole set (street scenes).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ClassMap = NDArray[np.int64]


@dataclass(slots=True)
class _PerImage(ABC):
    """Mean over images of a ratio of pixel counts; foreground is class 1 and above.

    An image without foreground in prediction and truth has no ratio; it is left out and counted
    in `empty`.
    """

    images: int = 0
    empty: int = 0
    _total: float = 0.0

    def add(self, predicted: ClassMap, truth: ClassMap) -> None:
        """Take one image into account; both maps have shape (H, W)."""
        inside, expected = predicted > 0, truth > 0
        both = int(np.count_nonzero(inside & expected))
        union = int(np.count_nonzero(inside | expected))
        if union == 0:
            self.empty += 1
            return
        self.images += 1
        self._total += self._ratio(both, union)

    def value(self) -> float:
        """Mean of the ratio in points; NaN before the first image."""
        return 100 * self._total / self.images if self.images else math.nan

    @abstractmethod
    def _ratio(self, both: int, union: int) -> float:
        """Ratio of one image, from the pixels of the intersection and of the union."""


@dataclass(slots=True)
class ForegroundIou(_PerImage):
    """Mean over images of |P and T| / |P or T|."""

    def _ratio(self, both: int, union: int) -> float:
        return both / union


@dataclass(slots=True)
class Dice(_PerImage):
    """Mean over images of 2 |P and T| / (|P| + |T|), the F1 score of the foreground.

    Source: Dice, "Measures of the Amount of Ecologic Association Between Species", 1945.
    """

    def _ratio(self, both: int, union: int) -> float:
        return 2 * both / (both + union)


@dataclass(slots=True)
class MeanIou:
    """Mean over the classes that occur of intersection / union, summed over all images.

    Args:
        classes: Number of classes.
        ignore: Value of the truth whose pixels do not count, such as 255 or "void".
    """

    classes: int
    ignore: int | None = None
    images: int = 0
    confusion: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), np.int64)

    def add(self, predicted: ClassMap, truth: ClassMap) -> None:
        """Take one image into account; both maps have shape (H, W).

        Raises:
            ValueError: A map holds a value that is no class; the truth may hold `ignore`.
        """
        counted = truth != self.ignore if self.ignore is not None else np.ones(truth.shape, bool)
        rows, columns = truth[counted], predicted[counted]
        for where, values in (("mask", rows), ("prediction", columns)):
            strangers = np.unique(values[(values < 0) | (values >= self.classes)])
            if strangers.size:
                some = ", ".join(map(str, strangers[:5]))
                raise ValueError(
                    f"value {some} of the {where} is not a class of 0 … {self.classes - 1}"
                )
        self.images += 1
        pairs = rows * self.classes + columns
        self.confusion += np.bincount(pairs, minlength=self.classes**2).reshape(
            self.classes, self.classes
        )

    def value(self) -> float:
        """Mean IoU in points over the classes with a pixel in truth or prediction."""
        inter = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - inter
        occurs = union > 0
        return float(100 * np.mean(inter[occurs] / union[occurs])) if occurs.any() else math.nan
