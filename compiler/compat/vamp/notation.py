"""The ways in which shapes, devices, instances and lists of numbers are typed."""

import re
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]

_WHOLE = re.compile(r"\d+")
_MOST = 1024  # numbers that a range stands for


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Shapes of `-s`: `[3,224,224]`, `3,224,224` or `[[1,512],[1,512]]`, with spaces or quotes.

    Returns:
        One shape per input; a single one is that of the first input.

    Raises:
        ValueError: Something else.
    """
    bare = re.sub(r"[\s'\"]", "", text)
    if re.fullmatch(r"\[*\d+(,\d+)*,?\]*", bare):
        inner = [bare.strip("[],")] if bare.count("[") == bare.count("]") else []
    else:
        inner = re.findall(r"\[([\d,]+)\]", bare) if _is_nested(bare) else []
    shapes = tuple(tuple(int(size) for size in _WHOLE.findall(part)) for part in inner)
    if not shapes or not all(size > 0 for shape in shapes for size in shape):
        raise ValueError(f"{text!r}: expected a shape such as [3,224,224] or [[1,512],[1,512]]")
    return shapes


def parse_indices(text: str) -> tuple[int, ...]:
    """Whole numbers: `0`, `0:3` (0 to 3, both included), `[0,2]` or `0,2`.

    Raises:
        ValueError: Something else, or a range of more than 1024.
    """
    bare = re.sub(r"[\s'\"]", "", text)
    if found := re.fullmatch(r"(\d+):(\d+)", bare):
        first, last = int(found[1]), int(found[2])
        if 0 <= last - first < _MOST:
            return tuple(range(first, last + 1))
    elif re.fullmatch(r"\[\d+(,\d+)*\]|\d+(,\d+)*", bare):
        return tuple(int(number) for number in _WHOLE.findall(bare))
    raise ValueError(f"{text!r}: expected a number, a range such as 0:3, or a list such as [0,2]")


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of instances, one run each: as `parse_indices`, each 1 or more.

    Raises:
        ValueError: Something else.
    """
    counts = parse_indices(text)
    if 0 in counts:
        raise ValueError(f"{text!r}: expected 1 or more")
    return counts


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Percentages: `[50,90,95,99]`, `50,99.9`; possibly none (`[]`).

    Raises:
        ValueError: Something else, or a number above 100.
    """
    bare = re.sub(r"[\s'\"]", "", text).removeprefix("[").removesuffix("]")
    try:
        percents = tuple(float(part) for part in bare.split(",") if part)
    except ValueError:
        percents = (-1.0,)
    if not all(0 <= percent <= 100 for percent in percents):
        raise ValueError(f"{text!r}: expected percentages such as [50,90,95,99]")
    return percents


def _is_nested(bare: str) -> bool:
    return re.fullmatch(r"\[?(\[\d+(,\d+)*,?\],?)+\]?", bare) is not None and bare.count(
        "["
    ) == bare.count("]")
