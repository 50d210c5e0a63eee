"""From tensors back to pixels."""

from typing import Any

import numpy as np
import pytest

from calibration.restore import restore_levels, stretch_levels

LEVELS = np.arange(256, dtype=np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_pixels_come_back_exactly(dtype: type[np.floating[Any]], sign: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    table = np.stack([sign * (LEVELS / 255 - mean) / 0.22 for mean in (0.4, 0.5, 0.6)]).astype(
        dtype
    )
    tensor = np.stack([table[channel][pixels[:, :, channel]] for channel in range(3)])
    restored = restore_levels(tensor, table)
    assert restored is not None
    np.testing.assert_array_equal(restored, pixels)


def test_levels_that_became_one_value_come_back_as_one_of_them() -> None:
    table = (LEVELS // 2)[None]
    tensor = np.array([[[0.0, 3.0]]], np.float32)
    restored = restore_levels(tensor, table)
    assert restored is not None
    assert restored[0, :, 0].tolist() == [0, 6]


@pytest.mark.parametrize("value", [0.5, -1.0, 300.0, np.nan])
def test_a_value_that_no_level_becomes_is_not_restored(value: float) -> None:
    assert restore_levels(np.array([[[1.0, value]]], np.float32), LEVELS[None]) is None


def test_each_channel_is_stretched_by_itself() -> None:
    tensor = np.array([[[-1.0, 0.0, 1.0]], [[5.0, 7.0, 25.0]]])
    assert stretch_levels(tensor).tolist() == [[[0, 0], [128, 26], [255, 255]]]


def test_flat_channels_and_values_that_are_not_finite_are_black() -> None:
    tensor = np.array([[[3.0, 3.0]], [[np.nan, np.inf]], [[1.0, -np.inf]]])
    assert not stretch_levels(tensor).any()
    mixed = stretch_levels(np.array([[[np.nan, 0.0, np.inf, 2.0]]]))
    assert mixed[0, :, 0].tolist() == [0, 0, 0, 255]
