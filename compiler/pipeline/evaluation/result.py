"""What an evaluation finds: figures of networks side by side, and which images they are of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.errors import ModcError
from compiler.evaluate.intervals import Interval
from compiler.evaluate.metric import Use
from compiler.pipeline.evaluation.contenders import Contender


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that a network could not be evaluated on."""

    network: str
    image: str
    error: ModcError


@dataclass(frozen=True, slots=True)
class Scale:
    """What is measured.

    Args:
        name: Of the metric.
        title: For people.
        figure: The one figure that networks are compared by.
        lower_is_better: Whether that is an error.
        nothing: Why an image has no say.
    """

    name: str
    title: str
    figure: str
    lower_is_better: bool = False
    nothing: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of one network.

    Args:
        metric: What is measured.
        figures: With intervals over the choice of images.
        differences: To the base, paired; None of the base itself.
        use: How many images decide.
        per_class: Figures of every class; None where the metric has none.
        confusion: Pixels, row = truth, column = prediction; likewise.
        images: Figures of every image alone, in order of `Evaluation.images`.
    """

    metric: Scale
    figures: dict[str, Interval]
    differences: dict[str, Interval] | None
    use: Use
    per_class: dict[str, NDArray[np.float64]] | None = None
    confusion: NDArray[np.float64] | None = None
    images: tuple[dict[str, float], ...] = ()

    @property
    def figure(self) -> Interval:
        """The figure that networks are compared by."""
        return self.figures[self.metric.figure]

    @property
    def difference(self) -> Interval | None:
        """Of that figure to the base."""
        return None if self.differences is None else self.differences[self.metric.figure]

    @property
    def drop(self) -> float | None:
        """How much worse than the base it is, in units of the figure."""
        if self.difference is None:
            return None
        return self.difference.value * (1 if self.metric.lower_is_better else -1)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the class maps, or likeliest classes, of a network are those of the base; points.

    Args:
        pixels: Share of the pixels, or of the images of a classifier.
        iou: Of the foreground if there is one class besides the background, else mean over the
            classes that occur; pooled over all images. NaN without any, and of a classifier.
        images: `pixels` of every image.
    """

    pixels: float
    iou: float
    images: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one network; `measured` is in order of the metrics."""

    contender: Contender
    measured: tuple[Measured, ...]
    agreement: Agreement | None
    per_second: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Networks side by side.

    Args:
        base: Name of the network that the others are compared with.
        rows: Of every network, the base first.
        images: Names of those that count.
        asked: Number of images that were to be evaluated.
        failures: Images that a network could not be evaluated on.
        alone: What has no partner, by kind, such as images without mask.
        classes: Names; may be empty.
        notes: What was assumed.
    """

    base: str
    rows: tuple[Row, ...]
    images: tuple[str, ...]
    asked: int
    failures: tuple[Failure, ...]
    alone: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
