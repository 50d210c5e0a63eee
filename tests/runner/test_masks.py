"""Class masks, and where they lie on the original image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import (
    CenterCrop,
    DecodeImage,
    Normalize,
    Pad,
    ProcessOp,
    Resize,
    ToTensor,
)
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import Window, class_mask, on_image, seen_window


def test_logits_are_cut_at_zero_and_probabilities_at_one_half() -> None:
    output = np.array([[[[-1.0, 0.0, 0.4, 0.5, 0.6]]]], np.float32)
    assert class_mask(output, Postprocessing("binary", 0.0)).tolist() == [[0, 0, 1, 1, 1]]
    assert class_mask(output, Postprocessing("binary", 0.5)).tolist() == [[0, 0, 0, 0, 1]]


def test_the_largest_channel_wins() -> None:
    output = np.zeros((1, 3, 1, 3), np.float32)
    output[0, [2, 0, 1], 0, [0, 1, 2]] = 1.0
    assert class_mask(output, Postprocessing("argmax")).tolist() == [[2, 0, 1]]


def test_class_numbers_are_taken_as_they_are() -> None:
    output = np.array([[[[0, 255], [7, 1]]]], np.uint8)
    mask = class_mask(output, Postprocessing("classes"))
    assert mask.tolist() == [[0, 255], [7, 1]]
    assert mask.dtype == np.int64


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        ((1, 2, 4, 4), Postprocessing("binary")),
        ((1, 2, 4, 4), Postprocessing("classes")),
        ((2, 1, 4, 4), Postprocessing("binary")),
        ((1, 4), Postprocessing("argmax")),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], rule: Postprocessing) -> None:
    with pytest.raises(ValueError, match="output of shape"):
        class_mask(np.zeros(shape, np.float32), rule)


@pytest.mark.parametrize(
    ("ops", "shape", "expected"),
    [
        ([Resize(size=(10, 10))], (3, 10, 10), Window(0, 0, 40, 80)),
        ([], (3, 10, 10), Window(0, 0, 40, 80)),
        ([CenterCrop(crop_size=(20, 20))], None, Window(10, 30, 30, 50)),
        ([Resize(size=(20, 20)), CenterCrop(crop_size=(10, 10))], None, Window(10, 20, 30, 60)),
        ([Resize(size=(20, 40)), Pad()], None, Window(-20, 0, 60, 80)),
        ([Resize(size=(20, 40)), Pad(position="topleft")], None, Window(0, 0, 80, 80)),
        ([Pad(pad_to_square=False), Resize(size=8)], None, Window(0, 0, 40, 80)),
        ([Resize(size=(-1, 40), adaptive_side="long")], (3, 40, 40), Window(-20, 0, 60, 80)),
    ],
)
def test_the_window_that_the_network_sees(
    ops: list[ProcessOp], shape: tuple[int, int, int] | None, expected: Window
) -> None:
    assert seen_window(ops, shape, 40, 80) == expected


@pytest.mark.parametrize(
    "ops",
    [
        [Resize(size=(64, 64))],
        [Resize(size=(-1, 64), adaptive_side="long"), Pad(value=0)],
        [Resize(size=(80, -1), adaptive_side="short"), CenterCrop(crop_size=(64, 64))],
    ],
)
def test_a_bright_square_is_found_where_it_was(ops: list[ProcessOp]) -> None:
    image = np.zeros((150, 200, 3), np.uint8)
    image[60:90, 80:130] = 255
    chain = Chain([DecodeImage(), *ops, Normalize(norm_type=None), ToTensor()], (3, 64, 64))
    mask = class_mask(chain(image)[:, :1], Postprocessing("binary", 0.5))
    found = on_image(mask, seen_window(chain.ops, chain.shape, 150, 200), 150, 200)
    rows, columns = np.nonzero(found)
    edges = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    np.testing.assert_allclose(edges, [60, 90, 80, 130], atol=2)  # one network pixel is 3 wide


@given(st.integers(1, 7), st.integers(1, 5))
def test_whole_multiples_repeat_every_pixel(height: int, factor: int) -> None:
    mask = np.random.default_rng(0).integers(0, 9, (height, 3))
    window = Window(0, 0, height * factor, 3 * factor)
    expected = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(on_image(mask, window, height * factor, 3 * factor), expected)


def test_what_was_cropped_away_is_class_0() -> None:
    mask = np.full((2, 2), 5)
    found = on_image(mask, Window(1, 1, 3, 3), 4, 4)
    assert found.tolist() == [[0, 0, 0, 0], [0, 5, 5, 0], [0, 5, 5, 0], [0, 0, 0, 0]]
