"""Which operators hand on one positive factor per channel: f(t * x) = t * f(x), axis 1."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import is_static, rank
from compiler.quantize.op_rules import clip_bounds

LINEAR: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def channelwise_role(node: gs.Node, read: Sequence[int]) -> str:
    """What becomes of one factor per channel (axis 1) in the inputs of a node.

    Args:
        node: Reads tensors whose channels have got factors.
        read: Positions of these among its inputs.

    Returns:
        "taker": a linear node whose weights can take them back; "clip": Clip(0, u), which hands
        them on below u; "shift": x + c, which does if c gets them too; "other": hands them on;
        or, in a sentence, that it does none of this.
    """
    if node.op in LINEAR:
        if read == [0] and has_constants(node) and not node.attrs.get("transA", 0):
            return "taker"
    elif node.op == "Concat":
        static = all(map(is_static, [*node.inputs, *node.outputs]))
        if static and node.attrs["axis"] % len(node.outputs[0].shape) == 1:
            return "other"
    elif node.op == "Clip":
        low, high = clip_bounds(node) or (-np.inf, np.inf)
        if low == 0 < high:
            return "clip" if np.isfinite(high) else "other"
    elif len(read) == 1 and is_static(node.outputs[0]) and _PASSES.get(node.op, _never)(node):
        return "shift" if node.op == "Add" else "other"
    return f"{node.op} '{node.name}' does not hand on a factor per channel"


def has_constants(node: gs.Node) -> bool:
    """Whether weight and bias of a linear node are constants, one channel an index of axis 1."""
    constants = [tensor for tensor in node.inputs[1:] if not tensor.is_empty()]
    if not all(isinstance(tensor, gs.Constant) for tensor in constants):
        return False
    # A MatMul of more dimensions has its channels on another axis than 1.
    return node.op != "MatMul" or rank(node.inputs[0]) == rank(constants[0]) == 2


def _always(node: gs.Node) -> bool:
    return True


def _never(node: gs.Node) -> bool:
    return False


def _keeps_axes(node: gs.Node) -> bool:
    """Batch and channels stay the leading axes, so that element order keeps them apart."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    return len(after) > 1 and list(before[:2]) == list(after[:2])


def _has_slopes(prelu: gs.Node) -> bool:
    return isinstance(prelu.inputs[1], gs.Constant)


def _with_constant(node: gs.Node) -> bool:
    """Whether it is x + c, x * c or x / c for a constant c, and broadcasts c alone."""
    variables = [tensor for tensor in node.inputs if not isinstance(tensor, gs.Constant)]
    if len(variables) != 1 or (node.op == "Div" and variables[0] is not node.inputs[0]):
        return False
    return list(variables[0].shape) == list(node.outputs[0].shape)


def _resizes_space(node: gs.Node) -> bool:
    axes = list(node.attrs.get("axes", range(len(node.inputs[0].shape))))
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    if scales is not None and not scales.is_empty() and 1 in axes:
        known = isinstance(scales, gs.Constant)
        if not known or scales.values[axes.index(1)] != 1:
            return False
    return _keeps_axes(node) and not node.attrs.get("extrapolation_value", 0.0)


def _pads_with_zeros(node: gs.Node) -> bool:
    pads, *others = node.inputs[1:]
    value = others[0] if others and not others[0].is_empty() else None
    if not isinstance(pads, gs.Constant) or (pads.values < 0).any():
        return False
    if node.attrs.get("mode", "constant") != "constant" or value is None:
        return _keeps_axes(node)
    return isinstance(value, gs.Constant) and not value.values.any() and _keeps_axes(node)


def _slices_forwards(node: gs.Node) -> bool:
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    backwards = steps is not None and not (
        isinstance(steps, gs.Constant) and (steps.values > 0).all()
    )
    return _keeps_axes(node) and not backwards


def _transposes_space(node: gs.Node) -> bool:
    return list(node.attrs.get("perm", ()))[:2] == [0, 1]


_PASSES: Final[Mapping[str, Callable[[gs.Node], bool]]] = MappingProxyType(
    {
        "Identity": _always,
        "Relu": _always,
        "LeakyRelu": _always,
        "PRelu": _has_slopes,
        "MaxPool": _always,
        "AveragePool": _always,
        "GlobalMaxPool": _always,
        "GlobalAveragePool": _always,
        "Resize": _resizes_space,
        "Pad": _pads_with_zeros,
        "Slice": _slices_forwards,
        "Reshape": _keeps_axes,
        "Flatten": _keeps_axes,
        "Squeeze": _keeps_axes,
        "Unsqueeze": _keeps_axes,
        "Transpose": _transposes_space,
        "Add": _with_constant,
        "Mul": _with_constant,
        "Div": _with_constant,
    }
)
