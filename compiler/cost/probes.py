"""Small graphs that measure the constants of a `Machine`, one probe each.

A probe repeats one operator: in a chain, where each reads what the one before wrote and layouts
change at the ends alone, or side by side. It is built with few and with many repeats; what the two
times differ by is free of what a run costs once.

The cost model is linear in its constants, so each probe is one equation,

    time per repeat = sum over constants of amount * constant,

whose amounts are what the cost model itself counts for the probe: asked with one constant at 1 and
the others at 0. The constants are the solution of all equations: with them, the model predicts the
times that were measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod, sqrt
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from compiler.cost.machine import Machine
from compiler.cost.model import CostModel, Precision
from compiler.graph.convert import infer_shapes, to_graph

Array: TypeAlias = NDArray[Any]  # Any: weights, scales and zero points
Build: TypeAlias = Callable[[int], onnx.ModelProto]
DType: TypeAlias = Literal["float32", "uint8"]
Shape: TypeAlias = tuple[int, ...]
Unit: TypeAlias = Literal["node", "byte", "element", "tap", "pixel", "multiply-accumulate"]

_OPSET: Final = 17
_IR: Final = 8
_SCALE: Final[Mapping[str, Array]] = MappingProxyType(
    {"scale": np.array(0.05, np.float32), "zero": np.array(128, np.uint8)}
)


_WEIGHTS: Final[Mapping[str, str]] = MappingProxyType({"w": "int8", "v": "uint8"})
"""Names of weights, and the types that int8 builds store them in; uint8 on the left of MatMul."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How one constant is measured.

    Args:
        unit: What the constant is the time of.
        build: Number of repeats -> model; its inputs may hold any values.
        repeats: Few and many.
        seen: The float graph that the cost model judges; None is what runs.
        precision: In which the cost model judges it.
        amount: Units per repeat of a constant that the cost model charges between two nodes; the
            equation then has it alone.
    """

    unit: Unit
    build: Build
    repeats: tuple[int, int] = (1, 4)
    seen: Build | None = None
    precision: Precision = "fp32"
    amount: int | None = None


def machine_of(nanoseconds: Mapping[str, float], source: str) -> Machine:
    """The constants that measured times amount to; none is negative.

    Args:
        nanoseconds: Time of one repeat of each probe, by the name of its constant.
        source: What was measured.
    """
    amounts = np.array([_amounts(name, probe) for name, probe in PROBES.items()])
    times = np.array([nanoseconds[name] for name in PROBES])
    found = np.maximum(np.linalg.solve(amounts, times), 0.0)
    return Machine(source, **dict(zip(PROBES, map(float, found), strict=True)))


def _amounts(name: str, probe: Probe) -> list[float]:
    """What one repeat of a probe counts of each constant."""
    if probe.amount is not None:
        return [float(probe.amount) if one == name else 0.0 for one in PROBES]
    few, many = (_graph((probe.seen or probe.build)(count)) for count in probe.repeats)
    amounts = []
    for constant in PROBES:
        alone = Machine("", **{one: float(one == constant) for one in PROBES})
        model = CostModel(alone, probe.precision)
        difference = model.milliseconds(many.nodes) - model.milliseconds(few.nodes)
        amounts.append(1e6 * difference / (probe.repeats[1] - probe.repeats[0]))
    return amounts


def _graph(model: onnx.ModelProto) -> gs.Graph:
    graph = to_graph(model)
    infer_shapes(graph)
    return graph


def _conv(channels: int, size: int, *, kernel: int = 3, group: int = 1) -> Build:
    """A chain of convolutions."""
    weight = _weight((channels, channels // group, kernel, kernel), axis=0)
    pads = [kernel // 2] * 4

    def build(repeats: int) -> onnx.ModelProto:
        return _model(
            [
                helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=pads, group=group)
                for i in range(repeats)
            ],
            {"x0": ("float32", (1, channels, size, size))},
            {f"x{repeats}": "float32"},
            {"w": weight},
        )

    return build


def _hourglass(repeats: int) -> onnx.ModelProto:
    """A chain of MaxPool, a small Conv, and linear Resize back to the size before."""
    channels, factor = _FIRST[1], [4, 4]
    nodes = []
    for i in range(repeats):
        pooled, mixed, output = f"p{i}", f"c{i}", f"x{i + 1}"
        nodes += [
            helper.make_node("MaxPool", [f"x{i}"], [pooled], kernel_shape=factor, strides=factor),
            helper.make_node("Conv", [pooled, "w"], [mixed]),
            helper.make_node("Resize", [mixed, "", "scales"], [output], mode="linear"),
        ]
    return _model(
        nodes,
        {"x0": ("float32", _FIRST)},
        {f"x{repeats}": "float32"},
        {
            "w": _weight((channels, channels, 1, 1), axis=0),
            "scales": np.array([1, 1, *factor], np.float32),
        },
    )


def _matmul(rows: int, columns: int) -> Build:
    """A chain of products with one square matrix."""
    weight = _weight((columns, columns), axis=1)

    def build(repeats: int) -> onnx.ModelProto:
        return _model(
            [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(repeats)],
            {"x0": ("float32", (rows, columns))},
            {f"x{repeats}": "float32"},
            {"w": weight},
        )

    return build


def _left_matmul(rows: int, columns: int) -> Build:
    """A chain of products whose constant, never negative, is the left operand."""
    weight = np.abs(_weight((rows, rows), axis=0))

    def build(repeats: int) -> onnx.ModelProto:
        return _model(
            [helper.make_node("MatMul", ["v", f"x{i}"], [f"x{i + 1}"]) for i in range(repeats)],
            {"x0": ("float32", (rows, columns))},
            {f"x{repeats}": "float32"},
            {"v": weight},
        )

    return build


def _scaled(shape: Shape) -> Build:
    """A chain of products with one constant per channel, channels last."""
    weight = np.abs(_weight((shape[-1],), axis=0))

    def build(repeats: int) -> onnx.ModelProto:
        return _model(
            [helper.make_node("Mul", [f"x{i}", "v"], [f"x{i + 1}"]) for i in range(repeats)],
            {"x0": ("float32", shape)},
            {f"x{repeats}": "float32"},
            {"v": weight},
        )

    return build


def _weight(shape: Shape, axis: int) -> Array:
    """Seeded values that keep the scale of what they are applied to; `axis` is of the outputs."""
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(shape, np.float32)
    return values / np.float32(sqrt(prod(shape) / shape[axis]))


def _in_int8(build: Build) -> Build:
    """The same graphs between QuantizeLinear and DequantizeLinear, as int8 builds write them."""

    def convert(repeats: int) -> onnx.ModelProto:
        model = build(repeats)
        constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            (output,) = node.output
            operands = []
            for name in node.input:
                if name in _WEIGHTS or (name and name not in constants):
                    own = [f"{name}_scale", f"{name}_zero"]
                    scale = own if name in _WEIGHTS else ["scale", "zero"]
                    operands.append(f"{output}.{name}")
                    nodes.append(
                        helper.make_node("DequantizeLinear", [name, *scale], operands[-1:])
                    )
                else:
                    operands.append(name)
            inner = onnx.NodeProto()
            inner.CopyFrom(node)
            inner.input[:], inner.output[:] = operands, [f"{output}.float"]
            rounded = [inner.output[0], "scale", "zero"]
            nodes += [inner, helper.make_node("QuantizeLinear", rounded, [output])]
        return _model(
            nodes,
            {one.name: ("uint8", _shape(one)) for one in model.graph.input},
            {one.name: "uint8" for one in model.graph.output},
            {**constants, **_SCALE, **_stored(constants)},
        )

    return convert


def _stored(constants: Mapping[str, Array]) -> dict[str, Array]:
    """The weight among `constants` as integers, with scale and zero point."""
    (name,) = constants.keys() & _WEIGHTS.keys()
    dtype = np.dtype(_WEIGHTS[name])
    scale = np.abs(constants[name]).max() / np.iinfo(dtype).max
    return {
        name: np.rint(constants[name] / scale).astype(dtype),
        f"{name}_scale": np.array(scale, np.float32),
        f"{name}_zero": np.array(0, dtype),
    }


def _shape(tensor: onnx.ValueInfoProto) -> Shape:
    return tuple(size.dim_value for size in tensor.type.tensor_type.shape.dim)


@dataclass(frozen=True, slots=True)
class _Branch:
    """An operator between graph inputs of its own and a graph output.

    Args:
        op: Operator type.
        reads: Element type and shape of each input.
        writes: Element type of the output.
        constants: The constant inputs that follow; "" for one that is left out.
        attributes: Of the operator.
    """

    op: str
    reads: tuple[tuple[DType, Shape], ...]
    writes: DType
    constants: Mapping[str, Array] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)  # Any: values of ONNX attributes


def _side_by_side(*branches: _Branch) -> Build:
    """A repeat is one of each branch."""

    def build(repeats: int) -> onnx.ModelProto:
        nodes = []
        inputs: dict[str, tuple[DType, Shape]] = {}
        outputs: dict[str, DType] = {}
        constants: dict[str, Array] = {}
        for number, branch in enumerate(branches * repeats):
            names = [f"x{number}_{i}" for i in range(len(branch.reads))]
            inputs.update(zip(names, branch.reads, strict=True))
            outputs[f"y{number}"] = branch.writes
            constants.update(branch.constants)
            operands = [*names, *branch.constants]
            nodes.append(helper.make_node(branch.op, operands, [f"y{number}"], **branch.attributes))
        return _model(nodes, inputs, outputs, constants)

    return build


def _transpose(shape: Shape, *order: int) -> _Branch:
    return _Branch("Transpose", (("uint8", shape),), "uint8", attributes={"perm": order})


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[DType, Shape]],
    outputs: Mapping[str, DType],
    constants: Mapping[str, Array],
) -> onnx.ModelProto:
    def declare(name: str, dtype: DType, shape: Shape | None) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "probe",
        [declare(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [declare(name, dtype, None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items() if name],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)


def _float(build: Build) -> Probe:
    return Probe("multiply-accumulate", build)


def _integer(build: Build, unit: Unit = "multiply-accumulate") -> Probe:
    return Probe(unit, _in_int8(build), seen=build, precision="int8")


_MEBI: Final = 2**20
_FIRST: Final = (1, 64, 128, 128)  # channels first
_LAST: Final = (1, 128, 128, 64)

_DENSE: Final = _conv(256, 32)
_MATMUL: Final = _matmul(512, 1024)
_LEFT: Final = _left_matmul(32, 2**16)  # the size of a strip of an interpolation
_TRANSPOSED: Final = _side_by_side(
    _Branch(
        "ConvTranspose",
        (("float32", (1, 64, 64, 64)),),
        "float32",
        {"w": _weight((64, 64, 2, 2), axis=1)},
        {"strides": [2, 2]},
    )
)
_DEPTHWISE: Final = _conv(256, 64, kernel=7, group=256)  # large, so that arithmetic outweighs bytes

PROBES: Final[Mapping[str, Probe]] = MappingProxyType(
    {
        "conv_float": _float(_DENSE),
        "conv_int8": _integer(_DENSE),
        "matmul_float": _float(_MATMUL),
        "matmul_int8": _integer(_MATMUL),
        "matmul_int8_left": _integer(_LEFT),
        "col2im": Probe("element", _TRANSPOSED),
        # Many and few channels, neither of which the kernel computes in place.
        "gather_byte": _integer(_conv(62, 64), "byte"),
        "gather_tap": _integer(_conv(3, 64), "tap"),
        "depthwise_float": _float(_DEPTHWISE),
        "depthwise_int8": _integer(_DEPTHWISE),
        "byte": Probe(
            "byte",
            _side_by_side(
                _Branch("Concat", (("float32", _FIRST),) * 2, "float32", attributes={"axis": 1})
            ),
        ),
        "row_int8": _integer(_conv(16, 256, kernel=1), "pixel"),
        "multiply_int8": _integer(_scaled(_LAST), "element"),
        "shuffle_int8": Probe(
            "element",
            _side_by_side(_transpose((1, 80, 80, 2, 16), 0, 4, 3, 1, 2)),
            precision="int8",
        ),
        "transpose_int8": Probe(
            "element",
            _side_by_side(_transpose(_FIRST, 0, 2, 3, 1), _transpose(_LAST, 0, 3, 1, 2)),
            amount=2 * prod(_FIRST),
        ),
        "resize_float": Probe("element", _hourglass),
        "resize_plain": Probe(
            "element",
            _side_by_side(
                _Branch(
                    "Resize",
                    (("float32", (1, 64, 64, 64)),),
                    "float32",
                    {"": np.empty(0), "scales": np.array([1, 1, 2, 2], np.float32)},
                    {"mode": "linear"},
                )
            ),
        ),
        "resize_cubic": Probe(
            "element",
            _side_by_side(
                _Branch(
                    "Resize",
                    (("float32", (1, 16, 32, 32)),),
                    "float32",
                    {"": np.empty(0), "scales": np.array([1, 1, 2, 2], np.float32)},
                    {"mode": "cubic"},
                )
            ),
        ),
        "resize_int8": _integer(_hourglass, "element"),
        "quantize": Probe(
            "element",
            _side_by_side(
                _Branch("QuantizeLinear", (("float32", (_MEBI,)),), "uint8", _SCALE),
                _Branch("DequantizeLinear", (("uint8", (_MEBI,)),), "float32", _SCALE),
            ),
            amount=2 * _MEBI,
        ),
        "node": Probe("node", _conv(16, 2, kernel=1), (50, 250)),
    }
)
"""One entry per constant."""
