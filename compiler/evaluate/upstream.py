"""The published evaluation scripts, figure by figure as they compute them, faults included.

Each reads the raw output (cast to float32) and the masks by its own rules, whatever the bundle says
of them; the document of `definitions` says which fault is which. Two faults cannot show here: M3
and M8 skip images whose arrays do not fit (a truth always gets the prediction's size), and M1
breaks on inputs that are not square (it swaps height and width).
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compiler.evaluate.confusion import counts_of, figures_of, of_classes
from compiler.evaluate.corrected import (
    BATCH,
    as_matte,
    as_share,
    as_train_ids,
    batches_of,
    compare_mattes,
    compare_shares,
    matting_confusion,
    matting_figures,
    matting_per_class,
    soft_dice_figures,
    two_class_figures,
)
from compiler.evaluate.masks import Size, as_grey, read_mask
from compiler.evaluate.masks import resized as resize
from compiler.evaluate.metric import Figures, Map, Metric, Vector, ratio
from compiler.evaluate.settings import (
    Settings,
    at_size,
    channels,
    one_channel,
    probability,
    sigmoid,
)
from compiler.runner.engine import Tensor

_TINY: Final = 2.220446049250313e-16
_DARK: Final = 125
_SMOOTH: Final = 1e-6


def m1(settings: Settings) -> Metric:
    """VOC: IoU of sums in float32, absent classes 0; accuracy of logits cut to whole numbers."""
    classes = settings.known_classes

    def predict(output: Tensor) -> Map:
        heat = channels(at_size(output, settings.size), classes)
        return np.stack([heat.argmax(0), np.trunc(heat).argmax(0)])

    def compare(predicted: Map, truth: Map) -> Vector:
        counted = truth != settings.ignore
        known = counted & (truth < classes)
        expected, found = truth[known], predicted[0][counted]
        both = np.bincount(expected[predicted[0][known] == expected], minlength=classes)
        union = np.bincount(expected, minlength=classes) - both
        union += np.bincount(found, minlength=classes)
        correct = np.count_nonzero(predicted[1][counted] == truth[counted])
        return np.array([*both, *union, correct, np.count_nonzero(counted)], np.float64)

    def iou(sums: Vector) -> Vector:
        both, union = sums[..., :classes], sums[..., classes : 2 * classes]
        return both / (_TINY + union)

    def figures(sums: Vector) -> Figures:
        accuracy = sums[..., -2] / (_TINY + sums[..., -1])
        return {"mean_iou": 100 * iou(sums).mean(-1), "pixel_accuracy": 100 * accuracy}

    def total(units: Vector) -> Vector:
        areas = units[:, :-2].astype(np.float32)
        start = np.zeros(2 * classes, np.float32)
        return np.array([*reduce(np.add, areas, start), *units[:, -2:].sum(axis=0)], np.float64)

    return Metric(
        name="m1",
        title="VOC script",
        figure="mean_iou",
        predict=predict,
        truth=partial(read_mask, convert=_as_stored),
        compare=compare,
        figures=figures,
        per_class=lambda sums: {"iou": 100 * iou(sums)},
        nothing="no labelled pixel",
        total=total,
    )


def m2(settings: Settings) -> Metric:
    """Cityscapes: one confusion matrix of 19 classes, absent classes 0."""
    classes = 19

    def predict(output: Tensor) -> Map:
        return np.asarray(channels(at_size(output, settings.size), classes).argmax(0))

    def figures(sums: Vector) -> Figures:
        counts = counts_of(sums, classes)
        accuracy = counts.both / np.maximum(1.0, counts.truth)
        return {
            "mean_iou": 100 * (counts.both / np.maximum(1.0, counts.union)).mean(-1),
            "pixel_accuracy": 100 * ratio(counts.both.sum(-1), counts.truth.sum(-1)),
            "mean_accuracy": 100 * accuracy.mean(-1),
        }

    return Metric(
        name="m2",
        title="Cityscapes script",
        figure="mean_iou",
        predict=predict,
        truth=partial(read_mask, convert=as_train_ids),
        nothing="no labelled pixel",
        **{**of_classes(classes, partial(_known, classes=classes)), "figures": figures},
    )


def m3(settings: Settings) -> Metric:
    """Face parsing: as M4 with 19 classes, and an F1 that is NaN without a true positive."""
    classes = settings.known_classes

    def figures(sums: Vector) -> Figures:
        counts = counts_of(sums, classes)
        precision, recall = ratio(counts.both, counts.predicted), ratio(counts.both, counts.truth)
        f1 = ratio(2 * precision * recall, precision + recall).mean(-1)
        return {**figures_of(sums, classes), "f1": 100 * f1}

    def truth(mask: Image.Image, size: Size) -> Map:
        return _pillow_resized(mask.convert("L"), size, Image.Resampling.NEAREST)

    return Metric(
        name="m3",
        title="face parsing script",
        figure="mean_iou",
        predict=partial(_argmax, classes=classes),
        truth=partial(read_mask, convert=truth),
        **{**of_classes(classes, partial(_known, classes=classes)), "figures": figures},
    )


def m4(settings: Settings) -> Metric:
    """Carvana: the values of the mask are the classes; what is neither 0 nor 1 is dropped."""
    return _of_two("m4", "Carvana script", partial(_argmax, classes=2), _as_stored)


def m4b(settings: Settings) -> Metric:
    """Dice of the foreground of every image, smoothed; two empty sets are 1."""

    def truth(mask: Image.Image, size: Size) -> Map:
        return _pillow_resized(mask, size, Image.Resampling.NEAREST) > 0

    def compare(predicted: Map, truth: Map) -> Vector:
        both = 2 * np.count_nonzero(predicted & truth)
        all_ = np.count_nonzero(predicted) + np.count_nonzero(truth)
        return np.array([(both + _SMOOTH) / ((all_ or both) + _SMOOTH), 1], np.float64)

    return Metric(
        name="m4b",
        title="Dice of the original UNet project",
        figure="dice",
        predict=lambda output: _argmax(output, 2) > 0,
        truth=partial(read_mask, convert=truth),
        compare=compare,
        figures=partial(_means, names=("dice",)),
    )


def m5(settings: Settings) -> Metric:
    """Membrane: every non-zero pixel of a mask that Pillow resized is foreground."""

    def truth(mask: Image.Image, size: Size) -> Map:
        return np.asarray(_as_stored(mask, size) >= 0.5, np.int64)

    return _of_two("m5", "membrane script", _at_least_half, truth)


def m6(settings: Settings) -> Metric:
    """Portraits: IoU of the foreground of every image; without any, all is NaN."""

    def compare(predicted: Map, truth: Map) -> Vector:
        return np.array([_overlap(predicted, truth)[0], 1], np.float64)

    return Metric(
        name="m6",
        title="portrait script",
        figure="foreground_iou",
        predict=lambda output: sigmoid(one_channel(output)) > 0.5,
        truth=partial(read_mask, convert=_as_bright),
        compare=compare,
        figures=partial(_means, names=("foreground_iou",)),
    )


def m7(settings: Settings) -> Metric:
    """Nuclei: IoU and Dice of the foreground of every image; without any, all is NaN."""

    def compare(predicted: Map, truth: Map) -> Vector:
        return np.array([*_overlap(predicted > 0, truth), 1], np.float64)

    return Metric(
        name="m7",
        title="DSB2018 script",
        figure="foreground_iou",
        predict=_at_least_half,
        truth=partial(read_mask, convert=_as_bright),
        compare=compare,
        figures=partial(_means, names=("foreground_iou", "dice")),
    )


def m8(settings: Settings) -> Metric:
    """Persons: mean of two IoUs of every image, an absent person 0; any grey is person."""

    def truth(mask: Image.Image, size: Size) -> Map:
        return resize(as_grey(mask), size) > 0

    def compare(predicted: Map, truth: Map) -> Vector:
        sides = ((predicted == 0, ~truth), (predicted == 1, truth))
        pixels = [(np.count_nonzero(p & t), np.count_nonzero(p | t)) for p, t in sides]
        both, union = np.array(pixels, np.float32).T
        iou = both / (union + np.float32(_SMOOTH))
        return np.array([iou.mean(), 1, iou[0], 1, iou[1], 1], np.float64)

    return Metric(
        name="m8",
        title="person script",
        figure="mean_iou",
        predict=partial(_argmax, classes=2),
        truth=partial(read_mask, convert=truth),
        compare=compare,
        figures=two_class_figures,
    )


def m9(settings: Settings) -> Metric:
    """Mattes: the prediction is cut, not rounded, to 8 bits."""

    def predict(output: Tensor) -> Map:
        levels = (one_channel(output) * 255).astype(np.int64)
        return levels.astype(np.uint8)  # past 0 … 255 it wraps around, as upstream

    return Metric(
        name="m9",
        title="matting script",
        figure="mad",
        predict=predict,
        truth=partial(read_mask, convert=as_matte),
        compare=compare_mattes,
        figures=matting_figures,
        per_class=matting_per_class,
        confusion=matting_confusion,
    )


def m12(settings: Settings) -> Metric:
    """Soft Dice of batches of two: a logit of 0 has no foreground, an odd last image is dropped."""

    def predict(output: Tensor) -> Map:
        p = probability(output, settings.rule)
        return p if settings.rule.threshold else np.where(one_channel(output) == 0, 0, p)

    return Metric(
        name="m12",
        title="MindSpore UNet3+ script",
        figure="soft_dice",
        predict=predict,
        truth=partial(read_mask, convert=as_share),
        compare=compare_shares,
        figures=soft_dice_figures,
        counts=lambda statistics: np.arange(len(statistics)) < len(statistics) // BATCH * BATCH,
        units=partial(batches_of, size=BATCH, keep_rest=False),
        nothing="an odd last image fills no batch",
    )


def _of_two(
    name: str,
    title: str,
    predict: Callable[[Tensor], Map],
    truth: Callable[[Image.Image, Size], Map],
) -> Metric:
    return Metric(
        name=name,
        title=title,
        figure="mean_iou",
        predict=predict,
        truth=partial(read_mask, convert=truth),
        **of_classes(2, partial(_known, classes=2)),
    )


def _known(predicted: Map, truth: Map, classes: int) -> tuple[Map, Map]:
    known = (truth >= 0) & (truth < classes)
    return predicted[known], truth[known].astype(np.int64)


def _overlap(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[Any, Any]:
    """IoU and Dice, NaN where both sets are empty."""
    both = np.count_nonzero(predicted & truth)
    all_ = np.count_nonzero(predicted) + np.count_nonzero(truth)
    return ratio(both, all_ - both), ratio(2 * both, all_)


def _means(sums: Vector, names: tuple[str, ...]) -> Figures:
    """Means over images in points, from sums of [ratio of each name, 1]."""
    return {name: 100 * ratio(sums[..., i], sums[..., -1]) for i, name in enumerate(names)}


def _argmax(output: Tensor, classes: int) -> Map:
    return np.asarray(channels(output, classes).argmax(0))


def _at_least_half(output: Tensor) -> Map:
    return (one_channel(output) >= 0.5).astype(np.int64)


def _as_bright(mask: Image.Image, size: Size) -> NDArray[np.bool_]:
    return resize(as_grey(mask), size) >= _DARK


def _as_stored(mask: Image.Image, size: Size) -> NDArray[np.int64]:
    """Values as they are stored; Pillow's default filter blends those of grey masks."""
    return _pillow_resized(mask, size, None).astype(np.int64)


def _pillow_resized(image: Image.Image, size: Size, filter_: Any) -> Map:  # Any: Pillow's own
    return np.asarray(image.resize((size[1], size[0]), filter_))
