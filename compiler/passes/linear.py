"""Conv, ConvTranspose and Gemm seen as one thing: a linear map with a bias per output channel.

With y = W x + b and one number per channel in s and t:

1. After:  s * y + t = W' x + b' with W'[o] = s[o] * W[o] and b' = s * b + t.
2. Before: W (s * x + t) + b = W' x + b' with W'[o, i] = W[o, i] * s[i] and
   b' = b + sum over i and kernel of W[o, i] * t[i].
   With t != 0 this is exact only where every output sees the whole kernel: not in a padded Conv,
   whose zeros would need the shift too, and not in ConvTranspose, whose outputs overlap.

fuse_batch_norm, fuse_scale and fuse_bias differ only in where s and t come from.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import only_reader, producer, readers, unique_name

LINEAR = ("Conv", "ConvTranspose", "Gemm")

Floats: TypeAlias = NDArray[np.float64]
#: (rank, channels) of the linear node's side -> (s, t) of shape (channels,), or why there are none.
Affine: TypeAlias = Callable[[int, int], tuple[Floats, Floats] | str]


def has_linear_neighbour(node: gs.Node, value: gs.Tensor) -> bool:
    """Whether `value`, an input of `node`, comes from a linear node, or `node` feeds one."""
    return bool(_linear_producer(value) or _linear_reader(node))


def split_operands(node: gs.Node) -> tuple[gs.Tensor, gs.Constant] | None:
    """(variable, constant) of a binary node that has one operand of each kind, otherwise None."""
    first, second = node.inputs
    if isinstance(first, gs.Constant):
        first, second = second, first
    one_each = isinstance(second, gs.Constant) and not isinstance(first, gs.Constant)
    return (first, second) if one_each else None


def fold_into_neighbour(
    graph: gs.Graph, node: gs.Node, value: gs.Tensor, affine: Affine
) -> str | None:
    """Fold node(value) = s * value + t into the linear node before it, else into the one after.

    Args:
        graph: Owns `node`; names of new constants are unique in it.
        node: Has one output, of the shape of `value`.
        value: The one input of `node` that is not constant.
        affine: Tells s and t for the rank and the number of channels of `value`.

    Returns:
        None when folded, otherwise the reason why not.
    """
    reasons = []
    if before := _linear_producer(value):
        reason = _fold_after(graph, before, node, value, affine)
        if reason is None:
            return None
        reasons.append(f"not into '{before.name}' before it: {reason}")
    if after := _linear_reader(node):
        reason = _fold_before(graph, after, node, value, affine)
        if reason is None:
            return None
        reasons.append(f"not into '{after.name}' after it: {reason}")
    return "; ".join(reasons) or f"no {', '.join(LINEAR[:-1])} or {LINEAR[-1]} beside it"


def per_channel(values: NDArray[np.generic], rank: int, channels: int) -> Floats | None:
    """The one number per channel that `values` broadcasts to, shape (channels,), or None.

    Args:
        values: Operand of an elementwise op whose other operand has `rank` axes.
        rank: Axes of the other operand, 2 or more; axis 1 is the channel axis.
        channels: Length of axis 1.
    """
    shape = (1,) * (rank - values.ndim) + values.shape
    if len(shape) != rank or shape[1] not in (1, channels) or values.size != shape[1]:
        return None
    return np.broadcast_to(values.astype(np.float64).reshape(-1), (channels,))


def _linear_producer(value: gs.Tensor) -> gs.Node | None:
    node = producer(value)
    return node if node is not None and node.op in LINEAR else None


def _linear_reader(node: gs.Node) -> gs.Node | None:
    """The first linear node that reads the output of `node` as its data."""
    output = node.outputs[0]
    found = (r for r in readers(output) if r.op in LINEAR and r.inputs[0] is output)
    return next(found, None)


def _why_not_constant(linear: gs.Node) -> str | None:
    dynamic = [t.name for t in linear.inputs[1:] if t.name and not isinstance(t, gs.Constant)]
    if dynamic:
        return f"not constant: {', '.join(dynamic)}"
    if linear.op == "Gemm" and not _is_normal_gemm(linear):
        return "Gemm is not in the form of normalize_gemm"
    return None


def _is_normal_gemm(gemm: gs.Node) -> bool:
    wanted = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
    defaults = {**wanted, "transB": 0}
    actual = {name: gemm.attrs.get(name, default) for name, default in defaults.items()}
    channels = gemm.inputs[1].shape[0]
    return actual == wanted and all(t.shape == (channels,) for t in gemm.inputs[2:] if t.name)


def _fold_after(
    graph: gs.Graph, linear: gs.Node, node: gs.Node, value: gs.Tensor, affine: Affine
) -> str | None:
    if only_reader(graph, value) is None:
        return f"'{value.name}' has another reader"
    if reason := _why_not_constant(linear):
        return reason
    weight, bias = _weight(linear), _bias(linear)
    parameters = _finite(affine(_rank(linear), bias.size))
    if isinstance(parameters, str):
        return parameters
    scale, shift = parameters
    weight *= scale.reshape(*weight.shape[:2], 1, 1)
    _set_parameters(graph, linear, weight, bias * scale + shift)
    outputs = list(node.outputs)
    node.outputs.clear()
    linear.outputs = outputs
    return None


def _fold_before(
    graph: gs.Graph, linear: gs.Node, node: gs.Node, value: gs.Tensor, affine: Affine
) -> str | None:
    if only_reader(graph, node.outputs[0]) is None:
        return f"'{node.outputs[0].name}' has another reader"
    if reason := _why_not_constant(linear):
        return reason
    rank, channels = _rank(linear), _input_channels(linear)
    if value.shape is None or len(value.shape) != rank or value.shape[1] != channels:
        return f"'{value.name}' is not known to have rank {rank} and {channels} channels"
    parameters = _finite(affine(rank, channels))
    if isinstance(parameters, str):
        return parameters
    scale, shift = parameters
    if shift.any() and (reason := _why_not_shift(linear)):
        return reason
    weight, bias = _weight(linear), _bias(linear)
    groups, _, per_group, _ = weight.shape
    bias += np.einsum("goik,gi->go", weight, shift.reshape(groups, per_group)).reshape(-1)
    weight *= scale.reshape(groups, 1, per_group, 1)
    _set_parameters(graph, linear, weight, bias)
    linear.inputs = [value, *linear.inputs[1:]]
    return None


def _why_not_shift(linear: gs.Node) -> str | None:
    if linear.op == "ConvTranspose":
        return "the outputs of ConvTranspose overlap, so a shift reaches them unevenly"
    if any(linear.attrs.get("pads", [])) or "SAME" in linear.attrs.get("auto_pad", ""):
        return "its zero padding would not be shifted"
    return None


def _finite(parameters: tuple[Floats, Floats] | str) -> tuple[Floats, Floats] | str:
    if isinstance(parameters, str) or all(np.isfinite(values).all() for values in parameters):
        return parameters
    return "the scale or shift is not finite"


def _rank(linear: gs.Node) -> int:
    return len(linear.inputs[1].shape)


def _groups(linear: gs.Node) -> int:
    return int(linear.attrs.get("group", 1))


def _input_channels(linear: gs.Node) -> int:
    shape = linear.inputs[1].shape
    return int(shape[0] if linear.op == "ConvTranspose" else shape[1] * _groups(linear))


def _weight(linear: gs.Node) -> Floats:
    """Weight as (groups, outputs per group, inputs per group, kernel elements).

    Layouts: Conv (O, I/g, *kernel), ConvTranspose (I, O/g, *kernel), normalised Gemm (O, I).
    """
    values: NDArray[np.generic] = linear.inputs[1].values
    groups = _groups(linear)
    first, second = values.shape[:2]
    grouped = values.astype(np.float64).reshape(groups, first // groups, second, -1)
    return grouped.swapaxes(1, 2) if linear.op == "ConvTranspose" else grouped


def _bias(linear: gs.Node) -> Floats:
    """Bias, shape (O,); zeros where the node has none."""
    given = [tensor for tensor in linear.inputs[2:] if tensor.name]
    if given:
        values: NDArray[np.generic] = given[0].values
        return values.astype(np.float64)
    groups, per_group = _weight(linear).shape[:2]
    return np.zeros(groups * per_group)


def _set_parameters(graph: gs.Graph, linear: gs.Node, weight: Floats, bias: Floats) -> None:
    """Give `linear` new constants; another reader of the old ones keeps them whole."""
    old = linear.inputs[1]
    layout = weight.swapaxes(1, 2) if linear.op == "ConvTranspose" else weight
    new = [
        gs.Constant(unique_name(graph, f"{linear.name}.{role}"), values.astype(old.dtype))
        for role, values in (("weight", layout.reshape(old.shape)), ("bias", bias))
    ]
    linear.inputs = [linear.inputs[0], *new]
