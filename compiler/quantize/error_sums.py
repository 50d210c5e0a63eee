"""Nodes that compare two tensors of one graph, so that only a few sums have to leave it."""

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs


class ErrorSums:
    """Comparisons in a graph.

    Args:
        graph: Sorted; nodes are appended to it.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self._graph = graph
        self._places = {name: place for place, name in enumerate(graph.tensors())}
        self._powers: dict[str, gs.Variable] = {}
        self._results: list[tuple[int, gs.Node]] = []
        self._minus_one = gs.Constant("error_sums:minus_one", np.array([-1], np.int64))

    def compare(
        self, name: str, reference: gs.Tensor, other: gs.Tensor, *, peak: bool = False
    ) -> None:
        """Add a graph output: float32 sums of reference², other² and (reference - other)².

        Args:
            name: Of the output, shape (3,).
            reference: A float32 tensor that the graph had at the start, of static shape.
            other: Of the same shape.
            peak: Put the largest |reference - other| behind the sums: shape (4,).
        """
        place = self._places.get(reference.name, -1)  # an input that no node reads comes first
        if not reference.shape:
            reference, other = (self._flatten(tensor) for tensor in (reference, other))
        error = self._apply("Sub", [reference, other], f"{name}:error", reference.shape)
        numbers = [self._power(tensor) for tensor in (reference, other, error)]
        if peak:
            size = self._apply("Abs", [error], f"{name}:size", error.shape)
            numbers.append(self._apply("ReduceMax", [size], f"{name}:peak"))
        row = self._apply("Concat", numbers, f"{name}:row", axis=-1)
        result = gs.Variable(name, np.float32, [len(numbers)])
        last = gs.Node("Reshape", f"{name}:node", {}, [row, self._minus_one], [result])
        self._results.append((place, last))

    def finish(self) -> None:
        """Make the comparisons, in the order of their references, the graph's only outputs."""
        # ONNX Runtime starts at the node that is last in the file, and runs before it what it
        # depends on. Backwards, it goes through what is compared side by side, tensor by tensor,
        # and frees each after use.
        nodes = [node for _, node in sorted(self._results, key=lambda result: result[0])]
        self._graph.nodes.extend(reversed(nodes))
        self._graph.outputs = [node.outputs[0] for node in nodes]
        self._graph.cleanup()

    def _power(self, tensor: gs.Tensor) -> gs.Variable:
        """Sum of squares: row by row first, or float32 would lose digits of large tensors."""
        if tensor.name not in self._powers:
            name = f"{tensor.name}:rows"
            if self._graph.opset < 18:
                rows = self._apply("ReduceSumSquare", [tensor], name, axes=[-1])
            else:
                rows = self._apply("ReduceSumSquare", [tensor, self._minus_one], name)
            self._powers[tensor.name] = self._apply("ReduceSum", [rows], f"{tensor.name}:power")
        return self._powers[tensor.name]

    def _flatten(self, tensor: gs.Tensor) -> gs.Variable:
        return self._apply("Reshape", [tensor, self._minus_one], f"{tensor.name}:flat", [1])

    def _apply(
        self,
        op: str,
        inputs: list[gs.Tensor],
        output: str,
        shape: Sequence[int] | None = None,
        **attrs: int | list[int],
    ) -> gs.Variable:
        result = gs.Variable(output, np.float32, shape)
        self._graph.nodes.append(gs.Node(op, f"{output}:node", attrs, inputs, [result]))
        return result
