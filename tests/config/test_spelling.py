import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.config.spelling import did_you_mean, edit_distance, nearest

WORDS = st.text(alphabet="abc", max_size=6)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 1), ("type", "tpye", 1)],
)
def test_known_distances(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance


@given(a=WORDS, b=WORDS)
def test_the_distance_is_symmetric_and_bounded(a: str, b: str) -> None:
    distance = edit_distance(a, b)
    assert distance == edit_distance(b, a)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert (distance == 0) == (a == b)


def test_only_near_words_are_offered() -> None:
    known = ["calibrate_mode", "calibrate_range", "weight_scale"]
    assert nearest("alibrate_mode", known, within=2) == "calibrate_mode"
    assert nearest("CALIBRATE_MODE", known, within=0) == "calibrate_mode"
    assert nearest("colour", known) is None
    assert nearest("x", ["a", "b"]) is None
    assert nearest("x", []) is None
    assert did_you_mean("weigth_scale", known) == "; did you mean 'weight_scale'?"
    assert did_you_mean("colour", known) == ""
