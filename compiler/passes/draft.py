"""Nodes drafted beside a graph: they replace others if that is cheaper, else they vanish.

Every rewrite that may or may not pay does the same three things: it drafts the other way to compute
a tensor, asks the cost model for both ways, and accepts or discards the draft.
"""

from collections.abc import Sequence
from itertools import chain, count
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import CostModel
from compiler.cost.work import work_of
from compiler.graph.query import (
    DRAFTED,
    names_of,
    origin_of,
    output_ids,
    producer,
    readers,
    replace_tensor,
    why_not_replace,
)

Attribute = int | float | str | Sequence[int]


class Draft:
    """Some nodes that compute in another way what `stem` computes.

    Args:
        graph: Not changed before `replace` accepts.
        stem: Name of the node to be replaced; drafted nodes and tensors are named after it, so that
            `origin_of` traces them to the network's own layers.
    """

    def __init__(self, graph: gs.Graph, stem: str) -> None:
        self.graph = graph
        self.stem = origin_of(stem)
        self.nodes: list[gs.Node] = []
        self._taken = names_of(graph)

    def constant(self, role: str, values: NDArray[Any]) -> gs.Constant:  # any element type
        """A constant named `stem=>role`; floats are stored as float32."""
        if np.issubdtype(values.dtype, np.floating):
            values = values.astype(np.float32)
        return gs.Constant(self._name(role), np.ascontiguousarray(values))

    def add(
        self,
        op: str,
        inputs: Sequence[gs.Tensor],
        shape: Sequence[int],
        *,
        role: str,
        **attrs: Attribute,
    ) -> gs.Variable:
        """Draft a node with one float32 output of `shape`, and return that output."""
        return self.add_many(op, inputs, [shape], role=role, **attrs)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[gs.Tensor],
        shapes: Sequence[Sequence[int]],
        *,
        role: str,
        **attrs: Attribute,
    ) -> list[gs.Variable]:
        """Draft a node with several float32 outputs, one for each of `shapes`."""
        outputs = [gs.Variable(self._name(role), np.float32, list(shape)) for shape in shapes]
        node = gs.Node(op, self._name(f"{role}/node"), dict(attrs), list(inputs), list(outputs))
        self.nodes.append(node)
        return outputs

    def reshape(self, tensor: gs.Tensor, shape: Sequence[int], *, role: str) -> gs.Variable:
        """Draft a Reshape."""
        target = self.constant(f"{role}/shape", np.array(shape, np.int64))
        return self.add("Reshape", [tensor, target], shape, role=role)

    def slice(
        self, tensor: gs.Tensor, axis: int, first: int, last: int, *, role: str
    ) -> gs.Variable:
        """Draft the Slice tensor[first:last] along one axis, with step 1."""
        bounds = [
            self.constant(f"{role}/{name}", np.array([value], np.int64))
            for name, value in (("first", first), ("last", last), ("axis", axis))
        ]
        shape = [int(size) for size in tensor.shape]
        shape[axis] = last - first
        return self.add("Slice", [tensor, *bounds], shape, role=role)

    def replace(
        self, old: gs.Tensor, new: gs.Variable, cost: CostModel, *, margin: float = 1.0
    ) -> str | None:
        """Let `new` take the place of `old` if the graph gets cheaper by it.

        Compared are the drafted nodes and the nodes that nobody needs once `old` is replaced.

        Args:
            old: A tensor of the graph.
            new: A tensor of this draft, equal to `old` up to rounding.
            cost: Predicts both times.
            margin: The drafted nodes count this many times; more than 1 where the prediction is
                known to flatter them.

        Returns:
            None when replaced; otherwise why not, and the graph is as it was.
        """
        reason = why_not_replace(self.graph, old, new)
        if reason is None:
            reason = self._why_not_cheaper(old, new, cost, margin)
        if reason is not None:
            self.discard()
            return reason
        self.graph.nodes.extend(self.nodes)
        replace_tensor(self.graph, old, new)
        self.graph.cleanup().toposort()
        return None

    def discard(self) -> None:
        """Detach the drafted nodes from the graph's tensors."""
        for node in self.nodes:
            node.inputs.clear()
            node.outputs.clear()
        self.nodes.clear()

    def _why_not_cheaper(
        self, old: gs.Tensor, new: gs.Variable, cost: CostModel, margin: float
    ) -> str | None:
        gone = needed_only_for(self.graph, old)
        before, after = self.times(gone, old, new, cost)
        if after + (margin - 1) * cost.milliseconds(self.nodes) <= before:
            return None
        return (
            f"it would not pay: {_numbers(self.nodes)} in {after:.2f} ms instead of "
            f"{_numbers(gone)} in {before:.2f} ms"
        )

    def times(
        self, gone: Sequence[gs.Node], old: gs.Tensor, new: gs.Variable, cost: CostModel
    ) -> tuple[float, float]:
        """Predicted ms of `gone` and of the draft, each with the readers of `old`.

        The readers count because an activation is fused into one producer and not into another,
        and because the layout of what they read may have to change.
        """
        nodes = readers(old)
        before = cost.milliseconds([*gone, *nodes])
        for node in nodes:
            node.inputs = [new if one is old else one for one in node.inputs]
        after = cost.milliseconds([*self.nodes, *nodes])
        for node in nodes:
            node.inputs = [old if one is new else one for one in node.inputs]
        return before, after

    def _name(self, role: str) -> str:
        stem = f"{self.stem}{DRAFTED}{role}"
        candidates = chain([stem], (f"{stem}_{number}" for number in count(1)))
        name = next(one for one in candidates if one not in self._taken)
        self._taken.add(name)
        return name


def needed_only_for(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes that nothing but `tensor` needs, its own producer first."""
    outputs, gone, queue = output_ids(graph), {}, [producer(tensor)]
    while queue:
        node = queue.pop()
        if node is None or id(node) in gone:
            continue
        if node is not producer(tensor) and any(
            id(output) in outputs or any(id(reader) not in gone for reader in readers(output))
            for output in node.outputs
        ):
            continue
        gone[id(node)] = node
        queue.extend(producer(one) for one in node.inputs if not isinstance(one, gs.Constant))
    return list(gone.values())


def _numbers(nodes: Sequence[gs.Node]) -> str:
    works = (work_of(node) for node in nodes)
    return f"{sum(work.macs for work in works if work is not None) / 1e6:,.1f} MMAC"
