"""One cost model: the time that one thread of ONNX Runtime needs for some nodes, predicted.

time = sum over nodes of MACs * (ns per MAC) + bytes * (ns per byte) + ns per node.

The sum, not the maximum, of arithmetic and traffic: kernels that block well hide little of the
traffic at their edges, and the sum fits what is measured within about 15 %. What the engine does
with an operator in a data type is in the table below: views are free, an activation that follows a
convolution is computed inside it, ConvTranspose has no integer kernel, and so on.

Dense convolutions run in a layout of their own (blocked channels in float32, channels last in
int8): a tensor that passes between one and an operator that knows the plain layout only is
reordered, which costs what an operator that reads and writes it costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import onnx_graphsurgeon as gs

from compiler.cost.machine import Machine
from compiler.cost.work import size_of, taps_inside, work_of
from compiler.graph.query import producer, readers

Precision = Literal["fp32", "int8"]

VIEWS: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
ACTIVATIONS: Final = frozenset({"Relu", "Clip", "LeakyRelu", "HardSigmoid", "Sigmoid", "Tanh"})
FUSED: Final = MappingProxyType({"fp32": ACTIVATIONS, "int8": frozenset({"Relu", "Clip"})})
"""Activations that are computed inside the convolution before them."""
LAYOUT_OWN: Final = frozenset({"Conv", "MaxPool", "AveragePool", "GlobalAveragePool"})
LAYOUT_ANY: Final = frozenset({*ACTIVATIONS, "Add", "Mul", "Sum", "Concat", "Resize"})
UNALIGNED: Final = 4
"""How many times longer an integer depthwise convolution takes whose channels fill no blocks."""
PARTIAL: Final = frozenset({"Slice", "Gather"})
"""Operators that read no more than they write."""
OWN_TRANSPOSES: Final = ((0, 2, 3, 1), (0, 3, 1, 2))
FLOAT_ONLY: Final = frozenset({"ConvTranspose"})

BLOCK: Final = 16
"""Output channels that a convolution kernel computes together."""
INPUTS: Final = 4
"""Input channels that an integer kernel multiplies together."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts times for one machine and one precision.

    Args:
        machine: Constants, built in or from `modc tune`.
        precision: What the nodes will run in: "int8" for an int8 build, else "fp32" (a CPU computes
            fp16 graphs in float32).
    """

    machine: Machine
    precision: Precision

    def milliseconds(self, nodes: Sequence[gs.Node]) -> float:
        """Predicted time of `nodes`, one thread.

        Nodes without static shapes count as nothing but their overhead.
        """
        return sum(self._node(node) for node in nodes) / 1e6

    def _node(self, node: gs.Node) -> float:
        if not any(isinstance(one, gs.Variable) and one.name for one in node.inputs):
            return 0.0  # the engine computes it when it loads the graph
        work = work_of(node)
        if work is None:
            return self.machine.node
        integer = self.precision == "int8" and node.op not in FLOAT_ONLY
        moved = self._reorders(node, integer)
        if node.op in VIEWS or (node.op in FUSED[self.precision] and _is_fused(node)):
            return moved
        if self._is_own_transpose(node):
            return 0.0
        width = 1 if integer else 4
        read = work.written if node.op in PARTIAL else work.read
        elements = read + work.constant + work.written
        time = self.machine.node + width * elements * self.machine.byte
        time += self._arithmetic(node, work.macs, integer)
        if node.op == "Resize":
            time += work.written * self._per_resized(node, integer)
        if node.op == "ConvTranspose":
            time += work.written * self.machine.col2im
        if integer and node.op == "Mul":
            time += work.written * self.machine.multiply_int8
        if integer and node.op == "Transpose" and _moves_last_axis(node):
            time += work.written * self.machine.shuffle_int8
        if self.precision == "int8" and not integer:
            time += (work.read + work.written) * self.machine.quantize
        return time + moved

    def _is_own_transpose(self, node: gs.Node) -> bool:
        """Whether a Transpose cancels with one that the engine puts around an integer Conv."""
        perm = tuple(node.attrs.get("perm", ()))
        return self.precision == "int8" and node.op == "Transpose" and perm in OWN_TRANSPOSES

    def _arithmetic(self, node: gs.Node, macs: int, integer: bool) -> float:
        machine = self.machine
        if node.op == "ConvTranspose":
            return macs * machine.conv_float
        if node.op != "Conv" or len(node.inputs[1].shape) != 4:
            return macs * self._per_matmul(node, integer)
        channels, inputs, height, width = (int(size) for size in node.inputs[1].shape)
        groups = int(node.attrs.get("group", 1))
        if inputs == 1 and groups > 1:
            if not integer:
                return macs / channels * _in_blocks(channels) * machine.depthwise_float
            return macs * machine.depthwise_int8 * (UNALIGNED if channels % BLOCK else 1)
        macs = macs // channels * groups * _in_blocks(channels // groups)
        if not integer:
            return macs * taps_inside(node) * machine.conv_float
        pixels = size_of(node.outputs[0]) // channels * groups
        time = macs * machine.conv_int8 + pixels * machine.row_int8
        if height * width > 1 and (inputs % INPUTS or channels // groups % BLOCK):
            per_tap = machine.gather_tap + inputs * machine.gather_byte
            time += pixels * height * width * per_tap
        return time

    def _per_matmul(self, node: gs.Node, integer: bool) -> float:
        if not integer:
            return self.machine.matmul_float
        left = isinstance(node.inputs[0], gs.Constant)
        return self.machine.matmul_int8_left if left else self.machine.matmul_int8

    def _per_resized(self, node: gs.Node, integer: bool) -> float:
        if node.attrs.get("mode") == "cubic":
            return self.machine.resize_cubic
        shape, before = node.outputs[0].shape, producer(node.inputs[0])
        follows = not integer and before is not None and self._layout(before) == "own"
        if len(shape) != 4 or shape[1] % BLOCK or not (follows or self._feeds_own_layout(node)):
            return self.machine.resize_plain
        return self.machine.resize_int8 if integer else self.machine.resize_float

    def conversion(self, tensor: gs.Tensor) -> float:
        """Predicted ms to pass a tensor between an integer and a float node.

        It is quantized or dequantized, and its layout changes twice: channels last in the integer
        part, blocked channels in the float part.
        """
        machine = self.machine
        per_element = machine.quantize + machine.transpose_int8 + 8 * machine.byte
        return (size_of(tensor) * per_element + machine.node) / 1e6

    def _reorders(self, node: gs.Node, integer: bool) -> float:
        """Layout changes on the inputs of `node`, counted at the reader."""
        per_element = self.machine.transpose_int8 if integer else 8 * self.machine.byte
        layout = self._layout(node)
        elements = 0
        for tensor in node.inputs:
            before = producer(tensor)
            if before is not None and {layout, self._layout(before)} == {"own", "plain"}:
                elements += size_of(tensor)
        return elements * per_element

    def _layout(self, node: gs.Node) -> Literal["own", "any", "plain"]:
        if node.op in LAYOUT_OWN:
            return "own"
        if node.op == "Transpose" and self.precision == "int8":
            return "any"
        if node.op == "Concat" and self.precision == "fp32" and node.attrs["axis"] not in (1, -3):
            return "plain"
        return "any" if node.op in LAYOUT_ANY else "plain"

    def _feeds_own_layout(self, node: gs.Node) -> bool:
        """Whether a convolution or pool reads what `node` yields, at once or after light nodes."""
        waiting = readers(node.outputs[0])
        while waiting:
            reader = waiting.pop()
            if self._layout(reader) == "own":
                return True
            if self._layout(reader) == "any":
                waiting += readers(reader.outputs[0])
        return False


def _moves_last_axis(transpose: gs.Node) -> bool:
    perm = transpose.attrs.get("perm", (1, 0))
    return bool(perm[-1] != len(perm) - 1)


def _in_blocks(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _is_fused(node: gs.Node) -> bool:
    before = producer(node.inputs[0])
    return before is not None and before.op in ("Conv", "Add") and len(readers(node.inputs[0])) == 1
