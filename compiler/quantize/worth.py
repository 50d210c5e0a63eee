"""Which nodes are worth running on integers, by their predicted times.

A node takes one time on integers and another in float, and a tensor between the two has to be
converted. Choosing a side for every node so that the sum of all is smallest is a minimum cut: nodes
on the source's side run on integers. A conversion is paid once per tensor, however many read it,
which takes one extra vertex per tensor and direction.

Source: Greig, Porteous, Seheult, "Exact maximum a posteriori estimation for binary images", 1989
(binary labelling by minimum cut); Dinic's algorithm for the flow.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.graph.query import is_static, only_reader, output_ids, producer, readers
from compiler.quantize.op_rules import Kernel, find_rule
from compiler.quantize.plan import KeptFloat


def find_not_worth(graph: gs.Graph, cost: CostModel, kept_float: KeptFloat) -> Mapping[str, str]:
    """Nodes that could run on integers and make the network slower if they did.

    Args:
        graph: Float graph after the rewrites, static shapes known.
        cost: For int8.
        kept_float: What stays float anyway.

    Returns:
        Node name -> reason with both times.
    """
    in_float = replace(cost, precision="fp32")
    able = {
        node.name
        for node in graph.nodes
        if find_rule(node)[0] is not None and kept_float.reason(node) is None
    }
    times = {
        node.name: (cost.milliseconds([node]), in_float.milliseconds([node]))
        for node in graph.nodes
    }
    flow = _Flow()
    for node in graph.nodes:
        integer, floating = times[node.name]
        flow.connect(_SOURCE, node.name, floating)
        flow.connect(node.name, _SINK, MARGIN * integer if node.name in able else inf)
        if head := _fused_into(graph, node):  # the kernel of one does both
            flow.connect(node.name, head.name, inf)
            flow.connect(head.name, node.name, inf)
    outputs = output_ids(graph)
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant) or not is_static(tensor):
            continue
        maker = producer(tensor)
        if maker is not None and maker.op == "Cast" and maker.inputs[0].dtype == np.uint8:
            continue  # the bytes are there already
        seen = [node.name for node in readers(tensor)]
        flow.convert(
            maker.name if maker else _SINK,
            [*seen, *([_SINK] if id(tensor) in outputs else [])],
            cost.conversion(tensor),
            tensor.name,
        )
    chosen = flow.source_side()
    return {
        name: f"it is not worth it: {times[name][0]:.3f} ms on integers, {times[name][1]:.3f} in "
        "float, conversions at its borders apart"
        for name in (node.name for node in graph.nodes)
        if name in able and name not in chosen
    }


def _fused_into(graph: gs.Graph, node: gs.Node) -> gs.Node | None:
    """The heavy node that an activation is computed with, on integers and in float alike."""
    rule = find_rule(node)[0]
    maker = producer(node.inputs[0]) if rule is not None and rule.kernel is Kernel.FUSED else None
    if maker is None or only_reader(graph, node.inputs[0]) is not node:
        return None
    heavy = find_rule(maker)[0]
    return maker if heavy is not None and heavy.heavy else None


MARGIN: Final = 1.1
"""By how much integers must be faster: predictions for small nodes are rough."""

_SOURCE, _SINK = "\0source", "\0sink"


@dataclass(slots=True)
class _Edge:
    """Remaining capacity towards `to`; `back` is the position of the reverse edge there."""

    to: str
    capacity: float
    back: int


class _Flow:
    """Maximum flow from source to sink, by Dinic's algorithm."""

    def __init__(self) -> None:
        self.edges: dict[str, list[_Edge]] = {_SOURCE: [], _SINK: []}

    def connect(self, start: str, end: str, capacity: float) -> None:
        """An edge; the cut pays `capacity` where `start` is on integers and `end` is not."""
        ahead, behind = self.edges.setdefault(start, []), self.edges.setdefault(end, [])
        ahead.append(_Edge(end, capacity, len(behind)))
        behind.append(_Edge(start, 0.0, len(ahead) - 1))

    def convert(self, maker: str, seen: list[str], price: float, name: str) -> None:
        """Pay `price` once if `maker` and any of those who see its tensor are on two sides."""
        to_float, to_integer = f"\0float {name}", f"\0integer {name}"
        self.connect(maker, to_float, price)
        self.connect(to_integer, maker, price)
        for reader in seen:
            self.connect(to_float, reader, inf)
            self.connect(reader, to_integer, inf)

    def source_side(self) -> set[str]:
        """Vertices on the source's side of a minimum cut."""
        while _SINK in (levels := self._levels()):
            at = dict.fromkeys(self.edges, 0)
            while self._augment(levels, at):
                pass
        return set(levels)

    def _levels(self) -> dict[str, int]:
        levels, waiting = {_SOURCE: 0}, deque([_SOURCE])
        while waiting:
            vertex = waiting.popleft()
            for edge in self.edges[vertex]:
                if edge.capacity > _NOTHING and edge.to not in levels:
                    levels[edge.to] = levels[vertex] + 1
                    waiting.append(edge.to)
        return levels

    def _augment(self, levels: Mapping[str, int], at: dict[str, int]) -> bool:
        """Push flow along one shortest path; False if there is none left."""
        path: list[_Edge] = []
        vertex = _SOURCE
        while vertex != _SINK:
            edges = self.edges[vertex]
            while at[vertex] < len(edges) and not self._leads_on(edges[at[vertex]], vertex, levels):
                at[vertex] += 1
            if at[vertex] < len(edges):
                path.append(edges[at[vertex]])
                vertex = path[-1].to
            elif path:
                edge = path.pop()
                vertex = self.edges[edge.to][edge.back].to
                at[vertex] += 1
            else:
                return False
        amount = min(edge.capacity for edge in path)
        for edge in path:
            edge.capacity -= amount
            self.edges[edge.to][edge.back].capacity += amount
        return True

    def _leads_on(self, edge: _Edge, vertex: str, levels: Mapping[str, int]) -> bool:
        onward = levels.get(edge.to, -1) == levels[vertex] + 1
        return onward and edge.capacity > _NOTHING


_NOTHING = 1e-12  # ms; below it, rounding
