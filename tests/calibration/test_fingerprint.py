"""Copies of a picture keep its fingerprint, other pictures do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.fingerprint import EDGE, SAME_PICTURE, find_alike, fingerprint


def picture(seed: int) -> NDArray[np.uint8]:
    """Smooth light and shade with some detail, as photographs have."""
    random = np.random.default_rng(seed)
    coarse = np.kron(random.uniform(40, 200, (8, 8)), np.ones((EDGE // 8, EDGE // 8)))
    return (coarse + random.normal(0, 4, (EDGE, EDGE))).clip(0, 255).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), gain=st.floats(0.7, 1.2), offset=st.integers(-20, 20))
def test_light_and_contrast_change_few_bits(seed: int, gain: float, offset: int) -> None:
    grey = picture(seed)
    other = (grey * gain + offset).clip(0, 255).astype(np.uint8)
    assert int((fingerprint(grey) != fingerprint(other)).sum()) <= SAME_PICTURE


def test_a_fingerprint_is_the_same_every_time_and_has_255_bits() -> None:
    bits = fingerprint(picture(1))
    assert bits.shape == (255,)
    assert 120 <= int(bits.sum()) <= 127  # half of them lie above the median
    np.testing.assert_array_equal(bits, fingerprint(picture(1)))


def test_a_known_wave_has_its_frequency_as_the_only_large_one() -> None:
    column = 100 * np.cos(np.pi * 3 * (2 * np.arange(EDGE) + 1) / (2 * EDGE)) + 128
    bits = fingerprint(np.tile(column, (EDGE, 1)).round().astype(np.uint8))
    assert bits[3 - 1]  # row 0, column 3; the mean, at column 0, is left out


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \[8, 8\] given; a fingerprint is of 64×64"):
        fingerprint(np.zeros((8, 8), np.uint8))


def test_each_later_picture_is_paired_with_the_earlier_one_it_is_most_like() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((2, 255)) < 0.5
    near, nearer = second.copy(), second.copy()
    near[:20] ^= True
    nearer[:15] ^= True  # 5 bits from `near`, 15 from `second`
    found = find_alike([first, second, near, nearer])
    assert found == ((2, 1, 20), (3, 2, 5))
    assert found[0].distance == 20


def test_the_limit_is_the_largest_distance_that_counts() -> None:
    bits = np.zeros(255, np.bool_)
    other = bits.copy()
    other[:10] = True
    assert find_alike([bits, other], limit=10) == ((1, 0, 10),)
    assert find_alike([bits, other], limit=9) == ()
    assert find_alike([]) == ()


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    bits = list(random.random((40, 255)) < 0.5)
    for position in (7, 21, 39):
        bits[position] = bits[position // 2].copy()
        bits[position][0] ^= True
    whole = find_alike(bits)
    monkeypatch.setattr("calibration.fingerprint._BLOCK", 7)
    assert find_alike(bits) == whole == ((7, 3, 1), (21, 10, 1), (39, 19, 1))
