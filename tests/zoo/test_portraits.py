"""The generated portraits: repeatable, exact, varied."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.zoo.portraits import as_jpeg, portrait, write_portraits


def test_a_seed_gives_the_same_picture_again_whatever_was_drawn_in_between() -> None:
    first = portrait(7)
    portrait(8)
    second = portrait(7)

    np.testing.assert_array_equal(second[0], first[0])
    np.testing.assert_array_equal(second[1], first[1])


def test_the_picture_of_seed_7_is_the_one_on_record() -> None:
    picture, mask = portrait(7)

    digest = hashlib.sha256(mask.tobytes()).hexdigest()
    assert digest.startswith("7fa6475d7777b798")
    # Sines may differ in their last bit from one CPU to the next, and a level here and there.
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), [145.94, 139.17, 179.63], atol=0.05)
    np.testing.assert_allclose(picture.std(axis=(0, 1)), [25.35, 18.25, 27.87], atol=0.05)


def test_different_seeds_give_different_pictures_and_masks() -> None:
    pictures, masks = zip(*(portrait(seed) for seed in range(6)), strict=True)

    assert len({picture.tobytes() for picture in pictures}) == 6
    assert len({mask.tobytes() for mask in masks}) == 6


def test_a_mask_is_0_or_255_and_marks_a_figure_of_plausible_size() -> None:
    for seed in range(20):
        picture, mask = portrait(seed)
        assert picture.shape == (128, 128, 3)
        assert mask.shape == (128, 128)
        assert picture.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert 0.05 < (mask == 255).mean() < 0.9


def test_the_size_of_the_picture_can_be_chosen_and_keeps_the_figure() -> None:
    _, small = portrait(3, size=64)
    _, large = portrait(3, size=128)

    halved = large.reshape(64, 2, 64, 2).mean(axis=(1, 3)) > 127
    assert small.shape == (64, 64)
    assert ((small == 255) == halved).mean() > 0.97  # only outlines may differ


def test_written_files_hold_the_picture_as_jpeg_and_the_mask_unchanged(tmp_path: Path) -> None:
    write_portraits(tmp_path / "images", [4, 11], masks=tmp_path / "masks")

    stems = ["portrait_000004", "portrait_000011"]
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == [
        f"{stem}.jpg" for stem in stems
    ]
    picture, mask = portrait(11)
    with Image.open(tmp_path / "masks" / "portrait_000011.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), mask)
    assert (tmp_path / "images" / "portrait_000011.jpg").read_bytes() == as_jpeg(picture)


def test_masks_are_written_only_where_a_folder_is_named_for_them(tmp_path: Path) -> None:
    write_portraits(tmp_path, [0])

    assert [file.name for file in tmp_path.iterdir()] == ["portrait_000000.jpg"]


@pytest.mark.parametrize("seed", [2, 14])
def test_jpeg_coding_changes_a_picture_only_a_little(seed: int) -> None:
    picture, _ = portrait(seed)

    with Image.open(io.BytesIO(as_jpeg(picture))) as image:
        decoded = np.asarray(image).astype(np.int16)
    assert np.abs(decoded - picture).mean() < 8  # levels of 255
