"""Pixels by true and predicted class, and the figures that follow from their sum over a data set.

Statistics of an image are the pixels of every class that are right, in the truth, and in the
prediction: shape (3 classes,). The confusion matrix, row = truth, says more but decides no figure.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge", 2010 (IoU); Long et al.,
"Fully Convolutional Networks for Semantic Segmentation", 2015, section 5 (the accuracies).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compiler.evaluate.metric import Figures, Map, Vector, mean_of_defined, ratio

Select: TypeAlias = Callable[[Map, Map], tuple[Map, Map]]
"""Prediction and truth -> classes 0 … classes - 1 of the pixels that count, each (pixels,)."""


def of_classes(classes: int, select: Select) -> dict[str, Any]:  # Any: arguments of Metric
    """What a metric of class maps does with prediction and truth."""

    def compare(predicted: Map, truth: Map) -> Vector:
        return count_pixels(*select(predicted, truth), classes)

    def matrix(predicted: Map, truth: Map) -> Vector:
        return confusion_matrix(*select(predicted, truth), classes)

    return {
        "compare": compare,
        "confusion": matrix,
        "figures": lambda sums: figures_of(sums, classes),
        "per_class": lambda sums: figures_per_class(sums, classes),
    }


def count_pixels(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> Vector:
    """Statistics of equally long lists of class numbers in 0 … classes - 1."""
    lists = truth[truth == predicted], truth, predicted
    return np.concatenate([np.bincount(one, minlength=classes) for one in lists]).astype(np.float64)


def confusion_matrix(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> Vector:
    """Likewise pixels by true class (row) and predicted class, shape (classes, classes)."""
    pairs = truth.astype(np.int64) * classes + predicted.astype(np.int64)
    counts = np.bincount(pairs, minlength=classes**2)
    return counts.astype(np.float64).reshape(classes, classes)


def check_classes(where: str, values: NDArray[Any], classes: int) -> None:
    """Refuse what is no class.

    Raises:
        ValueError: It names some of the values.
    """
    strangers = np.unique(values[(values < 0) | (values >= classes)])
    if strangers.size:
        some = ", ".join(map(str, strangers[:5]))
        raise ValueError(f"value {some} of the {where} is not a class of 0 … {classes - 1}")


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of every class, each of shape (…, classes).

    Args:
        both: Where prediction and truth agree.
        truth: In the truth.
        predicted: In the prediction.
    """

    both: Vector
    truth: Vector
    predicted: Vector

    @property
    def union(self) -> Vector:
        """In the truth, the prediction, or both."""
        return self.truth + self.predicted - self.both


def counts_of(sums: Vector, classes: int) -> Counts:
    """Statistics, shape (…, 3 classes), by what they count."""
    return Counts(*np.moveaxis(sums.reshape(*sums.shape[:-1], 3, classes), -2, 0))


def figures_of(sums: Vector, classes: int) -> Figures:
    """Figures in points; a class that does not occur has no say in a mean.

    Args:
        sums: Shape (…, 3 classes).
        classes: Number of them.

    Returns:
        `mean_iou`, `pixel_accuracy` (Overall Acc), `mean_accuracy` (of the classes of the truth),
        `frequency_weighted_iou` (FreqW Acc) and `f1` (mean of 2 |P and T| / (|P| + |T|), the pooled
        Dice of every class), each of shape (…).
    """
    counts = counts_of(sums, classes)
    iou = ratio(counts.both, counts.union)
    weighted = np.where(counts.truth > 0, counts.truth * iou, 0.0).sum(-1)
    pixels = counts.truth.sum(-1)
    return {
        "mean_iou": 100 * mean_of_defined(iou),
        "pixel_accuracy": 100 * ratio(counts.both.sum(-1), pixels),
        "mean_accuracy": 100 * mean_of_defined(ratio(counts.both, counts.truth)),
        "frequency_weighted_iou": 100 * ratio(weighted, pixels),
        "f1": 100 * mean_of_defined(_f1(counts)),
    }


def figures_per_class(sums: Vector, classes: int) -> Figures:
    """`iou`, `accuracy` (recall), `precision` and `f1` in points, each of shape (…, classes).

    NaN where a class has no such pixels.
    """
    counts = counts_of(sums, classes)
    return {
        "iou": 100 * ratio(counts.both, counts.union),
        "accuracy": 100 * ratio(counts.both, counts.truth),
        "precision": 100 * ratio(counts.both, counts.predicted),
        "f1": 100 * _f1(counts),
    }


def _f1(counts: Counts) -> Vector:
    return ratio(2 * counts.both, counts.truth + counts.predicted)
