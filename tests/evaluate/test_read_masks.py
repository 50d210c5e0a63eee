from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.errors import CalibrationError
from compiler.evaluate.definitions import foreground_metric, mean_iou_metric, new_metric
from compiler.evaluate.masks import (
    NOWHERE,
    as_classes,
    as_foreground,
    as_grey,
    open_mask,
    read_mask,
)
from compiler.evaluate.settings import Settings
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import Window
from tests.support.masks import one_hot, save_grey, save_palette

BINARY = Postprocessing("binary")


def test_a_matte_becomes_foreground_from_level_125(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[0, 124], [125, 255]])
    assert as_foreground(open_mask(mask), (2, 2)).tolist() == [[0, 0], [1, 1]]


def test_a_matte_of_16_bits_is_read_by_its_upper_8(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[0, 124 * 257], [125 * 257, 65535]], np.uint16)
    assert as_grey(open_mask(mask)).tolist() == [[0, 124], [125, 255]]
    assert as_foreground(open_mask(mask), (2, 2)).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("name", ["m.png", "m.gif"])
def test_every_class_of_a_coloured_palette_is_foreground(name: str, tmp_path: Path) -> None:
    # The luma of VOC's dark red is 38: as a matte it would be background.
    mask = save_palette(tmp_path / name, [[0, 1], [1, 0]], [0, 0, 0, 128, 0, 0])
    assert as_foreground(open_mask(mask), (2, 2)).tolist() == [[0, 1], [1, 0]]


def test_a_grey_palette_is_a_matte(tmp_path: Path) -> None:
    mask = save_palette(tmp_path / "m.png", [[0, 100], [200, 255]])
    assert as_foreground(open_mask(mask), (2, 2)).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_mask_of_0_and_1_holds_class_numbers(dtype: type, tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[0, 1], [1, 0]], dtype)
    assert as_foreground(open_mask(mask), (2, 2)).tolist() == [[0, 1], [1, 0]]


def test_a_file_of_one_bit_is_foreground_where_it_is_set(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "m.png")
    mask = open_mask(tmp_path / "m.png")
    assert mask.mode == "1"
    assert as_foreground(mask, (1, 2)).tolist() == [[0, 1]]
    assert as_classes(mask, (1, 2)).tolist() == [[0, 1]]


@pytest.mark.parametrize("name", ["m.png", "m.gif"])
def test_a_palette_mask_gives_its_indices(name: str, tmp_path: Path) -> None:
    colours = [i * 37 % 256 for i in range(36)]
    # Pillow renumbers the indices of a GIF that leaves some out.
    numbers = [[0, 1], [2, 3 if name == "m.gif" else 11]]
    mask = open_mask(save_palette(tmp_path / name, numbers, colours))
    assert as_classes(mask, (2, 2)).tolist() == numbers
    assert as_classes(mask, (4, 4))[::2, ::2].tolist() == numbers


def test_class_numbers_above_255_are_read_from_16_bits(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[0, 300]], np.uint16)
    assert as_classes(open_mask(mask), (1, 2)).tolist() == [[0, 300]]


def test_a_coloured_mask_holds_no_class_numbers(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(CalibrationError, match=r"m\.png: .* one channel .* has mode RGB"):
        read_mask(tmp_path / "m.png", (4, 4), as_classes)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_colour_photograph_is_no_mask(mode: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(values).convert(mode).save(tmp_path / "m.png")
    with pytest.raises(CalibrationError, match=r"m\.png: a colour photograph is no mask"):
        read_mask(tmp_path / "m.png", (4, 4), as_foreground)


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_a_grey_matte_of_three_channels_stays_one_after_compression(
    quality: int, tmp_path: Path
) -> None:
    values = np.zeros((64, 64, 3), np.uint8)
    values[:, 21:45] = 255
    values[:, 45:] = np.arange(64)[:, None, None] * 4
    noise = np.random.default_rng(0).integers(-8, 9, values.shape)
    noisy = np.clip(values + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "m.jpg", quality=quality)
    truth = read_mask(tmp_path / "m.jpg", (64, 64), as_foreground)
    assert truth[:, 24:42].all()
    assert not truth[:, :18].any()


def test_painted_classes_of_few_colours_are_a_mask(tmp_path: Path) -> None:
    values = np.zeros((32, 32, 3), np.uint8)
    values[:, 16:] = (255, 255, 0)
    Image.fromarray(values).save(tmp_path / "m.png")
    truth = read_mask(tmp_path / "m.png", (32, 32), as_foreground)
    assert truth[:, 16:].all()
    assert not truth[:, :16].any()


@pytest.mark.parametrize("name", ["m.png", "missing.png"])
def test_an_unreadable_mask_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"not a picture")
    with pytest.raises(CalibrationError, match=rf"{name}: not a readable image"):
        read_mask(tmp_path / name, (4, 4), as_foreground)


def test_a_mask_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", np.arange(10000).reshape(100, 100) % 251)
    mask.write_bytes(mask.read_bytes()[:200])
    with pytest.raises(CalibrationError, match=r"m\.png: not a readable image"):
        read_mask(mask, (4, 4), as_foreground)


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_only_what_the_network_sees_of_an_image_is_compared(mode: str, tmp_path: Path) -> None:
    values = [[1, 2, 0, 0], [2, 1, 0, 0]]
    path = tmp_path / "m.png"
    if mode == "P":
        save_palette(path, values, [i * 20 for i in range(9)])
    else:
        save_grey(path, values, np.uint16 if mode == "I;16" else np.uint8)

    def left_half_and_below(height: int, width: int) -> Window:
        return Window(0, 0, 2 * height, width / 2)

    metric = new_metric("mean_iou", Settings(Postprocessing("argmax"), 3, see=left_half_and_below))
    truth = metric.truth(path, (4, 2))
    assert truth.tolist() == [[1, 2], [2, 1], [NOWHERE, NOWHERE], [NOWHERE, NOWHERE]]
    statistics = metric.statistics(one_hot([[1, 2], [2, 1], [0, 0], [2, 2]], 3), path)
    assert metric.values(statistics[None])["mean_iou"] == 100


def test_outside_of_an_image_is_no_foreground(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[255, 255]])
    metric = new_metric(
        "foreground_iou", Settings(BINARY, see=lambda height, width: Window(-1, 0, 1, width))
    )
    assert metric.truth(mask, (2, 2)).tolist() == [[0, 0], [1, 1]]


def test_what_is_seen_whole_is_not_cut(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[255, 0]])
    see = Settings(BINARY, see=lambda height, width: Window(0, 0, height, width))
    assert new_metric("dice", see).truth(mask, (1, 2)).tolist() == [[1, 0]]


def test_a_value_that_is_no_class_is_refused_with_its_file(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[9]])
    metric = mean_iou_metric(Postprocessing("argmax"), 3, None)
    with pytest.raises(CalibrationError, match=r"m\.png: value 9 of the mask is not a class of 0"):
        metric.statistics(one_hot([[0]], 3), mask)
    numbers = mean_iou_metric(Postprocessing("classes"), 3, 9)
    with pytest.raises(CalibrationError, match="value 3 of the prediction is not a class of 0"):
        numbers.statistics(
            np.full((1, 1, 1, 1), 3.0, np.float32), save_grey(tmp_path / "n.png", [[0]])
        )
    assert metric.nothing == "no labelled pixel"


def test_no_value_is_ignored_unless_the_caller_says_so(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "m.png", [[255]])
    with pytest.raises(CalibrationError, match="value 255 of the mask"):
        mean_iou_metric(Postprocessing("argmax"), 3, None).statistics(one_hot([[0]], 3), mask)


def test_dice_of_an_image_follows_from_its_iou() -> None:
    metric = foreground_metric("dice", BINARY)
    generator = np.random.default_rng(0)
    for _ in range(50):
        figures = metric.figures(metric.compare(*generator.integers(0, 2, (2, 3, 4))))
        share = figures["foreground_iou"] / 100
        assert figures["dice"] == pytest.approx(100 * 2 * share / (1 + share), rel=1e-12)
        assert figures["pooled_dice"] == pytest.approx(figures["dice"], rel=1e-12)
