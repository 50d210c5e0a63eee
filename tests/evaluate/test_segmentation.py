import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from compiler.errors import CalibrationError
from compiler.evaluate.masks import Pair, pair_masks, read_classes, read_foreground
from compiler.evaluate.segmentation import Dice, ForegroundIou, MeanIou


def _map(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int64)


def test_foreground_iou_is_the_mean_of_the_ratios_of_the_images() -> None:
    metric = ForegroundIou()
    metric.add(_map([1, 0], [0, 0]), _map([1, 1], [0, 0]))
    metric.add(_map([1, 1], [1, 1]), _map([1, 1], [1, 1]))
    assert metric.value() == 75.0
    assert metric.images == 2


def test_an_image_without_foreground_is_counted_and_left_out() -> None:
    metric = ForegroundIou()
    metric.add(_map([0]), _map([0]))
    assert math.isnan(metric.value())
    assert (metric.images, metric.empty) == (0, 1)


def test_dice_is_the_mean_of_the_ratios_of_the_images() -> None:
    metric = Dice()
    metric.add(_map([1, 0], [0, 0]), _map([1, 1], [0, 0]))
    assert metric.value() == pytest.approx(200 / 3)  # 2 * 1 / (1 + 2)
    metric.add(_map([2, 1], [1, 1]), _map([1, 1], [1, 5]))
    assert metric.value() == pytest.approx(250 / 3)  # a pooled ratio would be 10 / 11
    metric.add(_map([0]), _map([0]))
    assert (metric.images, metric.empty) == (2, 1)


def test_dice_without_foreground_is_undefined() -> None:
    assert math.isnan(Dice().value())


@given(arrays(np.int64, (2, 4, 5), elements=st.integers(0, 2)))
def test_dice_of_an_image_follows_from_its_iou(maps: np.ndarray) -> None:
    dice, iou = Dice(), ForegroundIou()
    dice.add(maps[0], maps[1])
    iou.add(maps[0], maps[1])
    ratio = iou.value() / 100
    expected = 100 * 2 * ratio / (1 + ratio)
    assert dice.value() == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_mean_iou_ignores_void_and_sums_over_images() -> None:
    metric = MeanIou(3, ignore=255)
    metric.add(_map([0, 1], [1, 2]), _map([0, 1], [2, 255]))
    assert metric.value() == 50.0  # IoU 1, 1/2, 0
    metric.add(_map([0, 0], [0, 0]), _map([0, 0], [0, 1]))
    assert metric.value() == pytest.approx(37.7778, abs=1e-4)  # 4/5, 1/3, 0


def test_classes_that_never_occur_do_not_count() -> None:
    metric = MeanIou(4)
    metric.add(_map([0, 1]), _map([0, 1]))
    assert metric.value() == 100.0
    assert math.isnan(MeanIou(2).value())


def test_a_mask_value_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"value 9 of the mask is not a class of 0 … 2"):
        MeanIou(3).add(_map([0]), _map([9]))


def test_a_predicted_value_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"value 3 of the prediction is not a class of 0 … 2"):
        MeanIou(3).add(_map([3]), _map([0]))


def test_images_meet_their_masks_by_stem(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder, names in ((images, ("b.jpg", "a.jpg")), (masks, ("a_matte.png", "b.png"))):
        folder.mkdir()
        for name in names:
            Image.new("L", (4, 4)).save(folder / name)
    assert pair_masks(images, masks) == (
        Pair(images / "a.jpg", masks / "a_matte.png"),
        Pair(images / "b.jpg", masks / "b.png"),
    )


def test_an_image_without_mask_is_named(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "b.png")
    with pytest.raises(CalibrationError, match=r"1 image\(s\) have no mask: a.png"):
        pair_masks(tmp_path, tmp_path / "masks")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match=r"no such folder|no image in it"):
        pair_masks(tmp_path / name, tmp_path)


def test_a_matte_becomes_foreground_from_level_125(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 124], [125, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_foreground(tmp_path / "m.png", (2, 2)).tolist() == [[0, 0], [1, 1]]


def test_a_palette_mask_gives_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 11]], np.uint8), mode=None)
    palette = image.convert("P")
    palette.putdata([0, 1, 2, 11])
    palette.save(tmp_path / "m.png")
    assert read_classes(tmp_path / "m.png", (2, 2)).tolist() == [[0, 1], [2, 11]]
    assert read_classes(tmp_path / "m.png", (4, 4))[::2, ::2].tolist() == [[0, 1], [2, 11]]


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(CalibrationError, match="one channel; this one has mode RGB"):
        read_classes(tmp_path / "m.png", (4, 4))


def test_an_unreadable_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"not a picture")
    with pytest.raises(CalibrationError, match="not a readable image"):
        read_foreground(tmp_path / "m.png", (4, 4))
