"""Write the 16-bit activations of a graph: a uint16 pair behind and before each node that has them.

    x -> QuantizeLinear -> x_uint16 -> DequantizeLinear -> x_uint16_dequantized -> node

What a node makes is rounded once, for all its readers. What it reads gets a pair too, unless such
a node made it: a tensor between it and an 8-bit node thus passes through both forms. Its content
has then the 8 bits that an 8-bit node before it left, and 16 bits of anything else.

ONNX has uint16 for the two operators from opset 21 on; ONNX Runtime's own domain has it for all.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.quantize.op_rules import OpRule, activations
from compiler.quantize.parameters import WIDE_LEVELS, Parameters, covering
from compiler.quantize.plan import Int8Plan

FIRST_OPSET = 21
CONTRIBUTED = "com.microsoft"


def insert_wide(
    graph: gs.Graph,
    plan: Int8Plan,
    rules: Mapping[str, OpRule],
    parameters: Mapping[str, Parameters],
) -> None:
    """Add the pairs of `plan.wide`.

    Args:
        graph: Its 8-bit part is written already. Edited in place; it is left to sort.
        plan: Made for the float graph.
        rules: Of every node in `plan.wide`, found in the float graph.
        parameters: Of every tensor in `plan.wide`, by its name in the float graph.
    """
    if not plan.wide:
        return
    writer = _Writer(graph, parameters)
    nodes = {node.name: node for node in graph.nodes if node.name in plan.wide}
    tensors = graph.tensors()
    for wide in plan.wide.values():
        for name in wide.outputs:
            writer.round_output(tensors[name])
    for name, wide in plan.wide.items():
        writer.round_inputs(nodes[name], rules[name], wide.inputs)


class _Writer:
    def __init__(self, graph: gs.Graph, parameters: Mapping[str, Parameters]) -> None:
        self.graph = graph
        self.parameters = parameters
        self.domain = None if graph.opset >= FIRST_OPSET else CONTRIBUTED
        self.rounded: dict[str, gs.Tensor] = {}  # name of a tensor -> what 16-bit nodes read
        if self.domain:
            imported = onnx.helper.make_opsetid(self.domain, 1)
            graph.import_domains = [*(graph.import_domains or ()), imported]

    def round_output(self, tensor: gs.Variable) -> None:
        """Let all that reads `tensor`, and the graph if it is an output, find it rounded."""
        source = gs.Variable(f"{tensor.name}_unrounded", tensor.dtype, tensor.shape)
        for maker in list(tensor.inputs):
            maker.outputs = [source if one is tensor else one for one in maker.outputs]
        self._append_pair(source, tensor, tensor.name, self.parameters[tensor.name])
        self.rounded[tensor.name] = tensor

    def round_inputs(self, node: gs.Node, rule: OpRule, names: tuple[str, ...]) -> None:
        """Let `node` read rounded activations; `names` are those of the variables among them."""
        waiting = iter(names)
        read = {
            id(tensor): self._constant(tensor)
            if isinstance(tensor, gs.Constant)
            else self._variable(tensor, next(waiting))
            for tensor in activations(node, rule)
        }
        node.inputs = [read.get(id(tensor), tensor) for tensor in node.inputs]

    def _variable(self, tensor: gs.Variable, name: str) -> gs.Tensor:
        if tensor.name not in self.rounded:
            result = gs.Variable(f"{tensor.name}_uint16_dequantized", np.float32, tensor.shape)
            self._append_pair(tensor, result, tensor.name, self.parameters[name])
            self.rounded[tensor.name] = result
        return self.rounded[tensor.name]

    def _constant(self, tensor: gs.Constant) -> gs.Tensor:
        if tensor.name not in self.rounded:
            values = tensor.values
            parameters = covering(float(values.min()), float(values.max()), WIDE_LEVELS)
            stored = gs.Constant(f"{tensor.name}_uint16", parameters.round(values))
            result = gs.Variable(f"{tensor.name}_uint16_dequantized", np.float32, values.shape)
            self._append("DequantizeLinear", stored, result, _tensors_of(tensor.name, parameters))
            self.rounded[tensor.name] = result
        return self.rounded[tensor.name]

    def _append_pair(
        self, source: gs.Tensor, result: gs.Variable, name: str, parameters: Parameters
    ) -> None:
        stored = gs.Variable(f"{name}_uint16", np.uint16, source.shape)
        constants = _tensors_of(name, parameters)
        self._append("QuantizeLinear", source, stored, constants)
        self._append("DequantizeLinear", stored, result, constants)

    def _append(
        self, op: str, source: gs.Tensor, result: gs.Variable, constants: list[gs.Constant]
    ) -> None:
        name, inputs = f"{result.name}_uint16_node", [source, *constants]
        self.graph.nodes.append(gs.Node(op, name, {}, inputs, [result], domain=self.domain))


def _tensors_of(name: str, parameters: Parameters) -> list[gs.Constant]:
    return [
        gs.Constant(f"{name}_uint16_scale", np.array(parameters.scale, np.float32)),
        gs.Constant(f"{name}_uint16_zero_point", np.array(parameters.zero_point, np.uint16)),
    ]
