"""A few items stand for many."""

import pytest

from compiler.pipeline.spread import spread


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(0, ""), (1, "a"), (2, "ak"), (3, "afk"), (4, "adgk"), (11, "abcdefghijk")],
)
def test_items_are_chosen_evenly_from_the_first_to_the_last(count: int, chosen: str) -> None:
    assert "".join(spread("abcdefghijk", count)) == chosen


def test_fewer_items_are_all_chosen() -> None:
    assert spread([1, 2], 5) == (1, 2)
