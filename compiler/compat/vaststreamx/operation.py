"""What a program of the device computes, known here by its name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from struct import Struct
from typing import ClassVar, TypeAlias

from compiler.compat.vaststreamx.containers import Array, Tensor

Shape: TypeAlias = tuple[int, ...]


class Operation(ABC):
    """A program with its configuration.

    Args:
        numbers: The configuration, as `layout` unpacks it.

    Raises:
        ValueError: A configuration that is impossible, or not known here.
    """

    layout: ClassVar[Struct]
    inputs: ClassVar[int]

    @abstractmethod
    def __init__(self, *numbers: int) -> None: ...

    @property
    @abstractmethod
    def shapes(self) -> Sequence[Shape | None]:
        """Of the results; None for memory of any size that the program needs on the device."""

    @abstractmethod
    def __call__(self, arrays: Sequence[Array]) -> list[Tensor]:
        """The results, without those of `shapes` that are None.

        Args:
            arrays: As many as `inputs`.

        Raises:
            ValueError: An array that the configuration does not describe.
        """


def fitted(name: str, array: Array, shape: Shape) -> Array:
    """The array in this shape, from which it may differ by axes of size 1.

    Raises:
        ValueError: It differs by more.
    """
    if _without_ones(array.shape) != _without_ones(shape):
        raise ValueError(f"{name} {list(array.shape)} given; expected {list(shape)}")
    return array.reshape(shape)


def check_sizes(name: str, sizes: Sequence[int], pitches: Sequence[int]) -> None:
    """Refuse sizes below 1, and rows or planes that are longer in memory than they count.

    Raises:
        ValueError: Those.
    """
    if min(sizes) < 1 or list(sizes) != list(pitches):
        raise ValueError(
            f"{name} has sizes {list(sizes)} and pitches {list(pitches)}; expected sizes from 1, "
            "and pitches equal to them"
        )


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]
