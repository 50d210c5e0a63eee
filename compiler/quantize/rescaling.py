"""Where a channel of an activation can take a factor that its readers take back.

A linear node makes y = W x + b with channels c, its readers are linear nodes V, and f stands in
between. With one factor t[c] > 0 per channel,
    (V / t) f(t y) = V f(y)    where    t y = (t W) x + t b,
as long as f(t y) = t f(y): f works on each channel apart and scales with it (positively
homogeneous of degree 1). Concat moves channels to other places, several readers all take the
factors back, and a constant that is added between takes them along.

With t a power of two, float32 only changes exponents: every product and every sum of the new
network is that of the old one, times a power of two, in whatever order an engine adds. Its outputs
are the same bits, except where a value is so small or large that it leaves the normal range;
`exact_exponents` tells the factors for which no weight and no bias does.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.1, there for one reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import is_graph_output, is_static, output_ids, rank, readers, unique_name
from compiler.quantize.channelwise import LINEAR, channelwise_role, has_constants

Exponents = NDArray[np.int64]
_ABSENT: Final = -1


@dataclass(frozen=True, slots=True)
class Site:
    """A linear node whose output channels can take factors.

    Args:
        maker: The linear node.
        takers: Linear nodes that can take the factors back, in graph order.
        shifts: Additions of a constant in between.
        clips: Clip(0, u) in between, with 0 < u < infinity. They are homogeneous only for values
            below u.
        tensors: Every tensor in between, in graph order.
        origins: `id()` of each -> for each of its channels (axis 1) the channel of `maker` that
            it comes from, or -1.
        obstacle: Why no channel can take a factor after all; empty if they can.
    """

    maker: gs.Node
    takers: tuple[gs.Node, ...]
    shifts: tuple[gs.Node, ...]
    clips: tuple[gs.Node, ...]
    tensors: tuple[gs.Tensor, ...]
    origins: Mapping[int, NDArray[np.intp]]
    obstacle: str

    @property
    def name(self) -> str:
        """Name of the tensor that takes the factors first."""
        return str(self.maker.outputs[0].name)

    @property
    def channels(self) -> int:
        """Output channels of `maker`."""
        return int(self.maker.outputs[0].shape[1])

    def along(self, tensor: gs.Tensor, exponents: Exponents) -> Exponents:
        """Exponents of the channels of a tensor in between; 0 for those of another origin."""
        return np.append(exponents, 0)[self.origins[id(tensor)]]

    def way_to(self, tensor: gs.Tensor) -> list[gs.Tensor]:
        """The tensors over which the channels come to `tensor`, that one included."""
        found = {id(tensor)}
        for each in reversed(self.tensors):
            if id(each) in found and each is not self.tensors[0]:
                found |= {id(read) for read in each.inputs[0].inputs if id(read) in self.origins}
        return [each for each in self.tensors if id(each) in found]


def find_sites(graph: gs.Graph) -> list[Site]:
    """Every linear node with constant weights that some linear node reads, in graph order.

    Args:
        graph: Topologically sorted, with known shapes.
    """
    sites = [_spread(graph, node) for node in graph.nodes if _is_linear(node)]
    return [site for site in sites if site.takers]


def rescale(graph: gs.Graph, site: Site, exponents: Exponents) -> None:
    """Multiply channel c of a site by 2**exponents[c], in place; its takers divide by it.

    Constants that other nodes read too stay whole: the site gets its own.
    """
    outputs = exponents.reshape(*weight_view(site.maker).shape[:2], 1, 1)
    _set_constant(graph, site.maker, 1, _scaled_weight(site.maker, outputs))
    if len(site.maker.inputs) > 2 and not site.maker.inputs[2].is_empty():
        _set_constant(graph, site.maker, 2, np.ldexp(site.maker.inputs[2].values, exponents))
    for node in site.shifts:
        at = _constant_at(node)
        own = site.along(node.inputs[1 - at], exponents)
        own = own.reshape(-1, *[1] * (len(node.outputs[0].shape) - 2))
        _set_constant(graph, node, at, np.ldexp(node.inputs[at].values, own))
    for node in site.takers:
        groups, _, inputs, _ = weight_view(node).shape
        taken = site.along(node.inputs[0], exponents).reshape(groups, 1, inputs, 1)
        _set_constant(graph, node, 1, _scaled_weight(node, -taken))


def weight_view(node: gs.Node) -> NDArray[np.float32]:
    """Weight of a linear node as (groups, outputs per group, inputs per group, kernel elements)."""
    return _as_view(node, node.inputs[1].values)


def exact_exponents(site: Site, limit: int) -> tuple[Exponents, Exponents]:
    """Smallest and largest exponent per channel that keeps every constant exact in float32.

    Args:
        site: Without obstacle.
        limit: Bound of the magnitude.

    Returns:
        (lowest, highest), shapes (channels,); lowest <= 0 <= highest.
    """
    lowest = np.full(site.channels, -limit, np.int64)
    highest = -lowest
    own = np.arange(site.channels)
    _narrow(lowest, highest, own, *_room(weight_view(site.maker), (2, 3), limit))
    if len(site.maker.inputs) > 2 and not site.maker.inputs[2].is_empty():
        bias = site.maker.inputs[2].values  # a vector, or what broadcasts to (N, channels)
        bias = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, (1, site.channels)))
        _narrow(lowest, highest, own, *_room(bias, (0,), limit))
    for node in site.shifts:
        at = _constant_at(node)
        read = node.inputs[1 - at]
        values = np.broadcast_to(node.inputs[at].values, read.shape)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        _narrow(lowest, highest, site.origins[id(read)], *_room(values, axes, limit))
    for node in site.takers:
        down, up = _room(weight_view(node), (1, 3), limit)
        _narrow(lowest, highest, site.origins[id(node.inputs[0])], -up, -down)
    return lowest, highest


def _spread(graph: gs.Graph, maker: gs.Node) -> Site:
    """Follow the factors from a linear node until other linear nodes take them back."""
    first = maker.outputs[0]
    origins: dict[int, NDArray[np.intp]] = {id(first): np.arange(int(first.shape[1]))}
    passed: dict[str, list[gs.Node]] = {"taker": [], "shift": [], "clip": [], "other": []}
    obstacles: list[str] = []
    tensors = [first]
    for node in graph.nodes:
        read = [position for position, t in enumerate(node.inputs) if id(t) in origins]
        if not read:
            continue
        role = channelwise_role(node, read)
        if role not in passed:
            obstacles.append(role)
            continue
        passed[role].append(node)
        if role != "taker":
            tensors.append(node.outputs[0])
            origins[id(tensors[-1])] = (
                _joined(node, origins) if node.op == "Concat" else origins[id(node.inputs[read[0]])]
            )
    left, known = output_ids(graph), {id(node) for node in graph.nodes}
    for tensor in tensors:
        if id(tensor) in left:
            obstacles.append(f"'{tensor.name}' is an output")
        elif any(id(node) not in known for node in readers(tensor)):
            obstacles.append(f"'{tensor.name}' is read inside a subgraph")
    takers, shifts, clips, _ = (tuple(nodes) for nodes in passed.values())
    return Site(maker, takers, shifts, clips, tuple(tensors), origins, next(iter(obstacles), ""))


def _joined(concat: gs.Node, origins: Mapping[int, NDArray[np.intp]]) -> NDArray[np.intp]:
    foreign = (np.full(int(tensor.shape[1]), _ABSENT) for tensor in concat.inputs)
    parts = zip(concat.inputs, foreign, strict=True)
    return np.concatenate([origins.get(id(tensor), absent) for tensor, absent in parts])


def _is_linear(node: gs.Node) -> bool:
    if node.op not in LINEAR or not has_constants(node):
        return False
    tensor = node.outputs[0]
    return tensor.dtype == np.float32 and is_static(tensor) and (rank(tensor) or 0) >= 2


def _as_view(node: gs.Node, values: NDArray[np.float32]) -> NDArray[np.float32]:
    first, second = values.shape[:2]
    if node.op == "MatMul" or (node.op == "Gemm" and not node.attrs.get("transB", 0)):
        return values.T.reshape(1, second, first, 1)
    groups = int(node.attrs.get("group", 1))
    grouped = values.reshape(groups, first // groups, second, -1)
    return grouped.swapaxes(1, 2) if node.op == "ConvTranspose" else grouped


def _scaled_weight(node: gs.Node, exponents: Exponents) -> NDArray[np.float32]:
    """Weight in its own layout, multiplied by 2**exponents, which broadcast to `weight_view`."""
    scaled = np.array(node.inputs[1].values, order="C")  # of which the view is no copy
    view = _as_view(node, scaled)
    np.ldexp(view, exponents, out=view)
    return scaled


def _constant_at(node: gs.Node) -> int:
    return next(i for i, tensor in enumerate(node.inputs) if isinstance(tensor, gs.Constant))


def _set_constant(graph: gs.Graph, node: gs.Node, at: int, values: NDArray[Any]) -> None:
    old = node.inputs[at]
    if len(old.outputs) == 1 and not is_graph_output(graph, old):
        old.values = values
        return
    own = gs.Constant(unique_name(graph, f"{old.name}_rescaled"), values)
    node.inputs = [own if i == at else tensor for i, tensor in enumerate(node.inputs)]


def _room(
    values: NDArray[np.float32], axes: tuple[int, ...], limit: int
) -> tuple[Exponents, Exponents]:
    """Exponents, per what is left of `values` without `axes`, that neither under- nor overflow.

    They leave room for the factors of another site, as a weight has inputs and outputs.
    """
    sizes = np.abs(values)
    largest = np.frexp(sizes.max(axis=axes))[1].astype(np.int64).reshape(-1)
    smallest = np.min(sizes, axis=axes, initial=np.inf, where=sizes > 0).reshape(-1)
    exponent = np.frexp(np.where(np.isfinite(smallest), smallest, 1.0))[1].astype(np.int64)
    return -np.maximum(exponent + 125 - limit, 0), np.maximum(128 - limit - largest, 0)


def _narrow(
    lowest: Exponents,
    highest: Exponents,
    origins: NDArray[np.intp],
    low: Exponents,
    high: Exponents,
) -> None:
    own = origins != _ABSENT
    np.maximum.at(lowest, origins[own], low[own])
    np.minimum.at(highest, origins[own], high[own])
