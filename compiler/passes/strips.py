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
from compiler.cost.work import size_of
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
    taps = operator.shape[2]
    columns = int(x.shape[-1])
    best = min(STRIPS, key=lambda count: _strip_time(operator, x, count, cost))
    parts = []
    for outputs, inputs in _strips(operator, best):
        matrix = operator[outputs, inputs].reshape(outputs.stop - outputs.start, -1)
        band = x
        if matrix.shape[1] < x.shape[-2]:
            first, last = inputs.start * taps, inputs.stop * taps
            band = draft.slice(x, len(x.shape) - 2, first, last, role=f"{role}/band")
        constant = draft.constant(f"{role}/weights", matrix)
        shape = [*x.shape[:-2], len(matrix), columns]
        parts.append(draft.add("MatMul", [constant, band], shape, role=f"{role}/strip"))
    if len(parts) == 1:
        return parts[0]
    shape = [*x.shape[:-2], len(operator), columns]
    return draft.add("Concat", parts, shape, role=role, axis=len(x.shape) - 2)


def _strips(operator: Floats, count: int) -> list[tuple[slice, slice]]:
    """`count` nearly equal strips of outputs, each with the low rows that it reads."""
    edges = np.linspace(0, len(operator), min(count, len(operator)) + 1).round().astype(int)
    strips = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        read = np.flatnonzero(np.any(operator[first:last], axis=(0, 2)))
        low = slice(int(read[0]), int(read[-1]) + 1) if read.size else slice(0, 1)
        strips.append((slice(first, last), low))
    return strips


def _strip_time(operator: Floats, x: gs.Tensor, count: int, cost: CostModel) -> float:
    """Predicted ns of the product in `count` strips: arithmetic, copies, nodes."""
    machine, taps = cost.machine, operator.shape[2]
    columns = size_of(x) // int(x.shape[-2])
    integer = cost.precision == "int8"
    per_mac = machine.matmul_int8_left if integer else machine.matmul_float
    copy = 0.0 if count == 1 else machine.byte * (2 if integer else 8)
    time = 0.0
    for outputs, inputs in _strips(operator, count):
        read, written = (inputs.stop - inputs.start) * taps, outputs.stop - outputs.start
        time += (read * written * per_mac + (read + written) * copy) * columns
        time += machine.node * (1 if count == 1 else 2)
    return time
