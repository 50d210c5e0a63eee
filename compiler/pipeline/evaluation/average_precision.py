"""COCO's average precision for any resampling of the images.

pycocotools matches detections with truths image by image, which no resampling changes. What follows
from the matches is done here with a weight for every image: how often it was drawn. An image of
weight 2 counts exactly as two copies of it would, unless detections in it have equal scores, whose
order is arbitrary.

Source: `COCOeval.accumulate` of pycocotools (Lin et al., "Microsoft COCO", 2014), for objects of
all sizes and 100 detections per image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_EPSILON: Final = float(np.spacing(1))  # as pycocotools guards its division

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matches:
    """Detections of one category in all images, highest score first.

    Args:
        image: Number of the image of each, shape (N,).
        hits: Whether it is right at each overlap, shape (T, N).
        misses: Whether it is wrong; what is neither does not count.
        truths: Objects to find in every image, shape (images,).
    """

    image: NDArray[np.int64]
    hits: NDArray[np.bool_]
    misses: NDArray[np.bool_]
    truths: NDArray[np.int64]


def matches_of(evaluated: Any) -> list[Matches]:  # Any: pycocotools has no types
    """Matches by category.

    Args:
        evaluated: A `COCOeval` after `evaluate()`.
    """
    images = len(evaluated.params.imgIds)
    sizes = len(evaluated.params.areaRng)
    step = images * sizes
    per_category = [
        evaluated.evalImgs[start : start + images]  # the first size is "all"
        for start in range(0, len(evaluated.evalImgs), step)
    ]
    return [_matches(one, len(evaluated.params.iouThrs)) for one in per_category]


def average_precision(categories: Sequence[Matches], weights: Floats, recalls: Floats) -> Floats:
    """Mean over categories of the precision at given recalls, for every overlap.

    Args:
        categories: Matches of each.
        weights: Of the images, shape (images,).
        recalls: At which precision is read, ascending.

    Returns:
        Shape (T,), 0 … 1; NaN where no category has an object.
    """
    found = []
    for one in categories:
        truths = float(weights @ one.truths)
        if truths > 0:
            found.append(_precision(one, weights[one.image], truths, recalls))
    if not found:
        return np.full(len(categories[0].hits) if categories else 1, np.nan)
    return np.asarray(np.mean(found, axis=0))


def _matches(images: Sequence[Any], overlaps: int) -> Matches:  # Any: as in matches_of
    scores, numbers, hits, ignored = [], [], [], []
    truths = np.zeros(len(images), np.int64)
    for number, one in enumerate(images):
        if one is None:  # neither detection nor truth
            continue
        truths[number] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        scores.append(np.asarray(one["dtScores"], float))
        numbers.append(np.full(len(scores[-1]), number))
        hits.append(np.asarray(one["dtMatches"]).reshape(overlaps, -1) != 0)
        ignored.append(np.asarray(one["dtIgnore"]).reshape(overlaps, -1) != 0)
    if not scores:
        nothing = np.zeros((overlaps, 0), bool)
        return Matches(np.zeros(0, np.int64), nothing, nothing, truths)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit, skip = (np.concatenate(one, axis=1)[:, order] for one in (hits, ignored))
    return Matches(np.concatenate(numbers)[order], hit & ~skip, ~hit & ~skip, truths)


def _precision(one: Matches, weights: Floats, truths: float, recalls: Floats) -> Floats:
    """Mean over the recalls, shape (T,)."""
    right = np.cumsum(one.hits * weights, axis=1)
    wrong = np.cumsum(one.misses * weights, axis=1)
    precision = right / (right + wrong + _EPSILON)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    beyond = np.zeros((len(best), 1))  # a recall that is never reached
    best = np.concatenate([best, beyond], axis=1)
    places = [np.searchsorted(recall, recalls) for recall in right / truths]
    return np.array([row[place].mean() for row, place in zip(best, places, strict=True)])
