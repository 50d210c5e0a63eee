"""Run two networks on the same inputs and compare the tensors that both have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.work import size_of
from compiler.graph.query import DRAFTED, is_static, origin_of, producer
from compiler.pipeline.graph_diff import QUANTIZERS
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import open_model, save_with_outputs
from compiler.quantize.insert_qdq import dequantized_name
from compiler.verify.compare import compare
from compiler.verify.result import TensorFigures

CHUNK_BYTES = 256 << 20
"""Of inner tensors that one run returns: all those of a large network may not fit into memory."""

_NEAR = 0.25
"""How far from a whole number log2 of a channel's gain may be to be taken for a factor."""


@dataclass(frozen=True, slots=True)
class LayerDiff:
    """A tensor that both networks compute.

    Args:
        node: Name of the original node that makes it in A.
        op: Operator type of that node.
        figures: Of B against A, under the tensor's name in the original network.
        rescaled: Channels that held a power of two times their values in one of the networks,
            which was taken back.
    """

    node: str
    op: str
    figures: TensorFigures
    rescaled: int = 0


def diff_layers(
    a: gs.Graph, b: gs.Graph, feeds: Feeds, folder: Path, *, equalized: bool = False
) -> tuple[tuple[TensorFigures, ...], tuple[LayerDiff, ...]]:
    """Figures of the outputs, in graph order, and of the inner tensors, worst first.

    Args:
        a: The reference; its shapes are known, as are those of `b`.
        b: Reads the same inputs.
        feeds: The inputs.
        folder: For the models that return inner tensors.
        equalized: Whether channels of inner tensors may have taken factors in one of them.

    Raises:
        GraphError: ONNX Runtime cannot run one of the networks.
    """
    outputs = {tensor.name for tensor in a.outputs} & {tensor.name for tensor in b.outputs}
    outputs = {name for name in outputs if _comparable(a.tensors()[name], b.tensors()[name])}
    inner_a, inner_b = _inner_tensors(a), _inner_tensors(b)
    common = {
        name: tensor
        for name, tensor in inner_a.items()
        if name in inner_b and name not in outputs and _comparable(tensor, inner_b[name])
    }
    found: dict[str, TensorFigures] = {}
    rescaled: dict[str, int] = {}
    for chunk in _chunks(common):
        expected, actual = (
            _values(graph, {name: inner[name].name for name in chunk}, outputs, feeds, folder)
            for graph, inner in ((a, inner_a), (b, inner_b))
        )
        for name in chunk if equalized else ():
            actual[name], rescaled[name] = without_factors(expected[name], actual[name])
        for one in compare([(expected, actual)]):
            found.setdefault(one.name, one)
    tensors = a.tensors()
    layers = [_layer(tensors[name], found[name], rescaled.get(name, 0)) for name in common]
    layers.sort(key=lambda layer: layer.figures.sqnr_db)
    return tuple(found[one.name] for one in a.outputs if one.name in outputs), tuple(layers)


def without_factors(
    reference: NDArray[Any],
    other: NDArray[Any],  # Any: floats of any width
) -> tuple[NDArray[Any], int]:
    """Values without the powers of two that equalization gave to channels, and their number.

    A bundle does not record the factors, so they are estimated: the gain of channel c (axis 1) is
    <reference, other> / <reference, reference>, to which rounding noise hardly contributes.

    Args:
        reference: Shape (N, C, ...).
        other: Same shape.
    """
    if reference.ndim < 2 or not np.isfinite(reference).all() or not np.isfinite(other).all():
        return other, 0
    axes = (0, *range(2, reference.ndim))
    a, b = reference.astype(np.float64), other.astype(np.float64)
    power, product = (a * a).sum(axes, keepdims=True), (a * b).sum(axes, keepdims=True)
    known = (power > 0) & (product > 0)
    octaves = np.log2(np.divide(product, power, out=np.ones_like(power), where=known))
    exponents = np.where(np.abs(octaves - np.rint(octaves)) <= _NEAR, np.rint(octaves), 0.0)
    exponents = exponents.astype(np.int64)
    return np.ldexp(b, -exponents), int(np.count_nonzero(exponents))


def _inner_tensors(graph: gs.Graph) -> dict[str, gs.Tensor]:
    """Name in the original network -> the tensor that holds its values here, in graph order.

    A quantized tensor is seen as its readers see it. What lies inside a pattern that the engine
    fuses into one integer kernel is left out: to return it would keep the engine from fusing.
    """
    tensors = graph.tensors()
    found: dict[str, gs.Tensor] = {}
    for node in graph.nodes:
        if node.op in QUANTIZERS:
            continue
        fused = any(_is_dequantized(tensor) for tensor in node.inputs)
        for tensor in node.outputs:
            shown = tensors.get(dequantized_name(tensor.name), None if fused else tensor)
            if shown is not None and tensor.name and DRAFTED not in tensor.name:
                found[tensor.name] = shown
    return found


def _is_dequantized(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    if node is None or node.op != "DequantizeLinear":
        return False
    return not isinstance(node.inputs[0], gs.Constant)


def _comparable(a: gs.Tensor, b: gs.Tensor) -> bool:
    if not (is_static(a) and is_static(b)) or list(a.shape) != list(b.shape):
        return False
    floats = [np.issubdtype(tensor.dtype, np.floating) for tensor in (a, b)]
    return floats[0] == floats[1]


def _chunks(tensors: Mapping[str, gs.Tensor]) -> Iterator[list[str]]:
    """Names, as many at a time as fit into `CHUNK_BYTES`; at least one, maybe empty, chunk."""
    chunk: list[str] = []
    room = CHUNK_BYTES
    for name, tensor in tensors.items():
        size = size_of(tensor) * np.dtype(tensor.dtype).itemsize
        if chunk and size > room:
            yield chunk
            chunk, room = [], CHUNK_BYTES
        chunk.append(name)
        room -= size
    yield chunk


def _values(
    graph: gs.Graph, inner: Mapping[str, str], outputs: set[str], feeds: Feeds, folder: Path
) -> dict[str, NDArray[Any]]:  # Any: see Tensors
    """Values of tensors by their names in the original network."""
    model = folder / "inner.onnx"
    save_with_outputs(graph, list(inner.values()), model, folder / "inner.params")
    with open_model(model) as run:
        values = run(feeds)
    return {
        **{name: values[name] for name in outputs},
        **{name: values[shown] for name, shown in inner.items()},
    }


def _layer(tensor: gs.Tensor, figures: TensorFigures, rescaled: int) -> LayerDiff:
    node = producer(tensor)
    name, op = (origin_of(node.name), node.op) if node else ("", "")
    return LayerDiff(name, op, figures, rescaled)
