"""What a user asks an evaluation for, and whether that makes sense."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compiler.config.spelling import did_you_mean
from compiler.errors import BuildFileError
from compiler.evaluate.definitions import METRICS
from compiler.evaluate.pairs import STEM
from compiler.pipeline.evaluation.contenders import Running

TOP_K: Final = "topk"
COCO: Final = "coco"
_OF_COCO: Final = ("m10", "m11")  # published figures of detectors


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be evaluated, and on what.

    Args:
        bundles: Prefixes.
        original: ONNX file of the float network, which is then the base.
        results: Folders of npz that vamp wrote, in place of running bundles; the first bundle, if
            there is one, then only says how they are read.
        datalist: That they were made from.
        images: Folder of images.
        image_list: File that names images, one a line, below `images` or its own folder.
        masks: Folder of masks.
        labels: File of class numbers.
        annotations: File of boxes and outlines, as COCO has them.
        metrics: Names, as in `compiler.evaluate.definitions.METRICS`, or `topk` or `coco`; without
            any the manifest decides.
        classes: Number of classes; None: as the bundle says.
        names: Of the classes; likewise.
        ignore: Value of masks that does not count; None: as the build file or the metric says.
        mask_pattern: Of masks' names; None: any of the usual ones.
        image_pattern: Of images' names.
        limit: Most images, spread evenly over all.
        running: How to run bundles.
        save: Folder for the class maps; None keeps none.
        max_drop: How much of the metric a network may lose, in its unit; None: anything.
    """

    bundles: tuple[str, ...] = ()
    original: Path | None = None
    results: tuple[Path, ...] = ()
    datalist: Path | None = None
    images: Path | None = None
    image_list: Path | None = None
    masks: Path | None = None
    labels: Path | None = None
    annotations: Path | None = None
    metrics: tuple[str, ...] = ()
    classes: int | None = None
    names: tuple[str, ...] = ()
    ignore: int | None = None
    mask_pattern: str | None = None
    image_pattern: str = STEM
    limit: int | None = None
    running: Running = field(default_factory=Running)
    save: Path | None = None
    max_drop: float | None = None


def check_question(question: Question) -> None:
    """Refuse what cannot be answered.

    Raises:
        BuildFileError: The question is incomplete or contradicts itself.
    """
    for name in question.metrics:
        _check_metric(name)
    problem = next((text for wrong, text in _problems(question) if wrong), None)
    if problem is not None:
        raise BuildFileError(problem, where="modc eval", fix="see modc eval --help")


def _check_metric(name: str) -> None:
    known = (*METRICS, TOP_K, COCO)
    if name in known:
        return
    if name in _OF_COCO:
        raise BuildFileError(
            f"no metric {name!r}; --metric {COCO} measures what it stands for",
            where="--metric",
            fix=f"give --metric {COCO} --annotations instances.json",
        )
    raise BuildFileError(
        f"no metric {name!r}{did_you_mean(name, known)}",
        where="--metric",
        fix=f"one of {', '.join(known)}",
    )


def _problems(asked: Question) -> list[tuple[bool, str]]:
    truths = [one for one in (asked.masks, asked.labels, asked.annotations) if one is not None]
    own, special = set(asked.metrics), {TOP_K, COCO}
    networks = len(asked.results) or len(asked.bundles) + (asked.original is not None)
    gate = asked.max_drop
    return [
        (not asked.bundles and not asked.results, "no bundle (-m) given"),
        (asked.classes is not None and asked.classes < 1, "--classes is at least 1"),
        (
            gate is not None and not 0 <= gate < math.inf,
            "--max-drop is a number of points, 0 or more",
        ),
        (
            gate is not None and (networks < 2 or not (truths or own)),
            "--max-drop compares two networks by a metric: give --onnx or another -m, and --masks, "
            "--labels or --annotations",
        ),
        ("" in asked.names, "--classes has an empty name"),
        (len(truths) > 1, "give one of --masks, --labels and --annotations"),
        (bool(asked.results) != (asked.datalist is not None), "--npz and --datalist go together"),
        (
            bool(asked.results) and asked.original is not None,
            "--onnx is run, and --npz is not: give the results of the float network as the first "
            "--npz",
        ),
        (
            bool(asked.results) and bool(asked.annotations or asked.image_list),
            "--npz goes with --masks or --labels",
        ),
        (
            not asked.results and asked.images is None and asked.image_list is None,
            "no images (--images) given",
        ),
        (COCO in own and asked.annotations is None, "--metric coco needs --annotations"),
        (bool(asked.annotations) and asked.images is None, "--annotations needs --images"),
        (bool(asked.annotations) and bool(own - {COCO}), "--annotations goes with --metric coco"),
        (bool(asked.labels) and bool(own - {TOP_K}), "--labels goes with --metric topk"),
        (bool(asked.masks) and bool(own & special), "--masks goes with a segmentation metric"),
        (
            not truths and bool(own - special),
            f"--metric {', '.join(sorted(own - special))} needs --masks",
        ),
        (
            TOP_K in own and asked.labels is None and asked.images is None,
            "--metric topk needs --labels, or --images with a folder per class",
        ),
        (
            not truths and not own and networks < 2,
            "without --masks, --labels or --annotations, networks are compared with each other: "
            "give --onnx or another -m",
        ),
    ]
