"""Inputs for a network whose data does not matter."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from compiler.runner.engine import Tensor
from compiler.runner.manifest import TensorSpec

Feeds: TypeAlias = Mapping[str, Tensor]


def random_feeds(specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """One seeded sample: floats in [0, 1), uint8 in 0 to 255; other integers are 0.

    An open size is the largest one allowed, but that of the batch, the first dimension, the
    smallest; 1 where nothing is said.
    """
    random = np.random.Generator(np.random.PCG64(0))
    return {spec.name: _random(random, spec) for spec in specs}


def fits(specs: Sequence[TensorSpec], feeds: Feeds) -> bool:
    """Whether feeds have the names, element types and sizes of the inputs."""
    return feeds.keys() == {spec.name for spec in specs} and all(
        feeds[spec.name].dtype == spec.dtype and spec.takes(feeds[spec.name].shape)
        for spec in specs
    )


def _random(random: np.random.Generator, spec: TensorSpec) -> Tensor:
    shape, dtype = _sizes(spec), np.dtype(spec.dtype)
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype == np.uint8:
        return random.integers(0, 256, shape, np.uint8)
    return np.zeros(shape, dtype)


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    first, others = spec.ranges[:1], spec.ranges[1:]
    sizes = [smallest for smallest, _ in first] + [largest for _, largest in others]
    return tuple(max(1, size) for size in sizes)
