"""Networks whose inputs have a range of sizes: what the build file asks, and sizes at its ends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig, ends_of
from compiler.errors import GraphError
from compiler.graph.open_sizes import OpenSize, has_open_sizes, smallest_of
from compiler.passes.fold_constants import fold_constants
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.run import run_passes
from compiler.runner.manifest import TensorSpec

OPEN_NOTE: Final = (
    "input sizes stay open: rewrites, which need fixed sizes, are left out; costs count at the "
    "largest sizes"
)

Shapes: TypeAlias = Mapping[str, Sequence[int]]


def shapes_of(config: BuildConfig) -> dict[str, list[int]]:
    """Input shapes that a build file gives, with an `OpenSize` where smallest and largest differ.

    Their dimensions have no names yet.
    """
    return {
        name: [_size(*ends) for ends in zip(*ends_of(shape), strict=True)]
        for name, shape in config.frontend.shape.items()
    }


def shape_of(spec: TensorSpec) -> list[int]:
    """Shape of a bundle's input; a range of batch sizes, for example, is an `OpenSize`."""
    if not spec.bounds:
        return list(spec.shape)
    return [_size(smallest, largest) for smallest, largest in spec.bounds]


def size_at_largest(graph: gs.Graph, shapes: Shapes) -> None:
    """Give every tensor the shape that it has at the largest inputs.

    Args:
        graph: As passes leave it, or as read from a file; only shapes and types change.
        shapes: Of the inputs; those that are static may be absent.

    Raises:
        GraphError: The network cannot have these sizes.
    """
    for tensor in graph.inputs:
        tensor.shape = [
            size.named(str(own)) if isinstance(size, OpenSize) else size
            for own, size in zip(tensor.shape, shapes.get(tensor.name, tensor.shape), strict=True)
        ]
    if not has_open_sizes(graph):
        return
    try:
        infer_shapes(graph)
    except ValueError as error:
        sizes = ", ".join(f"{one.name} {list(map(int, one.shape))}" for one in graph.inputs)
        raise GraphError(
            f"the network does not run at its largest size, {sizes}: {error}",
            where="frontend.shape",
            fix="lower the largest size to one that the network accepts",
        ) from error
    known = _sized(graph, int).tensors()
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and name in known and known[name].shape is not None:
            inputs = any(tensor is one for one in graph.inputs)
            tensor.shape = tensor.shape if inputs else list(known[name].shape)


def open_output_shapes(graph: gs.Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs of a graph; -1 where they differ between its smallest and largest."""
    largest, smallest = (
        {one.name: one.shape for one in _sized(graph, end).outputs} for end in (int, smallest_of)
    )
    return {
        name: tuple(
            high if low == high and isinstance(high, int) else -1
            for low, high in zip(smallest[name] or (), shape or (), strict=True)
        )
        for name, shape in largest.items()
    }


def _sized(graph: gs.Graph, end: Callable[[int], int]) -> gs.Graph:
    """A copy with inputs of fixed size; shapes that it computes become known by folding."""
    fixed = graph.copy()
    for tensor in fixed.inputs:
        tensor.shape = [end(size) for size in tensor.shape]
    run_passes(fixed, (infer_shapes, fold_constants))
    return fixed


def _size(smallest: int, largest: int) -> int:
    return largest if smallest == largest else OpenSize(largest, smallest)
