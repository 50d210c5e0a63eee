"""What a segmentation metric is: sums over images, and figures of these sums.

Every metric turns one image into a vector of statistics whose sum over a data set decides its
figures: pixels of every class for ratios of sums, [ratio, 1] for means of the images' ratios. So
the figures of any resampling of the images are a function of one matrix product (`intervals`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.evaluate.masks import Size, unusable
from compiler.runner.engine import Tensor

Vector: TypeAlias = NDArray[np.float64]
Figures: TypeAlias = Mapping[str, NDArray[np.float64]]
Map: TypeAlias = NDArray[Any]  # Any: class numbers, truth values, or levels of a matte

ERRORS: Final = frozenset({"mse", "mad", "grad", "conn"})
"""Figures of which less is better, in units of their own; all others are points, 0 … 100."""


@dataclass(frozen=True, slots=True)
class Use:
    """How many images decide a figure.

    Args:
        used: Images that count.
        left_out: Images that have no say, because nothing can be compared in them.
        undefined: Of the used ones, those whose figure is not a number.
    """

    used: int
    left_out: int
    undefined: int


def total_of(units: Vector) -> Vector:
    """Sum of units, shape (m, k) -> (k,), one after another."""
    return np.asarray(reduce(np.add, units, np.zeros(units.shape[1])))


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with all its rules.

    Args:
        name: As in `METRICS`.
        title: For people.
        figure: The one figure that networks are compared by, a key of `figures`.
        predict: Output of the network for one image -> prediction, shape (…, H, W). Raises
            ValueError where the output is of another kind.
        truth: File and (H, W) -> truth, shape (H, W). Raises CalibrationError where it cannot be
            read.
        compare: Prediction and truth -> statistics of one image, shape (k,). Raises ValueError
            where a value has no meaning.
        figures: Sums over images, shape (…, k) -> figures by name, each of shape (…).
        per_class: Likewise -> figures of every class, each of shape (…, classes).
        confusion: Prediction and truth -> pixels of one image, shape (classes, classes), row =
            truth; after `compare`, which checks the values.
        nothing: Why an image is left out.
        counts: Statistics of images, shape (n, k) -> which of them count, shape (n,).
        units: Statistics of images in order, shape (n, k) -> of what is summed and resampled, shape
            (m, …): the images themselves, or batches of them.
        total: Units, shape (m, k) -> their sum, shape (k,).
    """

    name: str
    title: str
    figure: str
    predict: Callable[[Tensor], Map]
    truth: Callable[[Path, Size], Map]
    compare: Callable[[Map, Map], Vector]
    figures: Callable[[Vector], Figures]
    per_class: Callable[[Vector], Figures] | None = None
    confusion: Callable[[Map, Map], Vector] | None = None
    nothing: str = "no pixel counts"
    counts: Callable[[Vector], NDArray[np.bool_]] = lambda statistics: np.any(
        statistics != 0, axis=1
    )
    units: Callable[[Vector], Vector] = lambda statistics: statistics
    total: Callable[[Vector], Vector] = total_of

    @property
    def lower_is_better(self) -> bool:
        """Whether `figure` is an error."""
        return self.figure in ERRORS

    def statistics(self, output: Tensor, truth: Path) -> Vector:
        """Statistics of one image, shape (k,).

        Args:
            output: Of the network for this image, shape (1, C, H, W), float16 or wider.
            truth: Its mask.

        Raises:
            ValueError: The output does not suit the metric.
            CalibrationError: The mask cannot be read, or holds values without meaning.
        """
        return self.compared(*self.maps(output, truth), truth)

    def maps(self, output: Tensor, truth: Path) -> tuple[Map, Map]:
        """Prediction and truth of one image; see `statistics`."""
        predicted = self.predict(output)
        return predicted, self.truth(truth, (predicted.shape[-2], predicted.shape[-1]))

    def compared(self, predicted: Map, truth: Map, mask: Path) -> Vector:
        """`compare`, with the mask to blame.

        Raises:
            CalibrationError: A value has no meaning.
        """
        try:
            return self.compare(predicted, truth)
        except ValueError as error:
            raise unusable(mask, error) from error

    def values(self, statistics: Vector) -> dict[str, float]:
        """Figures of a data set from the statistics of its images in order, shape (n, k)."""
        figures = self.figures(self.total(self.units(statistics)))
        return {name: float(value) for name, value in figures.items()}

    def use(self, statistics: Vector) -> Use:
        """How many of the images count, from their statistics, shape (n, k)."""
        used = int(np.count_nonzero(self.counts(statistics)))
        undefined = int(np.count_nonzero(np.isnan(statistics).any(axis=1)))
        return Use(used, len(statistics) - used, undefined)


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Quotient; NaN where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(part, whole, dtype=np.float64))


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is a number; NaN where nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))
