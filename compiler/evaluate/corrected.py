"""The metrics as they are meant: the upstream definitions without their faults.

Class maps follow the rule of the bundle's manifest, counts are exact, and what does not occur has
no say instead of counting as 0 or turning a mean into NaN.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compiler.evaluate.confusion import (
    check_classes,
    confusion_matrix,
    count_pixels,
    figures_of,
    figures_per_class,
    of_classes,
)
from compiler.evaluate.masks import (
    NOWHERE,
    Size,
    as_classes,
    as_foreground,
    as_grey,
    read_mask,
)
from compiler.evaluate.masks import resized as resize
from compiler.evaluate.matting import connectivity_error, gradient_error
from compiler.evaluate.metric import Figures, Map, Metric, Vector, mean_of_defined, ratio
from compiler.evaluate.settings import Settings, predicted_classes, probability

CITYSCAPES: Final = MappingProxyType(
    dict(zip([7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33], range(19), strict=True))
)
"""Train ids of the label ids that count."""

NO_CLASS: Final = 255
BATCH: Final = 2
SMOOTH: Final = 1e-5
MIDDLE: Final = 128


def mean_iou(name: str, figure: str, settings: Settings) -> Metric:
    """M1, M3: one confusion matrix of class maps; the masks hold class numbers.

    Raises:
        ValueError: The number of classes is not given.
    """
    return _of_classes(name, "classes, pooled", figure, settings, as_classes)


def cityscapes(settings: Settings) -> Metric:
    """M2: the masks hold label ids, of which 19 classes are made."""
    fixed = replace(settings, classes=19, ignore=NO_CLASS)
    return _of_classes("cityscapes", "Cityscapes classes", "mean_iou", fixed, as_train_ids)


def carvana(settings: Settings) -> Metric:
    """M4: two classes; whatever exceeds 0 in a mask is foreground."""
    fixed = replace(settings, classes=2, ignore=None)
    return _of_classes("carvana", "background and car", "mean_iou", fixed, _as_non_zero)


def membrane(settings: Settings) -> Metric:
    """M5: two classes; nearest neighbour, then >= 128 is foreground."""
    fixed = replace(settings, classes=2, ignore=None)
    return _of_classes("membrane", "background and cells", "mean_iou", fixed, _as_bright)


def foreground(name: str, figure: str, settings: Settings) -> Metric:
    """M6, M7: foreground of every image; without any in prediction and truth it is left out."""
    return Metric(
        name=name,
        title="foreground",
        figure=figure,
        predict=partial(predicted_classes, settings=settings),
        truth=partial(read_mask, convert=as_foreground, see=settings.see),
        compare=compare_foreground,
        figures=_foreground_figures,
        nothing="no foreground in prediction and mask",
        counts=lambda statistics: statistics[:, 0] != 0,
    )


def person(settings: Settings) -> Metric:
    """M8: mean over images of the mean IoU of those of the two classes that occur."""
    return Metric(
        name="person",
        title="background and person, mean of the images",
        figure="mean_iou",
        predict=partial(predicted_classes, settings=settings),
        truth=partial(read_mask, convert=_as_half, see=settings.see),
        compare=_compare_two,
        figures=two_class_figures,
    )


def matting(settings: Settings) -> Metric:
    """M9: errors of a matte that is not rounded to 8 bits, and the two classes at its middle."""
    return Metric(
        name="matting",
        title="matte",
        figure="mad",
        predict=partial(_matte, settings=settings),
        truth=partial(read_mask, convert=as_matte, see=settings.see),
        compare=compare_mattes,
        figures=matting_figures,
        per_class=matting_per_class,
        confusion=matting_confusion,
    )


def soft_dice(settings: Settings) -> Metric:
    """M12: Dice of probabilities, pooled over batches of two images, mean of the batches."""
    return Metric(
        name="soft_dice",
        title="soft Dice, batches of 2",
        figure="soft_dice",
        predict=partial(probability, rule=settings.rule),
        truth=partial(read_mask, convert=as_share, see=settings.see),
        compare=compare_shares,
        figures=soft_dice_figures,
        counts=lambda statistics: np.ones(len(statistics), bool),
        units=_batches,
    )


def as_train_ids(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    """Label ids of Cityscapes, nearest neighbour to `size`, as train ids; others become 255."""
    table = np.full(256, NO_CLASS, np.int64)
    table[list(CITYSCAPES)] = list(CITYSCAPES.values())
    return np.asarray(table[resize(as_grey(mask), size, "nearest")])


def as_matte(mask: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Levels 0 … 255 of a matte, averaged (INTER_AREA) to `size`."""
    return resize(as_grey(mask), size, "area")


def as_share(mask: Image.Image, size: Size) -> NDArray[np.float32]:
    """Share of foreground in [0, 1]; bilinear if the mask has another size."""
    return resize(as_grey(mask), size).astype(np.float32) / np.float32(255)


def compare_foreground(predicted: Map, truth: Map) -> Vector:
    """Statistics [counts, IoU, Dice, |P and T|, |P|, |T|, pixels that agree, pixels]."""
    inside, expected = predicted > 0, truth > 0
    both, p, t = (np.count_nonzero(x) for x in (inside & expected, inside, expected))
    agree, pixels = np.count_nonzero(inside == expected), expected.size
    union = p + t - both
    shares = (1, both / union, 2 * both / (p + t)) if union else (0, 0, 0)
    return np.array([*shares, both, p, t, agree, pixels], np.float64)


def compare_mattes(predicted: Map, truth: Map) -> Vector:
    """Statistics [1, MSE, MAD, Grad, Conn, `count_pixels` of two classes].

    Args:
        predicted: Levels 0 … 255, whole or not, shape (H, W).
        truth: Likewise.
    """
    p, t = predicted / 255.0, truth / 255.0
    errors = (
        ((p - t) ** 2).mean(),
        np.abs(p - t).mean(),
        gradient_error(p, t),
        connectivity_error(p, t),
    )
    return np.array([1, *errors, *count_pixels(*_halves(predicted, truth), 2)], np.float64)


def matting_confusion(predicted: Map, truth: Map) -> Vector:
    """Pixels of two classes, below and from the middle on, shape (2, 2), row = truth."""
    return confusion_matrix(*_halves(predicted, truth), 2)


def matting_figures(sums: Vector) -> Figures:
    """`mse`, `mad`, `grad` and `conn` as they are, and the figures of two classes in points."""
    names = ("mse", "mad", "grad", "conn")
    errors = {name: ratio(sums[..., 1 + i], sums[..., 0]) for i, name in enumerate(names)}
    return {**errors, **figures_of(sums[..., 5:], 2)}


def matting_per_class(sums: Vector) -> Figures:
    """Figures of the two classes."""
    return figures_per_class(sums[..., 5:], 2)


def compare_shares(predicted: Map, truth: Map) -> Vector:
    """Statistics [sum of p t, sum of p + t] of probabilities and shares."""
    p, t = predicted.astype(np.float64), truth.astype(np.float64)
    return np.array([(p * t).sum(), (p + t).sum()], np.float64)


def batches_of(statistics: Vector, size: int, *, keep_rest: bool) -> Vector:
    """Units [Dice x images, images] of consecutive images, from `compare_shares` of each."""
    kept = len(statistics) if keep_rest else len(statistics) // size * size
    starts = np.arange(0, kept, size)
    if not len(starts):
        return np.zeros((0, 2))
    both, all_ = np.add.reduceat(statistics[:kept], starts, axis=0).T
    images = np.minimum(size, kept - starts)
    return np.stack([images * (2 * both + SMOOTH) / (all_ + SMOOTH), images], axis=1)


def soft_dice_figures(sums: Vector) -> Figures:
    """`soft_dice` in points."""
    return {"soft_dice": 100 * ratio(sums[..., 0], sums[..., 1])}


def two_class_figures(sums: Vector) -> Figures:
    """Means over images, from sums of [mean, 1, IoU and whether it is defined, per class]."""
    return {
        "mean_iou": 100 * ratio(sums[..., 0], sums[..., 1]),
        "background_iou": 100 * ratio(sums[..., 2], sums[..., 3]),
        "foreground_iou": 100 * ratio(sums[..., 4], sums[..., 5]),
    }


def _of_classes(
    name: str,
    title: str,
    figure: str,
    settings: Settings,
    convert: Callable[[Image.Image, Size], Map],
) -> Metric:
    classes, ignore = settings.known_classes, settings.ignore
    return Metric(
        name=name,
        title=title,
        figure=figure,
        predict=partial(predicted_classes, settings=settings),
        truth=partial(read_mask, convert=convert, see=settings.see, outside=NOWHERE),
        nothing="no labelled pixel",
        **of_classes(classes, partial(_labelled, classes=classes, ignore=ignore)),
    )


def _labelled(predicted: Map, truth: Map, classes: int, ignore: int | None) -> tuple[Map, Map]:
    counted = truth != NOWHERE
    if ignore is not None:
        counted &= truth != ignore
    rows, columns = truth[counted], predicted[counted]
    check_classes("mask", rows, classes)
    check_classes("prediction", columns, classes)
    return columns, rows


def _halves(predicted: Map, truth: Map) -> tuple[Map, Map]:
    middle = np.stack([predicted, truth]) >= MIDDLE
    return middle[0].ravel().astype(np.int64), middle[1].ravel().astype(np.int64)


def _compare_two(predicted: Map, truth: Map) -> Vector:
    inside, expected = predicted > 0, truth > 0
    iou = np.array(
        [
            ratio(np.count_nonzero(p & t), np.count_nonzero(p | t))
            for p, t in ((~inside, ~expected), (inside, expected))
        ]
    )
    defined = ~np.isnan(iou)
    known = np.where(defined, iou, 0)
    return np.array([mean_of_defined(iou), 1, known[0], defined[0], known[1], defined[1]], float)


def _foreground_figures(sums: Vector) -> Figures:
    images, both, predicted, truth = (sums[..., i] for i in (0, 3, 4, 5))
    return {
        "foreground_iou": ratio(100 * sums[..., 1], images),
        "dice": ratio(100 * sums[..., 2], images),
        "pooled_foreground_iou": 100 * ratio(both, predicted + truth - both),
        "pooled_dice": 100 * ratio(2 * both, predicted + truth),
        "pixel_accuracy": 100 * ratio(sums[..., 6], sums[..., 7]),
    }


def _matte(output: Map, settings: Settings) -> Map:
    return 255 * np.clip(probability(output, settings.rule), 0, 1)


def _batches(statistics: Vector) -> Vector:
    return batches_of(statistics, BATCH, keep_rest=True)


def _as_non_zero(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    values = np.asarray(mask)
    return resize((values > 0).astype(np.uint8), size, "nearest").astype(np.int64)


def _as_bright(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    return (resize(as_grey(mask), size, "nearest") >= MIDDLE).astype(np.int64)


def _as_half(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    return (resize(as_grey(mask), size) >= MIDDLE).astype(np.int64)
