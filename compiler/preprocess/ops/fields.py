"""What the ops check of their fields, and how they say it."""

import difflib
from collections.abc import Iterable


def box_of(name: str, size: int | tuple[int, ...]) -> tuple[int, int]:
    """A size as (height, width); one number means a square."""
    sides = (size, size) if isinstance(size, int) else size
    if len(sides) != 2 or not all(map(is_whole, sides)):
        raise ValueError(f"{name} {list(sides)} is not [height, width] in whole numbers")
    return sides[0], sides[1]


def is_whole(value: object) -> bool:
    """Whether the value is an integer, which True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse a value that is not allowed, with those that are."""
    if value not in allowed:
        names = ["null" if choice is None else str(choice) for choice in allowed]
        raise ValueError(f"{name} '{value}' is not one of {', '.join(names)}")


def check_pixel(value: int | tuple[int, ...]) -> None:
    """Refuse what is neither a value of 8 bits nor one for each channel."""
    values = value if isinstance(value, tuple) else (value,)
    if not values or any(not is_whole(item) or not 0 <= item <= 255 for item in values):
        raise ValueError(f"value {value} is not 0 to 255, or a list of such numbers")


def check_lengths(**lengths: int) -> None:
    """Refuse a number of pixels that is not a whole number from 0."""
    for name, length in lengths.items():
        if not is_whole(length) or length < 0:
            raise ValueError(f"{name} {length} is not a whole number from 0")


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: what the reader may have meant, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
