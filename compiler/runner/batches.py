"""Samples that run together, where the batch dimension of a network is open."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from compiler.runner.engine import Tensor
from compiler.runner.manifest import TensorSpec

Feeds: TypeAlias = Mapping[str, Tensor]
Outputs: TypeAlias = dict[str, Tensor]


def most_together(specs: Sequence[TensorSpec]) -> int:
    """Samples that the inputs take at a time, counted along their first dimension.

    1 where the first dimension of an input is fixed, or does not begin at 1.
    """
    firsts = [spec.ranges[:1] for spec in specs]
    if any(not first or first[0][0] != 1 for first in firsts):
        return 1
    return min((largest for ((_, largest),) in firsts), default=1)


def run_together(
    run: Callable[[Feeds], Outputs], samples: Sequence[Feeds], most: int
) -> list[Outputs]:
    """Outputs of each sample.

    Args:
        run: The network.
        samples: Those of equal sizes that follow each other run together.
        most: So many of them at a time; a sample that is a batch itself runs alone.
    """
    return [outputs for group in _groups(samples, most) for outputs in _run(run, group)]


def _groups(samples: Sequence[Feeds], most: int) -> Iterator[list[Feeds]]:
    group: list[Feeds] = []
    for sample in samples:
        fits = group and len(group) < most and _shapes(sample) == _shapes(group[0])
        if group and not (fits and _is_single(sample)):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def _run(run: Callable[[Feeds], Outputs], group: Sequence[Feeds]) -> list[Outputs]:
    if len(group) == 1:
        return [run(group[0])]
    names = group[0].keys()
    outputs = run({name: np.concatenate([sample[name] for sample in group]) for name in names})
    if any(array.shape[:1] != (len(group),) for array in outputs.values()):
        return [run(sample) for sample in group]  # an output that is not one per sample
    return [{name: array[i : i + 1] for name, array in outputs.items()} for i in range(len(group))]


def _shapes(sample: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in sample.items()}


def _is_single(sample: Feeds) -> bool:
    return all(array.shape[:1] == (1,) for array in sample.values())
