"""The end of a chain by tables of 256 values: the very bits that its ops give one by one."""

import sys
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import CalibrationError
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import ChannelSplit, Normalize, RoundToFloat16, ToTensor
from compiler.preprocess.pixels import Pixels, look_up

ValueOp: TypeAlias = Normalize | RoundToFloat16 | ToTensor
NUMBERS = st.floats(-300, 300, allow_subnormal=False)
SCALES = NUMBERS.filter(lambda number: abs(number) > 1e-3)
NORMALIZE = st.builds(
    Normalize,
    mean=st.tuples(NUMBERS) | st.tuples(NUMBERS, NUMBERS, NUMBERS),
    std=st.tuples(SCALES) | st.tuples(SCALES, SCALES, SCALES),
    div255=st.booleans(),
    norm_type=st.sampled_from(["mean_std", None]),
)
IMAGE = np.random.default_rng(0).permutation(np.arange(256 * 3) // 3).astype(np.uint8)


def one_by_one(ops: Sequence[ValueOp], image: Pixels) -> Pixels:
    for op in ops:
        image = op(image)
    return image


@given(st.lists(NORMALIZE, max_size=2), st.booleans())
def test_tables_give_the_bits_of_the_ops(normalize: list[Normalize], rounded: bool) -> None:
    ops: list[ValueOp] = [*normalize, *([RoundToFloat16()] if rounded else []), ToTensor()]
    image = IMAGE.reshape(16, 16, 3)
    result = Chain(ops)(image)
    assert result.flags.c_contiguous
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, one_by_one(ops, image), strict=True)


@pytest.mark.parametrize("cv2_is_there", [False, True])
def test_chains_without_opencv_give_the_same_bits(
    cv2_is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops: list[ValueOp] = [Normalize(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)), ToTensor()]
    image = IMAGE.reshape(32, 8, 3)
    if not cv2_is_there:
        monkeypatch.setitem(sys.modules, "cv2", None)
    np.testing.assert_array_equal(Chain(ops)(image), one_by_one(ops, image), strict=True)


def test_one_channel_has_one_table() -> None:
    ops: list[ValueOp] = [Normalize(mean=(0.4,), std=(0.2,)), ToTensor()]
    gray = IMAGE.reshape(16, 48)
    by_flag = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 0}, *map(vars, ops)])
    np.testing.assert_array_equal(by_flag(gray), one_by_one(ops, gray), strict=True)
    split = Chain([ChannelSplit(), *ops], (1, 16, 16))
    image = IMAGE.reshape(16, 16, 3)
    np.testing.assert_array_equal(split(image), one_by_one(ops, image[:, :, :1]), strict=True)


def test_images_of_both_kinds_can_take_turns_in_one_chain() -> None:
    chain = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 1}, {"type": "ToTensor"}])
    colour, gray = IMAGE.reshape(16, 16, 3), IMAGE.reshape(16, 48)
    for _ in range(2):
        assert chain(colour).shape == (1, 3, 16, 16)
        np.testing.assert_array_equal(chain(gray)[0], np.stack([gray] * 3), strict=False)


def test_a_wrong_number_of_means_is_an_error_every_time() -> None:
    chain = Chain([Normalize(mean=(1, 2), std=(1, 2))])
    for _ in range(2):
        with pytest.raises(CalibrationError, match="mean has 2 numbers for 3"):
            chain(IMAGE.reshape(16, 16, 3))


def test_a_view_of_an_image_is_looked_up_like_a_copy() -> None:
    image = IMAGE.reshape(16, 16, 3)[::2, 3:9, ::-1]
    tables = np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32)
    expected = [cv2.LUT(image[:, :, c].copy(), tables[c]) for c in range(3)]
    np.testing.assert_array_equal(look_up(image, tables), np.stack(expected)[None])
