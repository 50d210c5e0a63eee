"""Average precision of resampled images, against pycocotools on copies of images."""

import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from compiler.evaluate.intervals import draw_counts
from compiler.pipeline.evaluation.average_precision import average_precision, matches_of

IMAGES, CATEGORIES = 12, 3


@pytest.mark.parametrize("digits", [1, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_images_as_they_are_have_the_precision_of_pycocotools(seed: int, digits: int) -> None:
    truths, results = _scene(seed, digits)
    evaluated = _evaluate(truths, results, range(IMAGES))
    matches, recalls = matches_of(evaluated), evaluated.params.recThrs
    whole = average_precision(matches, np.ones(IMAGES), recalls)
    assert whole.mean() == pytest.approx(evaluated.stats[0], abs=1e-12)
    assert whole[0] == pytest.approx(evaluated.stats[1], abs=1e-12)
    assert whole[5] == pytest.approx(evaluated.stats[2], abs=1e-12)
    assert 0.05 < whole.mean() < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_copies_of_images(seed: int) -> None:
    truths, results = _scene(seed)
    evaluated = _evaluate(truths, results, range(IMAGES))
    matches, recalls = matches_of(evaluated), evaluated.params.recThrs
    for (weights,) in draw_counts(IMAGES, resamples=3, seed=seed):
        drawn = [i for i, weight in enumerate(weights) for _ in range(int(weight))]
        expected = _evaluate(truths, results, drawn).stats[:3]
        found = average_precision(matches, weights, recalls)
        assert found.mean() == pytest.approx(expected[0], abs=1e-12)
        assert found[0] == pytest.approx(expected[1], abs=1e-12)


def test_a_category_that_no_drawn_image_has_says_nothing() -> None:
    truths, results = _scene(0)
    truths = [one for one in truths if one["image_id"] == 0]
    evaluated = _evaluate(truths, results, range(IMAGES))
    matches, recalls = matches_of(evaluated), evaluated.params.recThrs
    weights = np.ones(IMAGES)
    weights[0] = 0
    assert np.isnan(average_precision(matches, weights, recalls)).all()


def _scene(
    seed: int, digits: int = 15
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # Any: COCO's JSON
    """Objects of 12 images, and detections of which some are moved, wrong or superfluous.

    Scores have so many digits: few make ties.
    """
    random = np.random.default_rng(seed)
    truths: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(IMAGES):
        for _ in range(random.integers(0, 5)):
            box = [*random.integers(0, 60, 2), *random.integers(8, 40, 2)]
            kind = int(random.integers(CATEGORIES))
            crowd = int(random.random() < 0.1)
            truths.append(_fact(image, kind, box) | {"iscrowd": crowd, "id": len(truths) + 1})
            for _ in range(random.integers(0, 3)):
                moved = np.array(box) + random.integers(-3, 4, 4)
                kind = kind if random.random() < 0.8 else int(random.integers(CATEGORIES))
                score = float(np.round(random.random(), digits))
                results.append(_fact(image, kind, moved.tolist()) | {"score": score})
    return truths, results


def _fact(image: int, kind: int, box: list[Any]) -> dict[str, Any]:
    numbers = [float(value) for value in box]
    return {
        "image_id": image,
        "category_id": kind,
        "bbox": numbers,
        "area": numbers[2] * numbers[3],
    }


def _evaluate(
    truths: list[dict[str, Any]], results: list[dict[str, Any]], images: Any
) -> Any:  # Any: a COCOeval
    """Image i of the evaluation is a copy of images[i]."""

    def copied(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**fact, "image_id": copy}
            for copy, source in enumerate(images)
            for fact in facts
            if fact["image_id"] == source
        ]

    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "width": 100, "height": 100} for i in range(len(images))],
            "categories": [{"id": i, "name": str(i)} for i in range(CATEGORIES)],
            "annotations": [
                {**one, "id": number} for number, one in enumerate(copied(truths), start=1)
            ],
        }
        truth.createIndex()
        evaluated = COCOeval(truth, truth.loadRes(copied(results)), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated
