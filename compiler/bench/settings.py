"""What is measured: every combination of the engines, threads, instances and batches asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeVar, cast, get_args

from compiler.errors import BuildFileError
from compiler.runner.engine import EngineChoice

T = TypeVar("T")

MOST: Final = 1024
"""Largest number of threads, instances or samples of a batch."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination.

    Args:
        engine: None is what the bundle names.
        threads: Of one operator; None shares the CPUs among the instances.
        instances: Requests at the same time.
        batch: Samples of one request, which run one after the other.
    """

    engine: EngineChoice | None = None
    threads: int | None = None
    instances: int = 1
    batch: int = 1


def settings_of(
    engines: Sequence[EngineChoice | None],
    threads: Sequence[int | None],
    instances: Sequence[int],
    batches: Sequence[int],
) -> tuple[Setting, ...]:
    """Every combination, the last one changing fastest."""
    return tuple(Setting(*one) for one in product(engines, threads, instances, batches))


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers from a list such as "1,2,4", each once.

    Args:
        text: As typed.
        option: Where, for the error.

    Raises:
        BuildFileError: Anything else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= MOST for word in words):
        raise BuildFileError(
            f"{text!r} given; a list of whole numbers from 1 to {MOST} was expected",
            where=option,
            fix=f"write them with commas, such as {option} 1,2",
        )
    return _once([int(word) for word in words])


def parse_engines(text: str, option: str) -> tuple[EngineChoice, ...]:
    """Engines from a list such as "onnxruntime,auto", each once.

    Args:
        text: As typed.
        option: Where, for the error.

    Raises:
        BuildFileError: There is no such engine.
    """
    words, known = [word.strip() for word in text.split(",")], get_args(EngineChoice)
    if unknown := [word for word in words if word not in known]:
        raise BuildFileError(
            f"no engine {unknown[0]!r}; there are {', '.join(known)}",
            where=option,
            fix=f"write them with commas, such as {option} {','.join(known[:2])}",
        )
    return _once([cast(EngineChoice, word) for word in words])


def _once(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
