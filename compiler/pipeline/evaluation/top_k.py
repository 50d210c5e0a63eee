"""Top-1 and top-5 accuracy of classifiers, in the form of a `Metric`, and files of labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CalibrationError
from compiler.evaluate.metric import Figures, Map, Metric, Vector, ratio
from compiler.evaluate.pairs import pictures
from compiler.runner.engine import Tensor

TOP: Final = (1, 5)


def top_k(labels: Mapping[Path, int]) -> Metric:
    """Share of the images whose label is among the 1 and the 5 largest scores.

    Of equal scores the first counts as larger, as argmax has it; one that is no number is the
    smallest.

    Args:
        labels: Class number of every image, which takes the place of the mask.
    """
    return Metric(
        name="topk",
        title="classification",
        figure="top1",
        predict=class_scores,
        truth=lambda image, _: np.array([labels[image]]),
        compare=_compare,
        figures=_figures,
    )


def class_scores(output: Tensor) -> NDArray[np.float64]:
    """Scores of one image, shape (1, C).

    Raises:
        ValueError: The output has more than one axis that is longer than 1.
    """
    if output.ndim < 1 or max(output.shape) != output.size:
        raise ValueError(f"output of shape {list(output.shape)}; expected the scores [1, C]")
    return np.nan_to_num(output.reshape(1, -1).astype(np.float64), nan=-np.inf)


def read_labels(path: Path, images: Sequence[Path]) -> dict[Path, int]:
    """Labels from a text file: an image and its class number per line.

    Args:
        path: Lines `name number`, with a comma, tab or blanks between them. A name is the end of an
            image's path, with or without its type; empty lines and those that start with # are
            skipped.
        images: What names stand for.

    Returns:
        Labels of those images that the file names.

    Raises:
        CalibrationError: The file cannot be read, or a line is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"labels cannot be read: {error}", where=str(path), fix="give a text file"
        ) from error
    by_name: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        *name, label = line.replace(",", " ").replace("\t", " ").rsplit(maxsplit=1)
        if not name or not label.isdecimal():
            raise CalibrationError(
                f"line {number} is {line.strip()!r:.60}; expected the image's name and its class "
                "number",
                where=str(path),
                fix="write lines such as 'dog.jpg 207'",
            )
        by_name[name[0].strip()] = int(label)
    found = {}
    for image in images:
        for known in _names(image):
            if known in by_name:
                found[image] = by_name[known]
                break
    return found


def labels_of_folders(folder: Path, classes: Sequence[str]) -> dict[Path, int]:
    """Labels by the folder that an image is in: one folder per class.

    The number of a folder is that of the class of its name if all folders are named after classes,
    else its rank among the sorted names.

    Raises:
        CalibrationError: There are no such folders, or no image in one.
    """
    folders = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    if not folders:
        raise CalibrationError(
            "no folder per class in it",
            where=str(folder),
            fix="put the images of every class into a folder of its own, or give --labels",
        )
    named = all(one.name in classes for one in folders)
    return {
        image: classes.index(one.name) if named else number
        for number, one in enumerate(folders)
        for image in pictures(one)
    }


def _names(image: Path) -> list[str]:
    """What a file of labels may call an image, the longest first."""
    parts = image.parts
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return [name for end in ends for name in (end, end.removesuffix(image.suffix))]


def _compare(scores: Map, truth: Map) -> Vector:
    """Statistics [is in the top 1, is in the top 5, 1].

    Raises:
        ValueError: The label is no class.
    """
    values, label = scores[0], int(truth[0])
    if label >= values.size:
        raise ValueError(f"label {label} is not a class of 0 … {values.size - 1}")
    before = np.count_nonzero(values > values[label])
    rank = before + np.count_nonzero(values[:label] == values[label])
    return np.array([*(rank < top for top in TOP), 1], np.float64)


def _figures(sums: Vector) -> Figures:
    return {f"top{top}": 100 * ratio(sums[..., i], sums[..., -1]) for i, top in enumerate(TOP)}
