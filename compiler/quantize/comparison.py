"""One graph that runs a float network and, beside it, what int8 makes of each of its layers.

For every quantized node with arithmetic of its own, the graph has two things to hold against the
float network's tensor:

- isolated: the node alone, in float, on the float network's tensors rounded as it reads them, with
  its quantized weights; its output after the fused activation, before its own rounding. That is
  the error that this layer adds.
- accumulated: the tensor of the int8 network, rounded. That is the error that has come so far.

Only sums leave the graph, so that one pass over a sample needs no more memory than the two networks
side by side, whatever the number of layers.

Source: Wu et al. 2020, Integer Quantization for Deep Learning Inference, section 5.1, ranks layers
by quantizing one at a time; differs in comparing the layer's own output, not the network's metric,
because that takes one run for all layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import origin_of, producer, readers
from compiler.quantize.error_sums import ErrorSums
from compiler.quantize.insert_qdq import dequantized_name
from compiler.quantize.op_rules import ScaleFrom, activations, find_rule
from compiler.quantize.plan import Int8Plan

_INT8: Final = "int8:"
_ISOLATED: Final = "isolated:"
_ALONE: Final = "alone:"  # what comes before an isolated output: a node may be named like a tensor
_ACCUMULATED: Final = "accumulated:"


@dataclass(frozen=True, slots=True)
class LayerComparison:
    """A node with 8-bit or 16-bit activations, and what is fused into it.

    Args:
        node: Name of the node.
        op: ONNX operator type.
        inputs: Names of the 8-bit tensors that it reads as activations, in input order.
        output: Float tensor that it hands on.
    """

    node: str
    op: str
    inputs: tuple[str, ...]
    output: str

    @property
    def origin(self) -> str:
        """Name of the network's own node that it stands for."""
        return origin_of(self.node)


def compared_layers(graph: gs.Graph, plan: Int8Plan) -> tuple[LayerComparison, ...]:
    """Nodes with 8-bit or 16-bit activations that compute new values, in graph order.

    What only moves values, or picks among them, adds no error and is left out.

    Args:
        graph: The float graph that `plan` was made for.
        plan: Of `plan_int8`.
    """
    nodes = {node.name: node for node in graph.nodes}
    outputs = {node.node: node.output for node in plan.integer_nodes}
    outputs |= {name: wide.outputs[0] for name, wide in plan.wide.items() if wide.outputs}
    return tuple(
        layer
        for node in plan.nodes
        if node.node in outputs
        and (layer := _layer(nodes[node.node], outputs[node.node], plan)) is not None
    )


def isolated_name(node: str) -> str:
    """Output of a comparison graph for the layer of a node: float32, shape (3,).

    They are the sums of reference², other² and (reference - other)² over the layer's output.
    """
    return f"{_ISOLATED}{node}"


def accumulated_name(tensor: str) -> str:
    """Output of a comparison graph for a tensor: float32, shape (4,).

    They are those of `isolated_name`, then the largest |reference - other|.
    """
    return f"{_ACCUMULATED}{tensor}"


def comparison_graph(
    float_graph: gs.Graph,
    quantized: gs.Graph,
    plan: Int8Plan,
    *,
    isolated: bool = True,
    accumulated: bool = True,
) -> gs.Graph:
    """Graph that compares int8 with float, layer by layer.

    Args:
        float_graph: The graph that `plan` was made for, of static shapes. It is not changed.
        quantized: What `insert_qdq` made of it. It is not changed; arrays of weights are shared.
        plan: Of both.
        isolated: Return `isolated_name` of the node of every compared layer.
        accumulated: Return `accumulated_name` of the output of every compared layer, and of every
            tensor that was observed. Without it, of the int8 network only the weights are kept.

    Returns:
        A graph with the inputs of `float_graph`.
    """
    layers = compared_layers(float_graph, plan)
    writer = _Writer(float_graph.copy(), quantized.copy())
    watched = dict.fromkeys((*plan.observed, *(layer.output for layer in layers)))
    if isolated:
        for layer in layers:
            writer.compare_isolated(layer)
    if accumulated:
        for name in watched:
            writer.compare_accumulated(name)
    writer.sums.finish()
    return writer.graph


def _layer(node: gs.Node, output: str, plan: Int8Plan) -> LayerComparison | None:
    rule, reason = find_rule(node)
    if rule is None:
        raise ValueError(f"node '{node.name}': {reason}; the plan was made for another graph")
    if rule.output in (ScaleFrom.INPUT, ScaleFrom.NONE):
        return None
    read = dict.fromkeys(tensor.name for tensor in activations(node, rule))
    inputs = tuple(name for name in read if name in plan.tensors)
    return LayerComparison(node.name, node.op, inputs, output)


class _Writer:
    def __init__(self, graph: gs.Graph, quantized: gs.Graph) -> None:
        self.graph = graph
        self.floats: dict[str, gs.Tensor] = {
            **graph.tensors(),
            **{tensor.name: tensor for tensor in graph.inputs},
        }
        self.float_nodes: dict[str, gs.Node] = {node.name: node for node in graph.nodes}
        self.int8_nodes: dict[str, gs.Node] = {node.name: node for node in quantized.nodes}
        self.int8: dict[str, gs.Tensor] = quantized.tensors()
        self.rounded: dict[str, gs.Variable] = {}
        self.sums = ErrorSums(graph)
        self._join(quantized)

    def _join(self, quantized: gs.Graph) -> None:
        """Put the int8 network beside the float one; they share inputs and float weights."""
        # First the nodes: onnx_graphsurgeon takes nodes of one name and equal tensors for the same,
        # and would drop the float one from the readers of a shared tensor.
        for node in quantized.nodes:
            node.name = f"{_INT8}{node.name}"
        inputs = {tensor.name for tensor in self.graph.inputs}
        for name, tensor in list(self.int8.items()):
            twin = self.floats.get(name)
            if twin is not None and (name in inputs or _same_constant(tensor, twin)):
                for node in readers(tensor):
                    node.inputs = [twin if read is tensor else read for read in node.inputs]
                self.int8[name] = twin
            else:
                tensor.name = f"{_INT8}{name}"
        self.graph.nodes.extend(quantized.nodes)

    def compare_isolated(self, layer: LayerComparison) -> None:
        output = self._isolated_output(layer)
        self.sums.compare(isolated_name(layer.node), self.floats[layer.output], output)

    def compare_accumulated(self, name: str) -> None:
        value = self._int8_value(name)
        self.sums.compare(accumulated_name(name), self.floats[name], value, peak=True)

    def _isolated_output(self, layer: LayerComparison) -> gs.Tensor:
        made: dict[str, gs.Tensor] = {}
        for node in self._with_fused(layer):
            twin = self.int8_nodes[node.name]
            # A node without bias may have got one in the int8 network.
            pairs = zip_longest(node.inputs, twin.inputs, fillvalue=gs.Variable.empty())
            inputs = [
                made[tensor.name] if tensor.name in made else self._isolated_input(tensor, stored)
                for tensor, stored in pairs
            ]
            (tensor,) = node.outputs
            output = gs.Variable(f"{_ALONE}{tensor.name}", np.float32, tensor.shape)
            copy = twin.copy(inputs=inputs, outputs=[output])
            copy.name = f"{_ALONE}{node.name}"
            self.graph.nodes.append(copy)
            made[tensor.name] = output
        return made[layer.output]

    def _with_fused(self, layer: LayerComparison) -> Iterator[gs.Node]:
        """The node and the nodes fused into it, each the only reader of the one before."""
        node = self.float_nodes[layer.node]
        yield node
        while node.outputs[0].name != layer.output:
            (node,) = readers(node.outputs[0])
            yield node

    def _isolated_input(self, tensor: gs.Tensor, stored: gs.Tensor) -> gs.Tensor:
        """What a layer alone reads: `tensor` of the float network for `stored` of the int8 one."""
        if isinstance(tensor, gs.Constant) or tensor.is_empty():
            return stored
        dequantize = producer(stored)
        if dequantize is None or dequantize.op != "DequantizeLinear":
            return tensor
        if stored.name not in self.rounded:
            integers, *parameters = dequantize.inputs
            name = f"{_ALONE}{integers.name}"
            quantized = gs.Variable(name, parameters[1].dtype, tensor.shape)
            quantize = dequantize.copy([tensor, *parameters], [quantized])
            quantize.op, quantize.name = "QuantizeLinear", f"{name}:node"
            self.graph.nodes.append(quantize)
            self.rounded[stored.name] = self._dequantize(
                dequantize, quantized, f"{_ALONE}{stored.name}"
            )
        return self.rounded[stored.name]

    def _int8_value(self, name: str) -> gs.Tensor:
        """What stands for a tensor in the int8 network."""
        if dequantized_name(name) in self.int8:
            return self.int8[dequantized_name(name)]
        tensor = self.int8[name]
        quantize = next((node for node in readers(tensor) if node.op == "QuantizeLinear"), None)
        if quantize is None:
            return tensor
        # Only nodes that move bytes read it. Reading it unrounded would keep the session from
        # running its maker on integers.
        return self._dequantize(quantize, quantize.outputs[0], f"{_INT8}{dequantized_name(name)}")

    def _dequantize(self, pattern: gs.Node, integers: gs.Variable, name: str) -> gs.Variable:
        """DequantizeLinear with the parameters of another node."""
        result = gs.Variable(name, np.float32, integers.shape)
        node = pattern.copy([integers, *pattern.inputs[1:]], [result])
        node.op, node.name = "DequantizeLinear", f"{name}:node"
        self.graph.nodes.append(node)
        return result


def _same_constant(one: gs.Tensor, other: gs.Tensor) -> bool:
    both = isinstance(one, gs.Constant) and isinstance(other, gs.Constant)
    return both and one.values is other.values
