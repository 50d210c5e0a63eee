"""Products with a banded constant, in strips of its rows.

An interpolation operator is a band: an output reads a few neighbouring inputs. A dense MatMul would
multiply mostly zeros. Cut into strips of outputs, each with the slice of inputs that it reads, it
multiplies few, for the price of copying the slices and putting the strips together.
"""

from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import CostModel
from compiler.passes.draft import Draft

Floats = NDArray[np.float64]

STRIPS: Final = (1, 2, 4, 8, 16, 32)


def multiply(
    draft: Draft, operator: Floats, x: gs.Tensor, cost: CostModel, *, role: str
) -> gs.Variable:
    """Draft the product of a banded operator and the second to last axis of x.

    Args:
        draft: Takes the nodes.
        operator: (out, low, taps): weights that an output gives to the taps of each low position.
        x: (..., low * taps, columns).
        cost: Chooses the number of strips.
        role: Of the drafted nodes.

    Returns:
        (..., out, columns).
    """

    def time(count: int) -> float:
        trial = Draft(gs.Graph(), role)
        _draft_strips(trial, operator, gs.Variable("x", np.float32, x.shape), count, role)
        return cost.milliseconds(trial.nodes)

    return _draft_strips(draft, operator, x, min(STRIPS, key=time), role)


def _draft_strips(
    draft: Draft, operator: Floats, x: gs.Tensor, count: int, role: str
) -> gs.Variable:
    *batch, inner, columns = (int(size) for size in x.shape)
    taps, axis = operator.shape[2], len(batch)
    parts = []
    for outputs, inputs in strips(np.any(operator, axis=2), count):
        matrix = operator[outputs, inputs].reshape(outputs.stop - outputs.start, -1)
        band = x
        if matrix.shape[1] < inner:
            first, last = inputs.start * taps, inputs.stop * taps
            band = draft.slice(x, axis, first, last, role=f"{role}/band")
        weights = draft.constant(f"{role}/weights", matrix)
        shape = [*batch, len(matrix), columns]
        parts.append(draft.add("MatMul", [weights, band], shape, role=f"{role}/strip"))
    if len(parts) == 1:
        return parts[0]
    return draft.add("Concat", parts, [*batch, len(operator), columns], role=role, axis=axis)


def strips(reads: NDArray[np.bool_], count: int) -> list[tuple[slice, slice]]:
    """Cut outputs into strips, each with the low positions that it reads.

    Args:
        reads: (out, low): whether an output reads a position.
        count: Number of nearly equal strips; fewer if there are fewer outputs.

    Returns:
        Ranges of outputs, and of positions; a strip that reads none gets the first.
    """
    edges = np.linspace(0, len(reads), min(count, len(reads)) + 1).round().astype(int)
    found = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        read = np.flatnonzero(reads[first:last].any(axis=0))
        low = slice(int(read[0]), int(read[-1]) + 1) if read.size else slice(0, 1)
        found.append((slice(first, last), low))
    return found
