"""The files that `modc run` writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.errors import BundleError
from compiler.runner.manifest import Manifest, Postprocessing
from compiler.runner.results import overlay, palette, result_names, write_results
from tests.support.bundles import MANIFEST, SHAPE

MASKS = replace(MANIFEST, postprocessing=Postprocessing("argmax"))


def picture(folder: Path, *, mode: str = "RGB") -> Path:
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / "a.png")
    return folder / "a.png"


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def outputs() -> dict[str, NDArray[np.float32]]:
    """Class 2 in the left half, class 0 in the right half."""
    y = np.zeros(SHAPE, np.float32)
    y[0, 2, :, :3] = 1.0
    return {"y": y}


def test_the_palette_is_that_of_pascal_voc() -> None:
    colours = palette()
    assert colours.shape == (256, 3)
    assert colours[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert colours[15].tolist() == [192, 128, 128]  # person
    assert colours[255].tolist() == [224, 224, 192]  # border, ignored
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_an_overlay_blends_half_and_half_and_leaves_class_0() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    assert overlay(image, np.array([[0, 1]])).tolist() == [[[100, 100, 100], [114, 50, 50]]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_arrays_mask_and_overlay_are_written(tmp_path: Path, mode: str) -> None:
    image = picture(tmp_path, mode=mode)
    files = write_results(tmp_path / "out" / "deep", "a", image, outputs(), MASKS)
    assert [file.name for file in files] == ["a.npz", "a_mask.png", "a_overlay.png"]
    with np.load(files[0]) as arrays:
        assert arrays.files == ["output_0"]
        np.testing.assert_array_equal(arrays["output_0"], outputs()["y"])
    with Image.open(files[1]) as mask:
        assert (mask.mode, mask.size) == ("P", (12, 8))
        numbers = np.asarray(mask)
    expected = np.zeros((8, 12), np.uint8)
    expected[:, :6] = 2
    np.testing.assert_array_equal(numbers, expected)
    assert pixels(files[1])[0, 0].tolist() == [0, 128, 0]
    blended = overlay(pixels(image), expected.astype(np.int64))
    np.testing.assert_array_equal(pixels(files[2]), blended)


@pytest.mark.parametrize(("largest", "count"), [(255, 3), (256, 1)])
def test_class_numbers_are_coloured_as_far_as_there_are_colours(
    tmp_path: Path, largest: int, count: int
) -> None:
    numbers = np.zeros((1, 1, *SHAPE[2:]), np.int64)
    numbers[0, 0, 0, 0] = largest
    manifest = replace(MANIFEST, postprocessing=Postprocessing("classes"))
    files = write_results(tmp_path / "out", "a", picture(tmp_path), {"y": numbers}, manifest)
    assert len(files) == count
    if count == 3:
        with Image.open(files[1]) as mask:
            assert np.asarray(mask)[0, 0] == largest


@pytest.mark.parametrize(
    "manifest", [MANIFEST, replace(MASKS, preprocessing=None), replace(MASKS, postprocessing=None)]
)
def test_outputs_that_are_no_masks_give_arrays_only(tmp_path: Path, manifest: Manifest) -> None:
    files = write_results(tmp_path, "a", picture(tmp_path), outputs(), manifest)
    assert [file.name for file in files] == ["a.npz"]


def test_a_gray_chain_gives_an_overlay_in_colour(tmp_path: Path) -> None:
    chain = MASKS.preprocessing
    assert chain is not None
    gray = replace(chain, ops=({"type": "DecodeImage", "cv2_flags": 0}, *chain.ops[1:]))
    manifest = replace(MASKS, preprocessing=gray)
    files = write_results(tmp_path / "out", "a", picture(tmp_path), outputs(), manifest)
    with Image.open(files[2]) as image:
        assert image.mode == "RGB"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    image = picture(tmp_path)
    with pytest.raises(BundleError, match="results cannot be written") as caught:
        write_results(image / "out", "a", image, outputs(), MASKS)
    assert caught.value.where == str(image / "out")


def test_names_are_stems_and_never_collide() -> None:
    images = [Path("x/a.jpg"), Path("x/a.png"), Path("x/a_2.png"), Path("b.png"), Path("y/a.jpg")]
    assert result_names(images) == ["a", "a_3", "a_2", "b", "a_4"]
