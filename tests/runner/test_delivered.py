"""Forms in which outputs are handed out: matrices, transposes, padded shapes."""

from math import prod

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from compiler.runner.delivered import Delivered

SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("form", "shape", "expected"),
    [
        pytest.param(Delivered(), (1, 25, 37), (1, 25, 37), id="nothing asked"),
        pytest.param(Delivered("YX"), (1, 100, 92), (100, 92), id="logits of DETR"),
        pytest.param(Delivered("YX"), (1, 1000), (1, 1000), id="a matrix stays"),
        pytest.param(Delivered("YX"), (1, 300, 1), (300, 1), id="one column"),
        pytest.param(Delivered("YX"), (1, 1, 8, 9), (8, 9), id="two leading axes"),
        pytest.param(Delivered("YX"), (2, 5, 7), (2, 35), id="a first axis that is no batch axis"),
        pytest.param(Delivered("YX"), (7,), (1, 7), id="a vector is one row"),
        pytest.param(Delivered("YX"), (), (1, 1), id="a scalar"),
        pytest.param(Delivered("YX"), (1, -1, 4), (-1, 4), id="open rows"),
        pytest.param(Delivered("XY"), (1, 100, 256, 256), (65536, 100), id="mask2former"),
        pytest.param(Delivered("XY"), (1, 100, -1, 256), (-1, 100), id="open pixels"),
        pytest.param(Delivered("kept", (32, 48)), (1, 25, 37), (32, 48), id="crnn"),
        pytest.param(Delivered("kept", (32, 48)), (25, 1, 37), (32, 48), id="time first"),
        pytest.param(Delivered("kept", (1, 32, 48)), (25, 37), (1, 32, 48), id="batch axis added"),
        pytest.param(Delivered("kept", (16, 16)), (1, 10, 1), (16, 16), id="a padded axis of 1"),
        pytest.param(Delivered("kept", (1008,)), (1, 1000), (1008,), id="vit"),
        pytest.param(Delivered("kept", (6, 4)), (1, 4, 6), (6, 4), id="as many elements"),
        pytest.param(Delivered("XY", (48, 32)), (1, 25, 37), (48, 32), id="transposed, padded"),
    ],
)
def test_a_form_gives_a_shape(
    form: Delivered, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert form.shape_of(shape) == expected
    if min(shape, default=1) > 0:
        assert form.arrange(np.zeros(shape, np.float32)).shape == expected


@pytest.mark.parametrize(
    ("form", "shape", "reason"),
    [
        (Delivered("kept", (24, 48)), (1, 25, 37), r"\[1, 25, 37\] has neither as many elements"),
        (Delivered("kept", (1000,)), (1, 25, 37), r"as \[1000\], nor does it fit into it"),
        (Delivered("XY", (32, 48)), (1, 37, 49), r"\[49, 37\] has neither"),
        (Delivered("kept", (32, 48)), (1, -1, 37), r"\[1, -1, 37\] has open sizes"),
        (Delivered("kept", (32, 0)), (1, 25, 37), r"sizes of \[32, 0\] are not all 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(form: Delivered, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        form.shape_of(shape)


def test_padding_is_zero_and_the_rest_is_the_output() -> None:
    found = Delivered("kept", (3, 4)).arrange(np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3))
    np.testing.assert_array_equal(found, [[1, 2, 3, 0], [4, 5, 6, 0], [0, 0, 0, 0]])
    assert found.dtype == np.float32


def test_a_transposed_matrix_has_one_column_for_each_channel() -> None:
    found = Delivered("XY").arrange(np.arange(12).reshape(1, 3, 2, 2))
    np.testing.assert_array_equal(found, [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]])


@given(SHAPES, st.sampled_from(["YX", "XY"]))
def test_a_layout_loses_nothing(shape: tuple[int, ...], layout: str) -> None:
    array = np.arange(prod(shape)).reshape(shape)
    form = Delivered("XY" if layout == "XY" else "YX")
    matrix = form.arrange(array)
    assert matrix.shape == form.shape_of(shape)
    assert matrix.ndim == 2
    row_major = matrix.T if layout == "XY" else matrix
    np.testing.assert_array_equal(row_major.reshape(shape), array)


@given(SHAPES, st.data())
def test_padding_is_cut_off_again_by_the_shape(shape: tuple[int, ...], data: st.DataObject) -> None:
    more = data.draw(st.tuples(*(st.integers(0, 4) for _ in shape)))
    full = tuple(size + extra for size, extra in zip(shape, more, strict=True))
    assume(full)
    array = np.arange(1, prod(shape) + 1).reshape(shape)
    padded = Delivered("kept", full).arrange(array[None])
    assert padded.shape == full
    np.testing.assert_array_equal(padded[tuple(map(slice, shape))], array)
    assert np.count_nonzero(padded) == array.size


@given(SHAPES, SHAPES.filter(bool), st.sampled_from(["kept", "YX", "XY"]))
def test_the_shape_says_beforehand_what_an_array_does(
    shape: tuple[int, ...], full: tuple[int, ...], layout: str
) -> None:
    form = Delivered("XY" if layout == "XY" else "YX" if layout == "YX" else "kept", full)
    array = np.arange(1, prod(shape) + 1).reshape(shape)
    try:
        expected = form.shape_of(shape)
    except ValueError:
        with pytest.raises(ValueError, match="nor does it fit"):
            form.arrange(array)
    else:
        found = form.arrange(array)
        assert found.shape == expected == full
        np.testing.assert_array_equal(np.sort(found[found > 0], axis=None), np.sort(array, None))
