"""Detectors on annotations in COCO's format: average precision of boxes and of masks.

Matching is pycocotools' own (extra `coco`). Its summary gives the figures; the intervals come from
resampled images (`average_precision`).
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from compiler.compat.delivery import is_detection
from compiler.compat.detections import read_objects
from compiler.errors import BuildFileError, BundleError, CalibrationError, MissingRequirementError
from compiler.evaluate.intervals import draw_counts, percentile_interval
from compiler.evaluate.masks import See, Size
from compiler.evaluate.metric import Use
from compiler.evaluate.pairs import some
from compiler.pipeline.clock import Report
from compiler.pipeline.evaluation.average_precision import Floats, average_precision, matches_of
from compiler.pipeline.evaluation.contenders import Outputs, see_of, without_images
from compiler.pipeline.evaluation.question import COCO
from compiler.pipeline.evaluation.result import Evaluation, Measured, Row, Scale
from compiler.pipeline.evaluation.run import Item, Open, Outcome, common_of, run_over
from compiler.runner.preprocessing import image_shape
from compiler.runner.read import Bundle
from compiler.runner.results import result_names

_KINDS: Final = {"bbox": "box", "segm": "mask"}
_TITLES: Final = {
    "bbox": "average precision of boxes, IoU 0.50 to 0.95",
    "segm": "average precision of masks, IoU 0.50 to 0.95",
}
_STATS: Final = {  # place in COCOeval.stats
    "ap": 0,
    "ap50": 1,
    "ap75": 2,
    "ap_small": 3,
    "ap_medium": 4,
    "ap_large": 5,
    "ar100": 8,
}
_RESAMPLES: Final = 200  # each takes far longer than a sum of statistics
_OVERLAPS: Final = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6)}  # of 0.50 … 0.95

_NEEDED: Final = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "bbox", "area"),
}

Json = dict[str, Any]  # Any: values of COCO's JSON


@dataclass(frozen=True, slots=True)
class _Found:
    """Detections in an image, as COCO writes results; `masks` is empty without masks."""

    boxes: tuple[Json, ...]
    masks: tuple[Json, ...]
    has_masks: bool


@dataclass(frozen=True, slots=True)
class _Points:
    """A figure of the images as they are, and of every draw of them (NaN if that is not known)."""

    value: float
    drawn: Floats


@dataclass(frozen=True, slots=True)
class _Pycocotools:
    """Modules of an extra package."""

    coco: ModuleType
    cocoeval: ModuleType
    mask: ModuleType


@dataclass(frozen=True, slots=True)
class _Geometry:
    """How boxes come back to the image."""

    see: See
    input_size: Size


def evaluate_detections(
    networks: Sequence[Open],
    images: Path,
    annotations: Path,
    *,
    classes: tuple[str, ...] = (),
    limit: int | None = None,
    progress: Report,
) -> Evaluation:
    """Average precision of detectors, the first of which is what the others are compared with.

    Class i of a network is the category with the name of class i if the classes have names, else
    the i-th category by its id: so the 80 classes of COCO are its ids 1 … 90.

    Args:
        networks: Open each.
        images: Folder of the images.
        annotations: JSON: images, categories, annotations.
        classes: Names; may be empty.
        limit: Most images, spread evenly.
        progress: Called as progress(stage, done, total).

    Raises:
        MissingRequirementError: pycocotools is absent.
        CalibrationError: The annotations cannot be used, or no image is there.
        BuildFileError: A network is no detector that ends in non-maximum suppression.
        ModcError: A network cannot be opened, or used on any image.
    """
    pycocotools = _load_pycocotools()
    truth = _read(pycocotools.coco, annotations)
    categories, rule = _categories(truth, classes, annotations)
    records, missing = _records(truth, images, annotations)
    if limit is not None and limit < len(records):
        records = [records[number * len(records) // limit] for number in range(limit)]
    files = [images / record["file_name"] for record in records]
    items = [Item(name, file) for name, file in zip(result_names(files), files, strict=True)]
    outcomes: list[Outcome[_Found]] = []
    for open_ in networks:
        with open_() as contender:
            geometry = _geometry(contender.bundle)
            judge = partial(_judge, records, categories, geometry, pycocotools.mask)
            outcomes.append(run_over(contender, items, judge, progress))
    common = common_of(outcomes)
    ids = [records[number]["id"] for number in common]
    draws = [] if len(ids) < 2 else [draw[0] for draw in draw_counts(len(ids), _RESAMPLES)]
    base: dict[str, _Points] = {}
    rows: list[Row] = []
    for outcome in outcomes:
        found = [one for number in common if (one := outcome.found[number]) is not None]
        measured, points = _measure(pycocotools, truth, found, ids, draws, base)
        base = base or points
        rows.append(Row(outcome.contender, measured, None, outcome.per_second))
    return Evaluation(
        base=outcomes[0].contender.name,
        rows=tuple(rows),
        images=tuple(items[number].name for number in common),
        asked=len(items),
        failures=tuple(failure for one in outcomes for failure in one.failures),
        alone={"images that are not there": missing},
        classes=classes,
        notes=(rule, f"intervals of {len(draws)} resamplings of the images"),
    )


def _load_pycocotools() -> _Pycocotools:
    try:
        from pycocotools import coco, cocoeval, mask
    except ImportError as error:
        raise MissingRequirementError(
            "average precision is computed by pycocotools, which is not installed",
            where="--metric coco",
            fix="pip install 'modc[coco]', or pip install pycocotools",
        ) from error
    return _Pycocotools(coco, cocoeval, mask)


def _read(module: ModuleType, path: Path) -> Any:  # Any: a COCO object
    try:
        with redirect_stdout(io.StringIO()):  # it prints
            truth = module.COCO(str(path))
        for part, needed in _NEEDED.items():
            if not truth.dataset.get(part):
                raise ValueError(f"it has no {part}")
            for key in needed:
                if not all(key in one for one in truth.dataset[part]):
                    raise ValueError(f"one of its {part} has no {key}")
        for one in truth.dataset["annotations"]:
            one.setdefault("iscrowd", 0)
    except KeyError as error:
        raise _unusable(path, f"an object in it has no {error.args[0]}") from error
    except (OSError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise _unusable(path, str(error)) from error
    return truth


def _unusable(path: Path, why: str) -> CalibrationError:
    return CalibrationError(
        f"no annotations of objects that can be used: {why}",
        where=str(path),
        fix="give a JSON such as instances_val2017.json",
    )


def _categories(truth: Any, classes: Sequence[str], path: Path) -> tuple[list[int], str]:
    """Category id of every class, and the rule."""
    ordered = sorted(truth.dataset["categories"], key=lambda one: one["id"])
    if not classes:
        return [one["id"] for one in ordered], (
            f"class i is the i-th of {len(ordered)} categories by id; --classes gives names instead"
        )
    by_name = {one["name"]: one["id"] for one in ordered}
    unknown = [name for name in classes if name not in by_name]
    if unknown:
        raise CalibrationError(
            f"no category is named {some(unknown)}; there are {some(list(by_name), 10)}",
            where=str(path),
            fix="name the classes as the categories are (--classes, or classes of the build file)",
        )
    return [by_name[name] for name in classes], "classes are categories of the same name"


def _geometry(bundle: Bundle | None) -> _Geometry:
    if bundle is None:
        raise BuildFileError(
            "boxes have no place on an image without the bundle that found them",
            where="--annotations",
            fix="name it with -m",
        )
    facts, see = bundle.manifest.preprocessing, see_of(bundle)
    if facts is None or see is None:
        raise without_images(bundle)
    shape = image_shape(bundle.manifest) or facts.shape
    if shape is None:
        raise BundleError(
            "boxes are in pixels of the network's input, whose size is not fixed",
            where=str(bundle.prefix),
            fix="give frontend.shape one size and compile it again",
        )
    return _Geometry(see, (shape[1], shape[2]))


def _records(
    truth: Any, images: Path, annotations: Path
) -> tuple[list[Json], tuple[str, ...]]:  # Any: a COCO object
    """Images by id, and the names of those that are not in the folder."""
    ordered = sorted(truth.dataset["images"], key=lambda one: one["id"])
    there = [one for one in ordered if (images / one["file_name"]).is_file()]
    if not there:
        raise CalibrationError(
            f"none of the {len(ordered)} images of {annotations.name} is in it, such as "
            f"{ordered[0]['file_name']}",
            where=str(images),
            fix="give the folder that the file names start from",
        )
    kept = {one["id"] for one in there}
    return there, tuple(one["file_name"] for one in ordered if one["id"] not in kept)


def _judge(
    records: Sequence[Json],
    categories: Sequence[int],
    geometry: _Geometry,
    mask_module: ModuleType,
    number: int,
    outputs: Outputs,
) -> _Found:
    if not is_detection([one.shape for one in outputs]):
        shapes = ", ".join(str(list(one.shape)) for one in outputs)
        raise BuildFileError(
            f"outputs of shapes {shapes} are not classes, scores and boxes",
            where="--annotations",
            fix="let the build file append non-maximum suppression (graph.extra_ops)",
        )
    record = records[number]
    size = record["height"], record["width"]
    objects = read_objects(outputs, geometry.see(*size), geometry.input_size)
    if objects.classes.size and objects.classes.max() >= len(categories):
        raise CalibrationError(
            f"class {objects.classes.max()} found; the annotations tell of {len(categories)}",
            where=str(record["file_name"]),
            fix="give the annotations of the network's classes, or all names with --classes",
        )
    facts = [
        {"image_id": record["id"], "category_id": categories[kind], "score": float(score)}
        for kind, score in zip(objects.classes, objects.scores, strict=True)
    ]
    corners = objects.clipped(size)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    boxes = tuple(fact | {"bbox": box.tolist()} for fact, box in zip(facts, sides, strict=True))
    masks = tuple(
        fact | {"segmentation": mask_module.encode(np.asfortranarray(mask))}
        for fact, mask in zip(facts, objects.masks(size), strict=False)
    )
    return _Found(boxes, masks, objects.prototypes is not None)


def _measure(
    pycocotools: _Pycocotools,
    truth: Any,  # Any: a COCO object
    found: Sequence[_Found],
    ids: Sequence[int],
    draws: Sequence[Floats],
    base: Mapping[str, _Points],
) -> tuple[tuple[Measured, ...], dict[str, _Points]]:
    """Figures of one network, with their differences to those of the base; and every figure."""
    outlined = all("segmentation" in one for one in truth.dataset["annotations"])
    kinds = ["bbox", *(["segm"] if outlined and all(one.has_masks for one in found) else [])]
    measured: list[Measured] = []
    points: dict[str, _Points] = {}
    for kind in kinds:
        results = [fact for one in found for fact in (one.boxes if kind == "bbox" else one.masks)]
        evaluated = _evaluated(pycocotools, truth, results, ids, kind)
        mine = _points_of(evaluated, draws, prefix=_KINDS[kind])
        shared = {name: base[name] for name in mine if name in base}
        measured.append(
            Measured(
                Scale(f"{COCO} {_KINDS[kind]}", _TITLES[kind], f"{_KINDS[kind]}_ap"),
                {name: percentile_interval(one.value, one.drawn) for name, one in mine.items()},
                {
                    name: percentile_interval(
                        mine[name].value - one.value, mine[name].drawn - one.drawn
                    )
                    for name, one in shared.items()
                }
                or None,
                Use(len(ids), 0, 0),
            )
        )
        points |= mine
    return tuple(measured), points


def _points_of(evaluated: Any, draws: Sequence[Floats], prefix: str) -> dict[str, _Points]:
    """Figures of the images as they are and of every draw; Any: a COCOeval."""
    matches, recalls = matches_of(evaluated), evaluated.params.recThrs
    found = [average_precision(matches, draw, recalls) for draw in draws]
    drawn = 100 * np.reshape(found, (len(draws), len(evaluated.params.iouThrs)))
    by_name = {name: drawn[:, at].mean(axis=1) for name, at in _OVERLAPS.items()}
    return {
        f"{prefix}_{name}": _Points(
            100 * float(evaluated.stats[at]) if evaluated.stats[at] >= 0 else np.nan,
            by_name.get(name, np.full(len(draws), np.nan)),
        )
        for name, at in _STATS.items()
    }


def _evaluated(
    pycocotools: _Pycocotools, truth: Any, results: list[Json], ids: Sequence[int], kind: str
) -> Any:  # Any: pycocotools' objects
    with redirect_stdout(io.StringIO()):
        if results:
            detected = truth.loadRes([dict(one) for one in results])
        else:  # which loadRes does not take
            detected = pycocotools.coco.COCO()
            detected.dataset = {**truth.dataset, "annotations": []}
            detected.createIndex()
        evaluated = pycocotools.cocoeval.COCOeval(truth, detected, kind)
        evaluated.params.imgIds = list(ids)
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated
