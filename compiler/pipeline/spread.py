"""A few of many items."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` items, evenly from the first to the last; `count` is 0 or more."""
    if len(items) <= count:
        return tuple(items)
    if count == 1:
        return (items[0],)
    return tuple(items[number * (len(items) - 1) // (count - 1)] for number in range(count))
