"""Noise that 8 bits would make at the output of a linear layer, in closed form.

A step d makes noise of power d**2 / 12. An activation has one step d_x, 1/255 of its range; weights
have one per output, d_w, 1/127 of the largest in the row. A channel is taken as evenly spread up to
its largest magnitude m, of power m**2 / 3. So with kernel elements k, of which K are not 0,
    noise[o] = sum over c of  d_x**2 / 12 * (sum over k of W[o, c, k]**2)
                            + d_w[o]**2 / 12 * K[o, c] * m[c]**2 / 3,
with the sum of d_x**2 over the tensors on the way of channel c that are rounded.
"""

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import only_reader, producer
from compiler.quantize.op_rules import Kernel, ScaleFrom, find_rule
from compiler.quantize.rescaling import Exponents, weight_view

Floats = NDArray[np.float64]


class Activation:
    """Range of a tensor, and the factors that its channels have got so far.

    Args:
        extremes: Smallest and largest value per channel, shape (2, channels).
    """

    def __init__(self, extremes: NDArray[np.float32]) -> None:
        self.sides = np.maximum(extremes * [[-1.0], [1.0]], 0.0)  # extents below and above 0
        self.exponents: Exponents = np.zeros(self.sides.shape[1], np.int64)

    def magnitudes(self) -> Floats:
        """Largest |x| per channel, factors included."""
        magnitudes: Floats = self._scaled().max(axis=0)
        return magnitudes

    def step(self) -> float:
        """Of the quantizer."""
        return float(self._scaled().max(axis=1).sum()) / 255

    def room(self, own: NDArray[np.bool_]) -> Floats:
        """How often each of `own` channels fits into the range of them all; zeros: infinite."""
        sides = self._scaled()[:, own]
        tops = sides.max(axis=1, keepdims=True)
        wide = np.full(sides.shape, np.inf)
        room: Floats = np.divide(tops, sides, out=wide, where=sides > 0).min(axis=0)
        return room

    def lift(self, own: NDArray[np.bool_]) -> float:
        """How often `own` channels fit into the largest of the others; at least 1."""
        magnitudes = self.magnitudes()
        magnitude, others = float(magnitudes[own].max()), float(magnitudes[~own].max())
        return max(others / magnitude, 1.0) if magnitude > 0 else 1.0

    def _scaled(self) -> Floats:
        return np.ldexp(self.sides, self.exponents)


class Reader:
    """A linear layer that takes the factors of its input back.

    Args:
        node: The layer.
        read: Its input.
    """

    def __init__(self, node: gs.Node, read: Activation) -> None:
        weight = weight_view(node)
        self.tensor: gs.Tensor = node.inputs[0]
        self.read = read
        self.largest = np.abs(weight).max(axis=3).astype(np.float64)
        self.power = np.square(weight, dtype=np.float64).sum(axis=3)
        self.count = np.count_nonzero(weight, axis=3)  # a weight of 0 is exact
        self.ways: list[tuple[NDArray[np.bool_], Sequence[Activation]]] = []

    def comes_by(self, channels: NDArray[np.bool_], rounded: Sequence[Activation]) -> None:
        """Tell where some of the channels that it reads are rounded before."""
        self.ways.append((channels, rounded))

    def noise(self) -> Floats:
        """12 times the noise power per output, shape (groups, outputs per group)."""
        groups, _, inputs = self.power.shape
        taken = self.read.exponents.reshape(groups, 1, inputs)
        powers = np.square(self.read.magnitudes()).reshape(groups, 1, inputs) / 3
        steps = self._rows().max(axis=2) / 127
        rounded = np.ldexp(self.power, -2 * taken) * self._roundings().reshape(groups, 1, inputs)
        noise: Floats = rounded.sum(axis=2) + (self.count * powers).sum(axis=2) * steps**2
        return noise

    def shares(self) -> Floats:
        """Largest weight of each input channel, as a share of the largest in the same row."""
        rows = self._rows()
        tops = rows.max(axis=2, keepdims=True)
        shares = np.divide(rows, tops, out=np.zeros_like(rows), where=tops > 0)
        largest: Floats = shares.max(axis=1).reshape(-1)
        return largest

    def _rows(self) -> Floats:
        groups, _, inputs = self.largest.shape
        rows: Floats = np.ldexp(self.largest, -self.read.exponents.reshape(groups, 1, inputs))
        return rows

    def _roundings(self) -> Floats:
        """Sum of the squared steps with which each input channel is rounded."""
        squares, told = np.zeros((2, self.read.exponents.size))
        for channels, rounded in self.ways:
            squares += channels * sum(activation.step() ** 2 for activation in rounded)
            told += channels
        roundings: Floats = np.where(told > 0, squares, self.read.step() ** 2)
        return roundings


def mean_log_ratio(after: Floats, before: Floats) -> float:
    """Mean over the outputs of log2 of the noise after as a share of that before.

    The mean of logarithms weighs all outputs alike: how much one matters, later layers decide.
    """
    noisy = before > 0
    return float(np.log2(after[noisy] / before[noisy]).sum() / max(noisy.sum(), 1))


def is_rounded(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether an int8 form of the graph would give the tensor a quantizer of its own."""
    node, following = producer(tensor), only_reader(graph, tensor)
    if node is None or _moves(node):
        return False
    if following is None:
        return True
    rule, _ = find_rule(following)
    joined = rule is not None and rule.kernel is Kernel.FUSED
    return not joined and (node.op, following.op) != ("MatMul", "Add")


def _moves(node: gs.Node) -> bool:
    rule, _ = find_rule(node)
    moves = rule is not None and rule.output is ScaleFrom.INPUT and rule.kernel is not Kernel.FLOAT
    return moves or node.op == "Identity"
