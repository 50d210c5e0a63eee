"""Labels of images, and top-1 and top-5 accuracy."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.errors import CalibrationError
from compiler.pipeline.evaluation.top_k import labels_of_folders, read_labels, top_k

IMAGE = Path("images/dog.jpg")


@pytest.mark.parametrize(
    ("scores", "label", "top1", "top5"),
    [
        ([1, 5, 2, 0, 0, 0, 0], 1, 100, 100),
        ([1, 5, 2, 0, 0, 0, 0], 2, 0, 100),
        ([7, 6, 5, 4, 3, 2, 1], 4, 0, 100),
        ([7, 6, 5, 4, 3, 2, 1], 5, 0, 0),
        ([3, 3, 0, 0, 0, 0, 0], 0, 100, 100),  # the first of equal scores
        ([3, 3, 0, 0, 0, 0, 0], 1, 0, 100),
        ([np.nan, 1, 0, 0, 0, 0, 0], 1, 100, 100),
        ([0] * 7, 5, 0, 0),
    ],
)
def test_the_rank_of_the_label_decides(
    scores: list[float], label: int, top1: float, top5: float
) -> None:
    metric = top_k({IMAGE: label})
    for shape in ((1, 7), (1, 7, 1, 1)):
        statistics = metric.statistics(np.array(scores, np.float16).reshape(shape), IMAGE)
        assert metric.values(statistics[None]) == {"top1": top1, "top5": top5}


def test_what_are_no_scores_and_labels_that_are_no_class_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the scores"):
        top_k({IMAGE: 0}).statistics(np.zeros((1, 3, 4, 4)), IMAGE)
    with pytest.raises(CalibrationError, match="label 3 is not a class of 0 … 2"):
        top_k({IMAGE: 3}).statistics(np.zeros((1, 3)), IMAGE)


def test_a_name_is_the_end_of_a_path_with_or_without_type(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("﻿# name, label\n\na/dog.jpg 1\nb/dog\t2\ncat , 3\nold dog.png 4\n", "utf-8")
    images = [Path("x/a/dog.jpg"), Path("x/b/dog.png"), Path("cat.jpg"), Path("old dog.png")]
    assert read_labels(file, [*images, Path("bird.jpg")]) == dict(
        zip(images, (1, 2, 3, 4), strict=True)
    )


@pytest.mark.parametrize("text", ["dog.jpg", "dog.jpg one", "5", "dog.jpg -1"])
def test_a_line_without_image_and_number_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(f"cat.jpg 1\n{text}\n")
    with pytest.raises(CalibrationError, match="line 2 is"):
        read_labels(file, [IMAGE])


def test_labels_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_labels(tmp_path / "none.txt", [IMAGE])


def test_folders_are_classes_by_name_or_by_rank(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "x.png")
    files = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    assert labels_of_folders(tmp_path, ()) == dict(zip(files, (0, 1), strict=True))
    assert labels_of_folders(tmp_path, ("b", "c", "a")) == dict(zip(files, (2, 0), strict=True))
    with pytest.raises(CalibrationError, match="no folder per class"):
        labels_of_folders(tmp_path / "a", ())
