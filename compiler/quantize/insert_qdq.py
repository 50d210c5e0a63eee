"""Write the int8 form of a float graph: the QDQ pattern that ONNX Runtime fuses completely.

Around an integer node, its activation x and weight w become
    x -> QuantizeLinear -> x_quantized (uint8) -> DequantizeLinear -> x_dequantized -> node
    w_quantized (int8)  -> DequantizeLinear -> w_dequantized -> node
and b_quantized (int32) likewise. A tensor has one QuantizeLinear and one DequantizeLinear, through
which all its readers go if an integer node makes it; if a float node makes it, its float readers
go on reading it unrounded.

Nodes with 16-bit activations have that form too; see `insert_wide`.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from calibration.ranges import TensorRange
from compiler.graph.query import DRAFTED, origin_of, output_ids, producer, readers
from compiler.quantize.correct_bias import correct_bias
from compiler.quantize.insert_wide import insert_wide
from compiler.quantize.op_rules import (
    Kernel,
    OpRule,
    ScaleFrom,
    activations,
    find_rule,
    weight_axis,
)
from compiler.quantize.parameters import constants_of, tensor_parameters, wide_parameters
from compiler.quantize.plan import Form, Int8Options, Int8Plan
from compiler.quantize.weights import RoundedWeights, add_bias, round_weights

_GUARDED = ("Conv", "ConvTranspose", "Gemm")
_KEPT_APART = ("AveragePool",)


def insert_qdq(
    graph: gs.Graph,
    plan: Int8Plan,
    ranges: Mapping[str, TensorRange],
    *,
    means: Mapping[str, NDArray[np.float64]] | None = None,
    weights: Mapping[str, RoundedWeights] | None = None,
) -> gs.Graph:
    """Quantize a float graph.

    Args:
        graph: The graph that `plan` was made for. It is not changed; the new graph shares the
            arrays of those weights that stay float.
        plan: Of `plan_int8`.
        ranges: One per tensor of `plan.observed`, by tensor name.
        means: Channel means of tensors, by name (see `correct_bias.wanted_means`); the biases of
            the nodes that read one of them are corrected.
        weights: Rounded weights of nodes, by node name; others are rounded to nearest.

    Returns:
        A new graph with the same inputs, outputs and node names, float32 at its borders.

    Raises:
        ValueError: A range is missing or contradicts the plan, or a weight is not finite.
    """
    return _Writer(graph.copy(), plan, ranges, means or {}, weights or {}).write()


def round_to_nearest(
    weight: NDArray[np.float32], axis: int, options: Int8Options
) -> RoundedWeights:
    """Round a weight as the options say.

    Args:
        weight: Any shape.
        axis: Output-channel axis of `weight`.
        options: From the build file.

    Raises:
        ValueError: A weight is not finite.
    """
    return round_weights(
        weight,
        axis=axis if options.per_channel else None,
        rule=options.weight_scale,
        reduce_range=options.reduce_range,
    )


def quantized_name(tensor: str) -> str:
    """Name of the integer tensor that stands for a float tensor."""
    return f"{tensor}_quantized"


def dequantized_name(tensor: str) -> str:
    """Name of the float tensor that readers see; a graph output keeps its own name."""
    return f"{tensor}_dequantized"


class _Writer:
    def __init__(
        self,
        graph: gs.Graph,
        plan: Int8Plan,
        ranges: Mapping[str, TensorRange],
        means: Mapping[str, NDArray[np.float64]],
        weights: Mapping[str, RoundedWeights],
    ) -> None:
        self.graph = graph
        self.plan = plan
        self.means = means
        self.weights = weights
        self.tensors: dict[str, gs.Tensor] = graph.tensors()
        self.outputs = output_ids(graph)
        self.nodes: dict[str, gs.Node] = {node.name: node for node in graph.nodes}
        self.rules = {node.node: _rule(self.nodes[node.node]) for node in plan.integer_nodes}
        self.makers = {node.node for node in plan.nodes if node.form is not Form.FLOAT}
        self.parameters = tensor_parameters(plan, ranges, constants_of(graph, plan))
        self.wide = {name: _rule(self.nodes[name]) for name in plan.wide}
        self.wide_parameters = wide_parameters(plan, ranges, self.parameters)
        self.stored: dict[tuple[str, bytes, bytes], gs.Variable] = {}

    def write(self) -> gs.Graph:
        for name, rule in {**self.rules, **self.wide}.items():
            if rule.weight is not None:
                try:
                    self._quantize_weight(self.nodes[name], rule, rule.weight)
                except ValueError as error:
                    raise ValueError(f"layer '{origin_of(name)}': {error}") from error
        for name in self.plan.tensors:
            tensor = self.tensors[name]
            if isinstance(tensor, gs.Constant):
                self._quantize_constant(tensor)
            else:
                self._quantize_activation(tensor)
        insert_wide(self.graph, self.plan, self.wide, self.wide_parameters)
        self.graph.cleanup().toposort()
        return self.graph

    def _quantize_weight(self, node: gs.Node, rule: OpRule, position: int) -> None:
        weight, axis = node.inputs[position], weight_axis(node, rule)
        activation = node.inputs[0].name
        rounded = self.weights.get(node.name)
        if rounded is None:
            rounded = round_to_nearest(weight.values, axis, self.plan.options)
        reader, bias_at = self._bias_of(node, rule)
        bias = None if bias_at is None else reader.inputs[bias_at]
        values = None if bias is None else bias.values
        if activation in self.means and (bias is not None or rule.bias is not None):
            mean = self.means[activation]
            values = correct_bias(node, weight.values, rounded, values, mean, axis=axis)
        wide = node.name in self.wide
        scale = (self.wide_parameters if wide else self.parameters)[activation].scale
        numbers = add_bias(rounded, weight.values, values, scale, axis=axis)
        integers = numbers.weights
        _set_input(node, position, self._store(weight.name, integers.values, integers.scale, axis))
        if numbers.bias is None:
            return
        name = f"{node.name}{DRAFTED}bias" if bias is None else bias.name
        stored = self._store(name, numbers.bias, numbers.bias_scale, 0)
        if bias_at is None and rule.bias is not None:  # the correction is its first bias
            node.inputs = [*node.inputs[: rule.bias], stored]
        elif bias_at is not None:
            _set_input(reader, bias_at, stored)

    def _bias_of(self, node: gs.Node, rule: OpRule) -> tuple[gs.Node, int | None]:
        """The node that reads the bias, and its input position; None without a bias."""
        if node.name in self.plan.biases:
            add = self.nodes[self.plan.biases[node.name]]
            return add, next(i for i, t in enumerate(add.inputs) if isinstance(t, gs.Constant))
        at = rule.bias
        absent = at is None or len(node.inputs) <= at or node.inputs[at].is_empty()
        return node, None if absent else at

    def _quantize_constant(self, tensor: gs.Constant) -> None:
        parameters = self.parameters[tensor.name]
        values = parameters.round(tensor.values)
        scale = np.array(parameters.scale, np.float32)
        stored = self._store(tensor.name, values, scale, 0, parameters.zero_point)
        _redirect(self._integer_readers(tensor), tensor, stored)

    def _quantize_activation(self, tensor: gs.Variable) -> None:
        node = producer(tensor)
        maker = node if node is not None and node.name in self.makers else None
        quantized = gs.Variable(quantized_name(tensor.name), np.uint8, tensor.shape)
        holds_bytes = self.plan.tensors[tensor.name].source is ScaleFrom.BYTES
        if holds_bytes and node is not None:
            quantized = node.inputs[0]  # what was cast to floats
        parameters = self._parameter_tensors(tensor.name)
        source = tensor
        if maker is not None and id(tensor) in self.outputs:
            # The name belongs to the interface, so the unrounded tensor takes another one.
            source = gs.Variable(f"{tensor.name}_unrounded", tensor.dtype, tensor.shape)
            maker.outputs = [source if output is tensor else output for output in maker.outputs]
            result = tensor
        else:
            result = gs.Variable(dequantized_name(tensor.name), np.float32, tensor.shape)
            chosen = self._integer_readers(tensor) if maker is None else readers(tensor)
            _redirect(chosen, tensor, result)
        if maker is None and node is not None and node.op in _KEPT_APART:
            source = self._keep_apart(tensor)
        self._guard_float_readers(tensor.name, quantized, result)
        if maker is not None and self._is_by_hand(maker):
            _place_by_hand(maker, quantized, parameters[1])
        elif not holds_bytes:
            self._append("QuantizeLinear", [source, *parameters], quantized)
        self._append("DequantizeLinear", [quantized, *parameters], result)

    def _guard_float_readers(self, name: str, quantized: gs.Variable, result: gs.Variable) -> None:
        """Keep ONNX Runtime from quantizing the weights of float nodes on its own.

        Its WeightBiasQuantization does so, per tensor, wherever a DequantizeLinear with one scale
        feeds them. A scale per channel, all equal, is the same arithmetic and stops it.
        """
        quantized_weights = {*self.rules, *self.wide}
        nodes = [n for n in readers(result) if n.op in _GUARDED]
        nodes = [node for node in nodes if node.name not in quantized_weights]
        if not nodes:
            return
        shape = result.shape
        axis = next((i for i in (1, *range(len(shape))) if shape[i] > 1), 0)
        guarded = gs.Variable(f"{dequantized_name(name)}_per_channel", np.float32, shape)
        parameters = [
            gs.Constant(f"{constant.name}_per_channel", np.full(shape[axis], constant.values))
            for constant in self._parameter_tensors(name)
        ]
        self._append("DequantizeLinear", [quantized, *parameters], guarded, axis)
        _redirect(nodes, result, guarded)

    def _keep_apart(self, tensor: gs.Variable) -> gs.Variable:
        """Keep ONNX Runtime from fusing a float node with the QuantizeLinear behind it.

        Whether the plan wants it or not, it takes an integer kernel between DequantizeLinear and
        QuantizeLinear, also where that kernel is wrong. It does not remove a Sum of one tensor.
        """
        result = gs.Variable(f"{tensor.name}_apart", tensor.dtype, tensor.shape)
        self._append("Sum", [tensor], result)
        return result

    def _is_by_hand(self, node: gs.Node) -> bool:
        return node.name in self.rules and self.rules[node.name].kernel is Kernel.BY_HAND

    def _integer_readers(self, tensor: gs.Tensor) -> list[gs.Node]:
        return [
            node
            for node in readers(tensor)
            if node.name in self.rules
            and any(read is tensor for read in activations(node, self.rules[node.name]))
        ]

    def _parameter_tensors(self, name: str) -> list[gs.Constant]:
        parameters = self.parameters[name]
        return [
            gs.Constant(f"{name}_scale", np.array(parameters.scale, np.float32)),
            gs.Constant(f"{name}_zero_point", np.array(parameters.zero_point, np.uint8)),
        ]

    def _store(
        self,
        name: str,
        values: NDArray[Any],  # int8 weight, int32 bias or uint8 constant
        scale: NDArray[np.float32],
        axis: int,
        zero_point: int = 0,
    ) -> gs.Variable:
        """Constant `values` behind a DequantizeLinear; equal ones are stored once."""
        key = name, scale.tobytes(), sha256(values.tobytes()).digest()
        if key not in self.stored:
            # Two readers may need one bias at two scales, or with a correction of their own.
            times = sum(other == name for other, *_ in self.stored)
            stem = f"{name}_{times}" if times else name
            result = gs.Variable(dequantized_name(stem), np.float32, values.shape)
            constants = [
                gs.Constant(quantized_name(stem), values),
                gs.Constant(f"{stem}_scale", scale),
                gs.Constant(f"{stem}_zero_point", np.full(scale.shape, zero_point, values.dtype)),
            ]
            self._append("DequantizeLinear", constants, result, axis if scale.ndim else None)
            self.stored[key] = result
        return self.stored[key]

    def _append(
        self, op: str, inputs: list[gs.Tensor], output: gs.Variable, axis: int | None = None
    ) -> None:
        attrs = {} if axis is None else {"axis": axis}
        self.graph.nodes.append(gs.Node(op, f"{output.name}_node", attrs, inputs, [output]))


def _place_by_hand(node: gs.Node, output: gs.Variable, zero_point: gs.Constant) -> None:
    """Let a Pad or Gather work on bytes; a Pad with 0 then pads with the zero point."""
    dequantize = producer(node.inputs[0])
    if dequantize is None:
        raise ValueError(f"node '{node.name}': its input is not quantized")
    inputs = [dequantize.inputs[0], *node.inputs[1:]]
    if node.op == "Pad" and node.attrs.get("mode", "constant") == "constant":
        inputs[2:3] = [zero_point]
    elif node.op == "Pad":
        inputs[2:3] = [gs.Variable.empty()] * len(inputs[2:3])  # a value that is not used
    node.inputs = inputs
    node.outputs = [output]


def _set_input(node: gs.Node, position: int, tensor: gs.Tensor) -> None:
    node.inputs = [tensor if i == position else old for i, old in enumerate(node.inputs)]


def _redirect(nodes: Iterable[gs.Node], old: gs.Tensor, new: gs.Tensor) -> None:
    for node in nodes:
        node.inputs = [new if tensor is old else tensor for tensor in node.inputs]


def _rule(node: gs.Node) -> OpRule:
    rule, reason = find_rule(node)
    if rule is None:
        raise ValueError(f"node '{node.name}': {reason}; the plan was made for another graph")
    return rule
