"""Write nodes behind one another: names, output tensors and constants are made on the way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import DRAFTED, names_of

Attribute = int | float | str | Sequence[int]


class NodeWriter:
    """Appends nodes to a graph; all are named `<stem>=><role>`, as no node of a network is.

    Args:
        graph: Gets the nodes.
        stem: What they belong to.
    """

    def __init__(self, graph: gs.Graph, stem: str) -> None:
        self.graph = graph
        self.stem = stem
        self._taken = names_of(graph)

    def constant(self, role: str, values: NDArray[Any]) -> gs.Constant:  # any element type
        """A constant; floats become float32."""
        if np.issubdtype(values.dtype, np.floating):
            values = values.astype(np.float32)
        return gs.Constant(self._name(role), np.array(values, order="C"))

    def add(
        self,
        role: str,
        op: str,
        inputs: Sequence[gs.Tensor],
        dtype: type[np.generic] = np.float32,
        **attrs: Attribute,
    ) -> gs.Variable:
        """Append a node with one output, whose shape is left to inference."""
        return self.add_many(role, op, inputs, 1, dtype, **attrs)[0]

    def add_many(
        self,
        role: str,
        op: str,
        inputs: Sequence[gs.Tensor],
        outputs: int,
        dtype: type[np.generic] = np.float32,
        **attrs: Attribute,
    ) -> list[gs.Variable]:
        """Append a node with several outputs of one type."""
        made = [gs.Variable(self._name(f"{role}_output"), dtype) for _ in range(outputs)]
        self.graph.nodes.append(gs.Node(op, self._name(role), dict(attrs), list(inputs), made))
        return made

    def reshape(self, role: str, tensor: gs.Tensor, *shape: int) -> gs.Variable:
        """Append a Reshape of a float tensor."""
        target = self.constant(f"{role}_shape", np.array(shape, np.int64))
        return self.add(role, "Reshape", [tensor, target])

    def split(self, role: str, tensor: gs.Tensor, axis: int, *sizes: int) -> list[gs.Variable]:
        """Append a Split of a float tensor."""
        lengths = self.constant(f"{role}_sizes", np.array(sizes, np.int64))
        return self.add_many(role, "Split", [tensor, lengths], len(sizes), axis=axis)

    def _name(self, role: str) -> str:
        stem = name = f"{self.stem}{DRAFTED}{role}"
        number = 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name
