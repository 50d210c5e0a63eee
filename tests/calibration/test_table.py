"""The calibration table: exact there and back, editable, and clear about mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calibration.ranges import TensorRange, clipped_range
from calibration.table import read_table, write_table

RELU = clipped_range("/enc1/Relu_output_0", "kl_divergence", 0.0, 8.25, 6.5)
ADD = clipped_range("add 1:0", "max", -1.0, 4.0, 4.0)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(), max_size=12)


@st.composite
def ranges(draw: st.DrawFn) -> TensorRange:
    low, high = sorted([draw(FLOATS), draw(FLOATS)])
    threshold = draw(st.floats(0, 3e38))
    found = clipped_range(draw(NAMES), draw(st.sampled_from(["max", "mse"])), low, high, threshold)
    if draw(st.booleans()):
        scale = draw(st.floats(1e-30, 1e30))
        return replace(found, method="manual", scale=scale, zero_point=draw(st.integers(0, 255)))
    return found


@given(st.lists(ranges(), min_size=1, max_size=5, unique_by=lambda found: found.name))
@settings(max_examples=300, deadline=None)
@example([replace(RELU, name=name) for name in ('"', "#x", "", "-", "a\u2028b", "\ud800", "é:/")])
def test_a_table_reads_back_as_the_same_ranges(found: list[TensorRange]) -> None:
    assert read_table(write_table(found), "t") == tuple(found)


def test_a_table_is_aligned_and_explains_every_column() -> None:
    lines = write_table([RELU, ADD]).splitlines()

    assert lines[-3:] == [
        "# tensor             method          min   max  threshold        scale  zero_point",
        "/enc1/Relu_output_0  kl_divergence   0.0  8.25        6.5  0.025490196           0",
        '"add 1:0"            max            -1.0   4.0        4.0  0.019607844          51',
    ]
    comments = "\n".join(lines[:-3])
    assert all(line.startswith("#") for line in lines[:-2])
    for column in ("tensor", "method", "min max", "threshold", "scale", "zero_point", "manual"):
        assert column in comments


def edited(old: str, new: str) -> str:
    text = write_table([RELU, ADD])
    assert text.count(old) == 1
    return text.replace(old, new)


def test_dashes_compute_scale_and_zero_point_from_an_edited_threshold() -> None:
    text = edited("6.5  0.025490196           0", "5.1  - -")

    relu, add = read_table(text, "t")

    assert relu == clipped_range(RELU.name, "kl_divergence", 0.0, 8.25, 5.1)
    assert relu.scale == float(np.float32(np.float32(5.1) / 255))
    assert add == ADD


def test_a_manual_row_takes_scale_and_zero_point_as_written() -> None:
    text = edited("kl_divergence   0.0  8.25        6.5  0.025490196", "manual 0 8.25 6.5 0.125")

    relu = read_table(text, "t")[0]

    assert (relu.method, relu.scale, relu.zero_point) == ("manual", 0.125, 0)
    assert read_table(write_table([relu]), "t") == (relu,)


def test_blank_lines_comments_tabs_and_windows_habits_do_not_matter() -> None:
    text = "\ufeff" + edited("/enc1", "\n  # mine\n/enc1").replace("  ", "\t").replace("\n", "\r\n")

    assert read_table(text, "t") == (RELU, ADD)


ROW = "relu max 0 4 4 - -"
MISTAKES = {
    "a b max 0 4 4 - -": "8 columns; expected 7: tensor method min max threshold scale zero_point",
    "relu max 0 4 4 -": "6 columns; expected 7",
    "relu max 0 four 4 - -": "max is 'four'; expected a number",
    "relu max 0 4 4 0,5 0": "scale is '0,5'; expected a number",
    "relu max 0 4 4 0.5 1.5": "zero_point is '1.5'; expected a whole number",
    "relu max 0 nan 4 - -": "maximum is nan; must be finite",
    "relu max 5 4 4 - -": "minimum 5 is above maximum 4",
    "relu max 0 4 -4 - -": "threshold is -4; must be 0 or more",
    "relu manual 0 4 4 0 0": "scale is 0; must be above 0",
    "relu manual 0 4 4 1 300": r"zero point is 300; must be in 0\.\.255",
    "relu max 0 4 4 - 0": "expected - for both scale and zero_point, or for neither",
    "relu manual 0 4 4 - -": "method is manual; expected numbers",
    "relu max 0 4 4 0.5 0": r"give scale 0\.015686275 and zero_point 0, not 0\.5 and 0; write -",
    '"relu max 0 4 4 - -': 'tensor is "relu; expected the closing quote',
    f"{ROW}\n{ROW}": "tensor 'relu' occurs twice",
}


@pytest.mark.parametrize("row", MISTAKES)
def test_a_mistake_names_file_line_and_what_was_expected(row: str) -> None:
    line = 3 + row.count("\n")
    with pytest.raises(ValueError, match=rf"^mod\.calib\.txt: line {line}: .*{MISTAKES[row]}"):
        read_table(f"# comment\n\n{row}\n", "mod.calib.txt")


@pytest.mark.parametrize("text", ["", "# tensor method\n\n"])
def test_a_table_without_rows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^t: no rows; expected one line per tensor: tensor"):
        read_table(text, "t")


def test_a_range_whose_scale_does_not_follow_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"tensor '/enc1.*not 0\.5 and 0; write -"):
        write_table([replace(RELU, scale=0.5)])


def test_a_tensor_is_not_written_twice() -> None:
    with pytest.raises(ValueError, match=r"tensor 'add 1:0' occurs twice"):
        write_table([ADD, RELU, ADD])
