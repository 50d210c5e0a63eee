"""Nodes that return what they are given.

 1. Identity.
 2. Dropout that is not training and whose mask nobody reads.
 3. Cast to the type that the input has.
 4. Reshape, Flatten, Squeeze, Unsqueeze, Expand, Tile that keep the shape; the order of the
    elements never changes, so the shape says it all.
 5. Transpose that keeps the order of the dimensions longer than one, and the shape.
 6. Slice over everything with steps of 1; a step of -1 keeps the shape too, and reverses.
 7. Pad by nothing; pads of 1 and -1 keep the shape too, and shift.
 8. Concat, Sum, Max, Min, Mean of one tensor; Split into one.
 9. Resize to the size that the input has, or by scales of exactly 1; a scale of 1.1 can keep the
    size too, and blurs. Not with a crop.
10. x + 0, 0 + x, x - 0, x * 1, 1 * x, x / 1, x ** 1, when the constant does not broadcast x.
11. AveragePool, MaxPool of one pixel that keep the shape; indices read by nobody.

A node between a graph input and a graph output stays: both names are promised.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.graph.query import (
    constant_value,
    is_static,
    output_ids,
    replace_tensor,
    why_not_replace,
)
from compiler.passes.result import PassResult, Skip


def remove_identity(graph: gs.Graph) -> PassResult:
    """Remove nodes that return what they are given."""
    result = PassResult("remove_identity")
    for node in list(graph.nodes):
        source = _source(node)
        if source is None:
            continue
        if reason := _why_not(graph, node, source):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            replace_tensor(graph, node.outputs[0], source)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _why_not(graph: gs.Graph, node: gs.Node, source: gs.Tensor) -> str | None:
    outputs = output_ids(graph)
    for extra in node.outputs[1:]:
        if extra.outputs or id(extra) in outputs:
            return f"its other output '{extra.name}' is read"
    return why_not_replace(graph, node.outputs[0], source)


def _source(node: gs.Node) -> gs.Tensor | None:
    """The input that `node` returns unchanged; None if it does anything."""
    if node.op in _NEUTRAL:
        return _other_operand(node)
    does_nothing = _DOES_NOTHING.get(node.op)
    return node.inputs[0] if does_nothing is not None and does_nothing(node) else None


def _other_operand(node: gs.Node) -> gs.Tensor | None:
    neutral, positions = _NEUTRAL[node.op]
    for position in positions:
        value = constant_value(node.inputs[position])
        other = node.inputs[1 - position]
        if value is not None and np.all(value == neutral) and _same_shape(other, node.outputs[0]):
            return other
    return None


def _same_shape(one: gs.Tensor, other: gs.Tensor) -> bool:
    return is_static(one) and is_static(other) and list(one.shape) == list(other.shape)


def _keeps_shape(node: gs.Node) -> bool:
    return _same_shape(node.inputs[0], node.outputs[0])


def _is_all(node: gs.Node, position: int, value: float) -> bool:
    """Whether input `position` is absent or a constant filled with `value`."""
    if position >= len(node.inputs) or not node.inputs[position].name:
        return True
    values = constant_value(node.inputs[position])
    return values is not None and bool(np.all(values == value))


def _keeps_type(node: gs.Node) -> bool:
    dtype = node.inputs[0].dtype
    return dtype is not None and node.attrs["to"] == onnx.helper.np_dtype_to_tensor_dtype(
        np.dtype(dtype)
    )


def _keeps_order(node: gs.Node) -> bool:
    if not _keeps_shape(node):
        return False
    shape = node.inputs[0].shape
    order = node.attrs.get("perm", list(reversed(range(len(shape)))))
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


def _keeps_size(node: gs.Node) -> bool:
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return False
    return _keeps_shape(node) and _is_all(node, 2, 1.0)


def _is_one_pixel(node: gs.Node) -> bool:
    return set(node.attrs["kernel_shape"]) == {1} and _keeps_shape(node)


def _has_one_input(node: gs.Node) -> bool:
    return len(node.inputs) == 1


# Neutral constant, and the positions where it may stand.
_NEUTRAL: Final[Mapping[str, tuple[float, tuple[int, ...]]]] = MappingProxyType(
    {
        "Add": (0.0, (0, 1)),
        "Sub": (0.0, (1,)),
        "Mul": (1.0, (0, 1)),
        "Div": (1.0, (1,)),
        "Pow": (1.0, (1,)),
    }
)

_DOES_NOTHING: Final[Mapping[str, Callable[[gs.Node], bool]]] = MappingProxyType(
    {
        "Identity": lambda node: True,
        "Dropout": lambda node: _is_all(node, 2, 0.0),
        "Cast": _keeps_type,
        "Reshape": _keeps_shape,
        "Flatten": _keeps_shape,
        "Squeeze": _keeps_shape,
        "Unsqueeze": _keeps_shape,
        "Expand": _keeps_shape,
        "Tile": _keeps_shape,
        "Transpose": _keeps_order,
        "Slice": lambda node: _keeps_shape(node) and _is_all(node, 4, 1.0),
        "Pad": lambda node: _keeps_shape(node) and _is_all(node, 1, 0.0),
        "Concat": _has_one_input,
        "Sum": _has_one_input,
        "Max": _has_one_input,
        "Min": _has_one_input,
        "Mean": _has_one_input,
        "Split": lambda node: len(node.outputs) == 1,
        "Resize": _keeps_size,
        "AveragePool": _is_one_pixel,
        "MaxPool": _is_one_pixel,
    }
)
