"""Networks that 8 bits find hard: edits that leave the float function as it is.

Relu and Add are positively homogeneous: s * relu(x) = relu(s * x) and s * x + s * y = s * (x + y)
for s > 0. The tensors that they connect may therefore take a factor s[c] for each channel, if every
convolution that writes one of them takes it along, and every one that reads one takes it back:

    writer: w[c], b[c] -> s[c] * w[c], s[c] * b[c]        reader: w[:, c] -> w[:, c] / s[c]

Nothing but those tensors changes. In int8 they have one scale for all channels: with factors far
apart, the small channels are rounded away; with one factor far above the others, the scale grows
too coarse or that channel is clipped. Factors are no powers of two, so that the weights are rounded
anew and no exact inverse hides the edit.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
2019, section 4.1, run backwards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

PRISMA_UNEVEN = (
    "convolution_output12",  # the skip at full resolution, which only conv2d_12 reads on its way
    *(f"activation_{number}/Relu:0" for number in (98, 104, 106, 108, 110, 112, 114)),
)
PRISMA_OUTLIERS = ("activation_102/Relu:0",)
"""Tensors of prisma_nchw: all but the first are read by depthwise convolutions."""

_THROUGH = ("Relu", "Add")
_CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass
class Span:
    """Tensors that Relu and Add connect, and so take the same factors.

    Args:
        tensors: Their names.
        writers: Convolutions that make one of them.
        readers: Convolutions that read one of them.
        others: Types of other operators that touch one; a network's input or output counts as one.
    """

    tensors: list[str] = field(default_factory=list)
    writers: list[onnx.NodeProto] = field(default_factory=list)
    readers: list[onnx.NodeProto] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_spans(model: onnx.ModelProto) -> list[Span]:
    """Spans whose channels can be rescaled, in the order of their first tensors."""
    constants = {tensor.name for tensor in model.graph.initializer}
    root: dict[str, str] = {}

    def find(name: str) -> str:
        root.setdefault(name, name)
        while root[name] != name:
            name = root[name]
        return name

    for node in model.graph.node:
        names = [name for name in [*node.output, *node.input] if name not in constants]
        for name in names:
            find(name)
        if node.op_type in _THROUGH:
            for name in names[1:]:
                root[find(name)] = find(names[0])
    spans: dict[str, Span] = {}
    for name in root:
        spans.setdefault(find(name), Span()).tensors.append(name)
    for node in model.graph.node:
        convolves = node.op_type in _CONVOLUTIONS
        if convolves:
            spans[find(node.output[0])].writers.append(node)
            spans[find(node.input[0])].readers.append(node)
        elif node.op_type not in _THROUGH or constants.intersection(node.input):
            for name in [*node.output, *node.input]:
                if name not in constants:
                    spans[find(name)].others.append(node.op_type)
    for border in [*model.graph.input, *model.graph.output]:
        if border.name not in constants:
            spans[find(border.name)].others.append("border")
    return [span for span in spans.values() if not span.others and span.readers]


def make_hard(
    model: onnx.ModelProto,
    *,
    uneven: Iterable[str],
    outliers: Iterable[str] = (),
    octaves: float = 5.0,
    outlier: float = 500.0,
    seed: int = 0,
) -> onnx.ModelProto:
    """A copy of `model` that computes the same in float and loses much more in int8.

    Args:
        model: Trained network whose weights are initializers that no other node reads;
            convolutions are dense or depthwise.
        uneven: Tensors, by name, whose spans get factors spread over 2^-octaves … 2^octaves,
            evenly in the logarithm.
        outliers: Tensors in whose spans one channel is multiplied by `outlier`.
        octaves: Half the spread.
        outlier: Factor of the channel that sticks out.
        seed: Of the factors.
    """
    hard = onnx.ModelProto()
    hard.CopyFrom(model)
    spans = {name: span for span in find_spans(hard) for name in span.tensors}
    weights = {tensor.name: tensor for tensor in hard.graph.initializer}
    random = np.random.default_rng(seed)
    for name in uneven:
        spread = random.uniform(-octaves, octaves, _channels(spans[name], weights))
        _scale(spans[name], 2.0**spread, weights)
    for name in outliers:
        factors = np.ones(_channels(spans[name], weights))
        factors[random.integers(factors.size)] = outlier
        _scale(spans[name], factors, weights)
    return hard


def _channels(span: Span, weights: Mapping[str, onnx.TensorProto]) -> int:
    writer = span.writers[0]
    return int(weights[writer.input[1]].dims[0 if writer.op_type == "Conv" else 1])


def _scale(
    span: Span, factors: NDArray[np.float64], weights: Mapping[str, onnx.TensorProto]
) -> None:
    for node in span.writers:  # Conv (O, I/g, *kernel), ConvTranspose (I, O, *kernel)
        _multiply(weights[node.input[1]], factors, 0 if node.op_type == "Conv" else 1)
        for name in node.input[2:]:
            _multiply(weights[name], factors, 0)
    for node in span.readers:
        dense = node.op_type == "Conv" and weights[node.input[1]].dims[1] == factors.size
        _multiply(weights[node.input[1]], 1 / factors, 1 if dense else 0)


def _multiply(tensor: onnx.TensorProto, factors: NDArray[np.float64], axis: int) -> None:
    values = numpy_helper.to_array(tensor)
    shape = [factors.size if i == axis else 1 for i in range(values.ndim)]
    scaled = (values * factors.reshape(shape)).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
