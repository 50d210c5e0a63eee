import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compiler.verify.metrics import SQNR_CEILING_DB, Agreement

VALUES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32))


def test_noise_of_a_tenth_is_twenty_decibels() -> None:
    agreement = Agreement()
    agreement.add([1.0, -1.0, 1.0, 1.0], [1.1, -0.9, 0.9, 1.1])
    assert agreement.sqnr_db == pytest.approx(20.0)
    assert agreement.max_error == pytest.approx(0.1)
    assert agreement.cosine == pytest.approx(4.0 / (2 * math.sqrt(4.04)), rel=1e-6)


def test_identical_tensors_reach_the_ceiling() -> None:
    agreement = Agreement()
    agreement.add([3.0, 4.0], [3.0, 4.0])
    assert (agreement.sqnr_db, agreement.cosine, agreement.max_error) == (SQNR_CEILING_DB, 1.0, 0.0)


def test_class_numbers_are_equal_or_not_however_far_apart() -> None:
    agreement = Agreement()
    reference = np.array([[0, 1, 2, 250], [3, 3, 0, 0]], np.uint8)
    other = np.array([[0, 1, 2, 1], [3, 3, 0, 0]], np.int64)
    agreement.add(reference, other)
    assert agreement.cosine == pytest.approx(7 / 8)
    assert agreement.sqnr_db == pytest.approx(10 * math.log10(8 / 2))
    assert agreement.max_error == 1.0
    with pytest.raises(ValueError, match="8 values against 4"):
        agreement.add(reference, other[0])


def test_equal_class_maps_reach_the_ceiling() -> None:
    agreement = Agreement()
    agreement.add(np.zeros(7, bool), np.zeros(7, bool))
    agreement.add(np.ones(7, np.uint8), np.ones(7, np.uint8))
    assert (agreement.sqnr_db, agreement.max_error) == (SQNR_CEILING_DB, 0.0)
    assert agreement.cosine == pytest.approx(1.0)


def test_a_zero_reference_has_no_signal() -> None:
    agreement = Agreement()
    agreement.add([0.0, 0.0], [1.0, 0.0])
    assert (agreement.sqnr_db, agreement.cosine) == (-SQNR_CEILING_DB, 0.0)


def test_two_zero_tensors_agree() -> None:
    agreement = Agreement()
    agreement.add([0.0], [0.0])
    assert (agreement.sqnr_db, agreement.cosine) == (SQNR_CEILING_DB, 1.0)


def test_the_same_infinity_on_both_sides_is_no_error() -> None:
    agreement = Agreement()
    agreement.add([np.inf, np.nan, 1.0], [np.inf, np.nan, 1.0])
    assert (agreement.sqnr_db, agreement.cosine) == (SQNR_CEILING_DB, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0])
def test_a_value_that_becomes_infinite_or_nan_is_the_worst_error(value: float) -> None:
    agreement = Agreement()
    agreement.add([value, 1.0], [-np.inf, 1.0])
    agreement.add([1.0, 1.0], [1.0, 1.0])
    assert (agreement.sqnr_db, agreement.cosine) == (-SQNR_CEILING_DB, 0.0)


def test_tensors_without_a_finite_value_agree_in_nothing() -> None:
    agreement = Agreement()
    agreement.add([np.nan, np.inf], [np.nan, np.inf])
    assert (agreement.sqnr_db, agreement.cosine) == (-SQNR_CEILING_DB, 0.0)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 values against 2"):
        Agreement().add([1.0, 2.0, 3.0], [1.0, 2.0])


@given(VALUES, st.integers(0, 2**16))
def test_sample_by_sample_equals_all_at_once(reference: np.ndarray, seed: int) -> None:
    other = reference + np.random.default_rng(seed).normal(size=reference.shape)
    whole, parts = Agreement(), Agreement()
    whole.add(reference, other)
    middle = reference.size // 2
    for half in (slice(0, middle), slice(middle, None)):
        parts.add(reference[half], other[half])
    assert parts.sqnr_db == pytest.approx(whole.sqnr_db, abs=1e-6)
    assert parts.cosine == pytest.approx(whole.cosine, abs=1e-9)
