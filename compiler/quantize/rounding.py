"""Round weights up or down, whichever keeps the output of the layer.

Nearest rounding minimises the error of each weight; the output sees their sum, e X, with e the
errors of one output channel (in steps of its scale) and X the layer's inputs, one column per
output position. With H = X X^T the squared output error is e H e^T; to change e_i by d changes it
by d^2 H_ii + 2 d (e H)_i. Weight after weight goes to its other neighbour where that is negative.

All of it is exact, so that neither the number of threads nor the matrix library shows in the
result: inputs are integers of at most 127 in magnitude, errors are multiples of 2**-11, and every
sum of their products stays below 2**53, where float64 holds all integers.

Source: Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization, equation 13
(the quadratic form), solved by coordinate descent; errors carried along as in Frantar et al. 2022,
Optimal Brain Compression.
"""

import random
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.quantize.conv_windows import windows_of
from compiler.quantize.weights import RoundedWeights, along, as_rows

LARGEST_INPUT = 127
MOST_COLUMNS = 4096
"""Output positions to take in all, over all samples; more change little."""

MOST_WEIGHTS = 4608
"""Weights per output channel, 512 channels of 3 x 3: time and memory grow with its square."""

_GRID = 2**11
_EXACT = 2**53
_SWEEPS = 3
_BLOCK = 128


def can_round_adaptively(weight: NDArray[np.float32], *, axis: int) -> bool:
    """Whether the work is bounded: at most `MOST_WEIGHTS` per output channel."""
    return bool(weight.size <= MOST_WEIGHTS * weight.shape[axis])


def columns(
    node: gs.Node, x: NDArray[np.float32], count: int, seed: int, scale: float
) -> NDArray[np.int8]:
    """What a node's weights multiply, at some of its output positions.

    Args:
        node: Conv, or Gemm or MatMul with a weight.
        x: Its input: (N, C, *spatial) of a Conv, else (..., C).
        count: Number of positions, at most; `MOST_COLUMNS` over all samples will do.
        seed: Chooses them.
        scale: Scale of the quantized input, > 0; two of its steps become one here.

    Returns:
        Integers in [-127, 127], shape (groups, weights per output channel, positions).
    """
    gather = _conv_columns if node.op == "Conv" else _matrix_columns
    steps = np.nan_to_num(gather(node, x, count, seed) / np.float32(2 * scale))
    integers = np.clip(np.rint(steps), -LARGEST_INPUT, LARGEST_INPUT)
    return np.asarray(integers, np.int8)


def gram(columns: NDArray[np.int8]) -> NDArray[np.float64]:
    """Exact sums of products of all pairs of inputs.

    Args:
        columns: Of `columns`; those of several samples may be joined along the last axis, or their
            results added up.

    Returns:
        Shape (groups, weights, weights), integers.
    """
    numbers = columns.astype(np.float64)
    return numbers @ numbers.transpose(0, 2, 1)


def round_adaptively(
    weight: NDArray[np.float32], rounded: RoundedWeights, grams: NDArray[np.float64], *, axis: int
) -> RoundedWeights:
    """Move rounded weights to their other neighbour where the layer's output gains.

    Args:
        weight: The float weight.
        rounded: It, rounded to nearest.
        grams: Of `gram`, one per group.
        axis: Output-channel axis of `weight`.

    Returns:
        Weights at the same scales, each one of the two integers next to its float value.

    Raises:
        ValueError: The sums could exceed what float64 holds exactly: take fewer columns.
    """
    steps = weight / along(rounded.scale.astype(np.float64), axis, weight.ndim)
    errors = np.rint(as_rows(steps - rounded.values, axis) * _GRID)
    groups, inputs = grams.shape[:2]
    # (groups, inputs, outputs): one input of all outputs lies together.
    shape = (groups, -1, inputs)
    values = as_rows(rounded.values, axis).astype(np.float64).reshape(shape).transpose(0, 2, 1)
    errors = errors.reshape(shape).transpose(0, 2, 1)
    _check_exact(errors, grams)
    found = _descend(values.copy(), errors.copy(), grams, rounded.levels)
    rows = found.transpose(0, 2, 1).astype(np.int8)
    others = [size for i, size in enumerate(weight.shape) if i != axis]
    integers = np.moveaxis(rows.reshape(-1, *others), 0, axis)
    return replace(rounded, values=np.ascontiguousarray(integers))


def _descend(
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    grams: NDArray[np.float64],
    levels: int,
) -> NDArray[np.float64]:
    """Coordinate descent over inputs, all outputs at once, until nothing moves.

    Products with H are gathered for a block of inputs and made by one matrix product; as all sums
    are exact, the size of the block changes nothing.
    """
    products = grams @ errors
    diagonal = np.diagonal(grams, axis1=1, axis2=2)
    for _ in range(_SWEEPS):
        before = values.copy()
        for start in range(0, values.shape[1], _BLOCK):
            block = slice(start, min(start + _BLOCK, values.shape[1]))
            local = products[:, block].copy()
            changes = np.zeros_like(local)
            for i in range(block.start, block.stop):
                # Up lowers the error by a step, down raises it; 0 has no other neighbour.
                up = np.sign(errors[:, i])
                gains = _GRID * diagonal[:, i, None] - 2 * up * local[:, i - start] < 0
                move = np.where(gains & (np.abs(values[:, i] + up) <= levels), up, 0.0)
                change = -_GRID * move
                values[:, i] += move
                errors[:, i] += change
                changes[:, i - start] = change
                local += grams[:, i, block, None] * change[:, None]
            products += grams[:, :, block] @ changes
        if np.array_equal(values, before):
            break
    return values


def _check_exact(errors: NDArray[np.float64], grams: NDArray[np.float64]) -> None:
    """H is positive semidefinite: its largest element lies on the diagonal."""
    largest = np.diagonal(grams, axis1=1, axis2=2).max(initial=0)
    error = np.maximum(np.abs(errors), _GRID).sum(axis=1).max(initial=0)  # _GRID: after a move
    bound = 2 * error * largest
    if bound >= _EXACT:
        raise ValueError(f"sums of up to {bound:.0f} are not exact in float64; take fewer columns")


def _conv_columns(
    node: gs.Node, x: NDArray[np.float32], count: int, seed: int
) -> NDArray[np.float32]:
    windows = windows_of(node, x.shape[2:])
    grid = (len(x), *(axis.count for axis in windows))
    batch, *places = np.unravel_index(_choose(int(np.prod(grid)), count, seed), grid)
    taps = []
    inside = np.ones((len(batch), *(axis.kernel for axis in windows)), bool)
    for number, (axis, place) in enumerate(zip(windows, places, strict=True), 1):
        at = axis.positions()[place]
        at = at.reshape(len(at), *(-1 if i == number else 1 for i in range(1, len(grid))))
        inside &= (at >= 0) & (at < axis.size)
        taps.append(np.clip(at, 0, axis.size - 1))
    first = batch.reshape(-1, *(1 for _ in windows))
    # Indexing gives (positions, *kernel, channels).
    found: NDArray[np.float32] = np.moveaxis(x, 1, -1)[first, *taps] * inside[..., None]
    groups = int(node.attrs.get("group", 1))
    return np.moveaxis(found, (-1, 0), (0, -1)).reshape(groups, -1, len(batch))


def _matrix_columns(
    node: gs.Node, x: NDArray[np.float32], count: int, seed: int
) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = x.reshape(-1, x.shape[-1])
    return rows[_choose(len(rows), count, seed)].T[None]


def _choose(total: int, count: int, seed: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(total), min(count, total)))
