"""Arithmetic and memory traffic of one node, counted from its static shapes."""

from dataclasses import dataclass
from math import prod

import onnx_graphsurgeon as gs

from compiler.graph.query import is_static


@dataclass(frozen=True, slots=True)
class Work:
    """What one node does.

    Args:
        macs: Multiply-accumulates of Conv, ConvTranspose, MatMul and Gemm, taps that fall into the
            padding included, as is usual; 0 for other operators.
        read: Elements of the inputs that are no constants.
        constant: Elements of the constant inputs.
        written: Elements of the outputs.
    """

    macs: int
    read: int
    constant: int
    written: int


def work_of(node: gs.Node) -> Work | None:
    """The work of `node`; None if a shape that it depends on is not known."""
    tensors = [tensor for tensor in [*node.inputs, *node.outputs] if tensor.name]
    if not all(is_static(tensor) for tensor in tensors):
        return None
    inputs = [tensor for tensor in node.inputs if tensor.name]
    return Work(
        macs=_macs(node),
        read=sum(size_of(one) for one in inputs if not isinstance(one, gs.Constant)),
        constant=sum(size_of(one) for one in inputs if isinstance(one, gs.Constant)),
        written=sum(size_of(one) for one in node.outputs if one.name),
    )


def taps_inside(conv: gs.Node) -> float:
    """Share of the taps of a two-dimensional Conv that do not lie in its zero padding."""
    return prod(
        _inside(
            int(conv.inputs[0].shape[2 + axis]),
            int(conv.outputs[0].shape[2 + axis]),
            kernel=int(conv.inputs[1].shape[2 + axis]),
            pad=int(conv.attrs.get("pads", (0, 0, 0, 0))[axis]),
            stride=int(conv.attrs.get("strides", (1, 1))[axis]),
            rate=int(conv.attrs.get("dilations", (1, 1))[axis]),
        )
        for axis in (0, 1)
    )


def _inside(size: int, outputs: int, *, kernel: int, pad: int, stride: int, rate: int) -> float:
    inside = 0
    for tap in range(kernel):
        offset = tap * rate - pad
        first = max(0, -(offset // stride))
        last = min(outputs - 1, (size - 1 - offset) // stride)
        inside += max(0, last - first + 1)
    return inside / (kernel * outputs)


def size_of(tensor: gs.Tensor) -> int:
    """Elements of a tensor of static shape."""
    return int(prod(tensor.shape))


def total_macs(graph: gs.Graph) -> int:
    """Multiply-accumulates of a graph; nodes of unknown shape count as 0."""
    works = (work_of(node) for node in graph.nodes)
    return sum(work.macs for work in works if work is not None)


def _macs(node: gs.Node) -> int:
    if node.op == "Conv":
        return size_of(node.outputs[0]) * int(prod(node.inputs[1].shape[1:]))
    if node.op == "ConvTranspose":
        return size_of(node.inputs[0]) * int(prod(node.inputs[1].shape[1:]))
    if node.op == "MatMul":
        return size_of(node.outputs[0]) * int(node.inputs[0].shape[-1])
    if node.op == "Gemm":
        inner = node.inputs[0].shape[0 if node.attrs.get("transA", 0) else 1]
        return size_of(node.outputs[0]) * int(inner)
    return 0
