"""Run two networks on the same samples and compare what they compute, tensor by tensor."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.verify.metrics import Agreement
from compiler.verify.result import TensorFigures

Tensors = Mapping[str, NDArray[Any]]  # Any: whatever element types the network has


def compare(pairs: Iterable[tuple[Tensors, Tensors]]) -> tuple[TensorFigures, ...]:
    """Compare samples given as (reference, compiled) mappings from tensor name to values.

    Tensors that only one side has are left out. The order is that of the first reference.

    Raises:
        ValueError: A tensor has different sizes on the two sides.
    """
    agreements: dict[str, Agreement] = {}
    for reference, compiled in pairs:
        for name, expected in reference.items():
            if name in compiled:
                agreements.setdefault(name, Agreement()).add(expected, compiled[name])
    return tuple(TensorFigures.of(name, agreement) for name, agreement in agreements.items())


class Recording:
    """Samples of many tensors, kept on disk so that two networks need not be loaded at once.

    Args:
        folder: An existing, empty folder; 4 bytes per float32 value are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._samples: list[list[_Stored]] = []

    def add(self, tensors: Tensors) -> None:
        """Store one more sample.

        Raises:
            OSError: The disk is full.
        """
        stored: list[_Stored] = []
        for name, values in tensors.items():
            path = self._folder / f"{len(self._samples)}_{len(stored)}.bin"
            with path.open("wb") as file:
                file.write(np.ascontiguousarray(values).data)
            stored.append(_Stored(name, path, values.dtype, values.shape))
        self._samples.append(stored)

    def __iter__(self) -> Iterator[Tensors]:
        for sample in self._samples:
            yield {one.name: one.read() for one in sample}


@dataclass(frozen=True, slots=True)
class _Stored:
    name: str
    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        return np.fromfile(self.path, self.dtype).reshape(self.shape)
