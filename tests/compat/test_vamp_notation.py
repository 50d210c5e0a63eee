"""What is typed after -s, -d, -i and --percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.compat.vamp.notation import (
    parse_counts,
    parse_indices,
    parse_percentiles,
    parse_shapes,
)

SHAPES = st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=4), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[3,224,224]", ((3, 224, 224),)),
        ("3,736,1280", ((3, 736, 1280),)),
        (" [ 3, 128 ,128 ] ", ((3, 128, 128),)),
        ("'[3,128,128]'", ((3, 128, 128),)),
        ('"3,128,128"', ((3, 128, 128),)),
        ("[[1,256,256],[1,256,256]]", ((1, 256, 256), (1, 256, 256))),
        ("[1,128],[1,128]", ((1, 128), (1, 128))),
        ("[[3,8,8]]", ((3, 8, 8),)),
        ("[" + ",".join(["[1,512]"] * 6) + "]", ((1, 512),) * 6),
    ],
)
def test_every_published_notation_of_a_shape(text: str, expected: object) -> None:
    assert parse_shapes(text) == expected


@given(SHAPES)
def test_a_printed_list_of_shapes_reads_back(shapes: list[list[int]]) -> None:
    assert parse_shapes(str(shapes)) == tuple(map(tuple, shapes))


@pytest.mark.parametrize(
    "text", ["", "[]", "[3,224,224", "3x224x224", "[3,0,224]", "[3,-1,4]", "[[1,2],3]", "a,b,c"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a shape such as"):
        parse_shapes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("6", (6,)),
        ("0:3", (0, 1, 2, 3)),
        ("[0,2]", (0, 2)),
        ("[0, 2]", (0, 2)),
        ("0,2", (0, 2)),
        ("2:2", (2,)),
    ],
)
def test_every_notation_of_devices(text: str, expected: tuple[int, ...]) -> None:
    assert parse_indices(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "3:0", "0:", "[0;2]", "cpu", "1.5", "0:99999999999"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number, a range"):
        parse_indices(text)


def test_instances_are_a_number_or_a_range_of_at_least_one() -> None:
    assert parse_counts("8") == (8,)
    assert parse_counts("1:4") == (1, 2, 3, 4)
    with pytest.raises(ValueError, match="expected 1 or more"):
        parse_counts("0:2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[50,90,95,99]", (50, 90, 95, 99)),
        ("50, 99.9", (50, 99.9)),
        ("75", (75,)),
        ("[]", ()),
    ],
)
def test_percentiles(text: str, expected: tuple[float, ...]) -> None:
    assert parse_percentiles(text) == expected


@pytest.mark.parametrize("text", ["101", "-1", "p50", "nan"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected percentages"):
        parse_percentiles(text)
