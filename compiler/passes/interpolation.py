"""Resize over the spatial axes as two matrices: each map x becomes V @ x @ H.T.

V is (H', h) and H is (W', w): each row holds the weights that one output row (column) gives to the
input rows (columns), borders included. Resizes in a row compose: (V2 @ V1, H2 @ H1), exactly and in
every mode, also where the coordinates of the composition are those of no single Resize.

Source: the operator Resize of ONNX, versions 11 to 19. Where ONNX Runtime departs from it, this
module follows ONNX Runtime, since that is what runs the networks:

1. Coordinates are computed in float32, which decides ties in nearest mode.
2. With `scales`, these divide coordinates even where floor(scale * size) is another ratio; with
   `sizes`, the ratio of the sizes does.
3. A scale of 1 copies, whatever the coordinate mode; so does a Resize whose output is as large as
   its input, whatever the scales.
4. linear clamps coordinates to the input before it interpolates.

Rows sum to 1, which others rely on.

Declined is nearest with half_pixel_symmetric: its coordinates fall on the edges between pixels, up
to a rounding that is not the specification's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.work import size_of
from compiler.graph.query import constant_value, is_static, producer

Floats = NDArray[np.float64]


class Upsampled(NamedTuple):
    """A tensor that Resizes made of a smaller one.

    Args:
        low: The smaller tensor, shape (N, C, h, w).
        vertical: (H', h).
        horizontal: (W', w).
    """

    low: gs.Tensor
    vertical: Floats
    horizontal: Floats


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a Resize."""

    before: int
    after: int
    scale: np.float32


def misjudged_size(resize: gs.Node) -> bool:
    """Whether ONNX Runtime makes another size of a Resize than shape inference says.

    It multiplies sizes and scales in float32 before it rounds down; shape inference is exact.
    """
    scales = constant_value(resize.inputs[2]) if len(resize.inputs) > 2 else None
    x, y = resize.inputs[0], resize.outputs[0]
    if scales is None or len(scales) != len(x.shape or ()) or not (is_static(x) and is_static(y)):
        return False
    sizes = np.floor(np.array(x.shape, np.float32) * scales.astype(np.float32))
    return bool((sizes != y.shape).any())


def reads_resize(node: gs.Node) -> bool:
    """Whether the first input of `node` comes from a Resize."""
    before = producer(node.inputs[0])
    return before is not None and before.op == "Resize"


def upsampled(tensor: gs.Tensor) -> Upsampled | str:
    """The smallest tensor that `tensor` is enlarged from, by one Resize or several in a row.

    Returns:
        That tensor and the composed operators, or why there is none.
    """
    resize = producer(tensor)
    if resize is None or resize.op != "Resize":
        return "its input is not resized"
    operators = resize_operators(resize)
    if isinstance(operators, str):
        return operators
    low = resize.inputs[0]
    if size_of(low) >= size_of(tensor):
        return "its Resize does not enlarge"
    below = upsampled(low)
    if isinstance(below, str):
        return Upsampled(low, *operators)
    vertical, horizontal = operators
    return Upsampled(below.low, vertical @ below.vertical, horizontal @ below.horizontal)


def resize_operators(resize: gs.Node) -> tuple[Floats, Floats] | str:
    """The matrices (V, H), of shapes (H', h) and (W', w), of a Resize over two spatial axes.

    Returns:
        The matrices in float64, or why `resize` is not such a Resize.
    """
    axes = _axes(resize)
    if isinstance(axes, str):
        return axes
    attrs = resize.attrs
    if attrs.get("antialias", 0):
        return "its Resize filters (antialias)"
    mode = attrs.get("mode", "nearest")
    transformation = attrs.get("coordinate_transformation_mode", "half_pixel")
    unknown = mode not in _INTERPOLATIONS or transformation not in _COORDINATES
    if unknown or (mode, transformation) == ("nearest", "half_pixel_symmetric"):
        return f"its Resize is {mode} with {transformation}"
    vertical, horizontal = (
        _INTERPOLATIONS[mode](_coordinates(axis, transformation), axis, attrs) for axis in axes
    )
    return vertical, horizontal


def _axes(resize: gs.Node) -> tuple[_Axis, _Axis] | str:
    x, y = resize.inputs[0], resize.outputs[0]
    if not (is_static(x) and is_static(y)) or len(x.shape) != 4:
        return "its Resize is not over two axes of static size"
    if x.shape[:2] != y.shape[:2]:
        return "its Resize changes the batch or the channels"
    if resize.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "its Resize keeps the aspect ratio"
    scales = _given(resize, 2)
    ratios = np.array(y.shape, np.float32) / np.array(x.shape, np.float32)
    if scales is not None:
        ratios[list(resize.attrs.get("axes", range(4)))] = scales
        if (np.floor(ratios * np.array(x.shape, np.float32)) != y.shape).any():
            return "its Resize makes another size than was inferred"
    elif _given(resize, 3) is None:
        return "its Resize has no constant size"
    if list(x.shape) == list(y.shape):
        ratios[:] = 1
    vertical, horizontal = (_Axis(x.shape[i], y.shape[i], ratios[i]) for i in (2, 3))
    return vertical, horizontal


def _given(resize: gs.Node, position: int) -> NDArray[Any] | None:  # scales float, sizes int
    """Values of an optional input; an empty one counts as absent."""
    tensor = next(iter(resize.inputs[position:]), None)
    values = None if tensor is None else constant_value(tensor)
    return values if values is not None and values.size else None


def _coordinates(axis: _Axis, transformation: str) -> Floats:
    """Position in the input of every output row, shape (after,)."""
    rows = np.arange(axis.after, dtype=np.float32)
    if axis.scale == 1:
        return rows.astype(np.float64)
    return _COORDINATES[transformation](rows, axis).astype(np.float64)


def _half_pixel(rows: NDArray[np.float32], axis: _Axis) -> NDArray[np.float32]:
    half = np.float32(0.5)
    return (rows + half) / axis.scale - half


def _half_pixel_symmetric(rows: NDArray[np.float32], axis: _Axis) -> NDArray[np.float32]:
    before = np.float32(axis.before)
    adjustment = np.float32(axis.after) / (axis.scale * before)
    return before / 2 * (1 - adjustment) + _half_pixel(rows, axis)


def _pytorch_half_pixel(rows: NDArray[np.float32], axis: _Axis) -> NDArray[np.float32]:
    return _half_pixel(rows, axis) if axis.after > 1 else 0 * rows


def _align_corners(rows: NDArray[np.float32], axis: _Axis) -> NDArray[np.float32]:
    return rows * np.float32(axis.before - 1) / np.float32(max(axis.after - 1, 1))


def _asymmetric(rows: NDArray[np.float32], axis: _Axis) -> NDArray[np.float32]:
    return rows / axis.scale


_COORDINATES: Final[Mapping[str, Callable[[NDArray[np.float32], _Axis], NDArray[np.float32]]]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}


def _nearest(positions: Floats, axis: _Axis, attrs: Mapping[str, Any]) -> Floats:
    mode = attrs.get("nearest_mode", "round_prefer_floor")
    index = _ROUNDINGS[mode](positions).astype(int)
    return _matrix(index[:, None], np.ones((axis.after, 1)), axis)


_ROUNDINGS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda positions: np.ceil(positions - 0.5),
    "round_prefer_ceil": lambda positions: np.floor(positions + 0.5),
}


def _linear(positions: Floats, axis: _Axis, attrs: Mapping[str, Any]) -> Floats:
    positions = positions.clip(0, axis.before - 1)
    first = np.floor(positions)
    share = positions - first
    indices = first.astype(int)[:, None] + [0, 1]
    return _matrix(indices, np.stack([1 - share, share], axis=1), axis)


def _cubic(positions: Floats, axis: _Axis, attrs: Mapping[str, Any]) -> Floats:
    """Source: Keys, Cubic convolution interpolation for digital image processing (1981), eq. 4."""
    a = attrs.get("cubic_coeff_a", -0.75)
    first = np.floor(positions)
    indices = first.astype(int)[:, None] + [-1, 0, 1, 2]
    distance = abs(positions[:, None] - indices)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = np.where(distance <= 1, near, far)
    if attrs.get("exclude_outside", 0):
        weights *= (indices >= 0) & (indices < axis.before)
        weights /= weights.sum(axis=1, keepdims=True)
    return _matrix(indices, weights, axis)


def _matrix(indices: NDArray[np.int64], weights: Floats, axis: _Axis) -> Floats:
    """Add `weights` (after, k) at `indices`; indices outside count as the border."""
    matrix = np.zeros((axis.after, axis.before))
    rows = np.arange(axis.after)[:, None]
    np.add.at(matrix, (rows, indices.clip(0, axis.before - 1)), weights)
    return matrix


_INTERPOLATIONS: Final[Mapping[str, Callable[[Floats, _Axis, Mapping[str, Any]], Floats]]] = {
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
}
