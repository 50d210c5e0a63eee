"""Let the network compute in float16, except where float16 would break it.

1. A node computes in float16 when its op has a float16 form (read from the ONNX schema) whose
   outputs follow its inputs; its float32 initializers are rounded to float16.
2. A node stays in float32, with the reason, when its op overflows, loses digits or sorts
   (KEEP), computes scales of a Resize, sums too many elements, has an epsilon or a constant that
   rounds to 0, was observed near the largest float16, has a body (If, Loop, Scan), or has types
   that are unknown.
3. Single inputs stay in float32: scales and roi of Resize, the grid of GridSample (KEEP_INPUTS).
4. A node that reads one float tensor and yields none (Shape, ArgMax, Cast) takes either type.
5. Casts stand where the two meet, once per tensor, and at the inputs and outputs of the graph,
   which keep their types. A pair that would convert back and forth is left out.
6. Initializers are clamped to the largest float16, with a warning that names them. Values below
   the smallest normal float16, which many engines compute slowly or as 0, become 0 where that is
   harmless (see `_harmless`); another warning counts them.

Source: IEEE 754-2019 binary16: largest 65504, smallest normal 2^-14, smallest 2^-24.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import (
    is_graph_output,
    is_static,
    producer,
    replace_tensor,
    unique_name,
    why_not_replace,
)
from compiler.passes.result import PassResult, Skip

LARGEST = 65504.0
SMALLEST_NORMAL = 2.0**-14
SMALLEST = 6.0e-8  # 2^-24; smaller ones may round to 0
HEADROOM = 8  # of the largest float16 over observed magnitudes; other images may go further
LONGEST_SUM = 2**11  # from here on, adding 1 to a float16 sum of ones is lost
ROUNDING = 2.0**-11  # rounding to float16 changes a normal number by at most this share of it
NAMED = 3  # tensors that a warning names

_RANGE = "exponentials, logarithms and products leave the range of float16"
_SUM = "its sums of squares or products overflow in float16"
_ORDER = "it orders by value, and float16 makes ties"
_SCALE = "quantization scales need float32"
KEEP = MappingProxyType(
    {
        **dict.fromkeys(["Exp", "Log", "Pow", "Reciprocal", "Softplus", "Mish"], _RANGE),
        **dict.fromkeys(["Softmax", "LogSoftmax", "ReduceLogSum", "ReduceLogSumExp"], _RANGE),
        **dict.fromkeys(["ReduceSumSquare", "ReduceL2", "ReduceProd", "LpNormalization"], _SUM),
        **dict.fromkeys(["LpPool", "GlobalLpPool", "LRN", "Det", "CumSum"], _SUM),
        **dict.fromkeys(["MeanVarianceNormalization"], _SUM),
        **dict.fromkeys(["TopK", "NonMaxSuppression", "Unique"], _ORDER),
        **dict.fromkeys(["QuantizeLinear", "DequantizeLinear"], _SCALE),
        "RoiAlign": "its boxes are coordinates",
    }
)
KEEP_INPUTS = MappingProxyType({"Resize": (1, 2), "GridSample": (1,)})
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceL1", "GlobalAveragePool")
NORMS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
NOT_OBSERVED: Mapping[str, float] = MappingProxyType({})


def cast_float16(graph: gs.Graph, *, largest: Mapping[str, float] = NOT_OBSERVED) -> PassResult:
    """Let the network compute in float16, except where float16 would break it.

    Args:
        graph: After shape inference, which finds the element types; a node with an unknown one
            stays in float32. Inputs and outputs of the graph keep their types.
        largest: Observed largest magnitude of tensors, by name; what comes within a factor of
            HEADROOM of the largest float16, or is not finite, stays in float32.
    """
    result = PassResult("cast_float16")
    graph.toposort()
    scales = _scale_arithmetic(graph)
    plans = [_plan(graph, node, scales, largest) for node in graph.nodes]
    conversion = _Conversion(graph)
    for plan in [plan for plan in plans if not plan.takes_either]:
        if plan.reason:
            result.skipped.append(Skip(plan.node.outputs[0].name, plan.reason))
            conversion.keep(plan.node)
        else:
            conversion.convert(plan.node, plan.half_inputs)
            result.changed += 1
    conversion.drop_idle_casts()
    result.warnings.extend(conversion.weights.warnings())
    graph.cleanup().toposort()
    return result


@dataclass(frozen=True)
class _Plan:
    """What becomes of one node, decided before anything is converted.

    Args:
        node: The node.
        half_inputs: Positions of the float32 inputs that can become float16.
        takes_either: Case 4: it is left alone and reads what it finds.
        reason: Why it stays in float32; None if it does not.
    """

    node: gs.Node
    half_inputs: frozenset[int]
    takes_either: bool
    reason: str | None


def _plan(graph: gs.Graph, node: gs.Node, scales: set[str], largest: Mapping[str, float]) -> _Plan:
    half = _half_inputs(graph, node)
    reason = (
        _why_not_op(graph, node, half)
        or _why_not_scale(node, scales)
        or _why_not_sum(node)
        or _why_not_small(node)
        or _why_not_large(node, largest)
    )
    return _Plan(node, half, _takes_either(node, half), reason)


def _scale_arithmetic(graph: gs.Graph) -> set[str]:
    """Names of the float32 tensors that the scales and roi of a Resize are computed from."""
    resizes = [node for node in graph.nodes if node.op == "Resize"]
    pending = [tensor for node in resizes for tensor in node.inputs[1:3]]
    found: set[str] = set()
    while pending:
        tensor = pending.pop()
        if tensor.dtype == np.float32 and tensor.name not in found:
            found.add(tensor.name)
            source = producer(tensor)
            pending.extend([] if source is None else source.inputs)
    return found


def _floats(tensors: Sequence[gs.Tensor]) -> list[int]:
    """Positions of the float32 tensors."""
    return [position for position, tensor in enumerate(tensors) if tensor.dtype == np.float32]


def _unknown(node: gs.Node) -> list[str]:
    """Names of the tensors whose element type is unknown."""
    return [t.name for t in [*node.inputs, *node.outputs] if t.name and t.dtype is None]


def _takes_either(node: gs.Node, half_inputs: frozenset[int]) -> bool:
    """No float32 output, and at most one float32 input, which may as well be float16."""
    only = len(_floats(node.inputs)) == len(half_inputs) <= 1
    return only and not (_floats(node.outputs) or _unknown(node) or list(node.subgraphs()))


def _why_not_op(graph: gs.Graph, node: gs.Node, half_inputs: frozenset[int]) -> str | None:
    if unknown := _unknown(node):
        return f"the element type of '{unknown[0]}' is unknown"
    if list(node.subgraphs()):
        return "its body stays in float32"
    if node.op in KEEP:
        return KEEP[node.op]
    schema = _schema(graph, node)
    if schema is None:
        return f"no schema tells the types of {node.domain or 'onnx'} {node.op}"
    bound = {_formal(schema.inputs, position).type_str for position in half_inputs}
    outputs = {_formal(schema.outputs, position).type_str for position in _floats(node.outputs)}
    if not outputs <= bound:
        return "the type of its output does not follow an input that can be float16"
    return None


def _why_not_scale(node: gs.Node, scales: set[str]) -> str | None:
    computes = any(tensor.name in scales for tensor in node.outputs)
    return "a Resize takes its scales from it" if computes else None


def _why_not_sum(node: gs.Node) -> str | None:
    """Sums in float16 lose digits when long; a float32 sum gives its result in float16."""
    length = _sum_length(node)
    if length is None:
        return "the length of its sums is unknown"
    return f"it sums {length} values" if length > LONGEST_SUM else None


def _why_not_small(node: gs.Node) -> str | None:
    if node.attrs.get("epsilon", 1.0) < SMALLEST:
        return f"its epsilon {node.attrs['epsilon']:.2g} rounds to 0"
    for position in _floats(node.inputs):
        tensor = node.inputs[position]
        if isinstance(tensor, gs.Constant):
            values = np.abs(tensor.values)
            if values.any() and values.max() < SMALLEST:
                return f"'{tensor.name}' rounds to 0"
    return None


def _why_not_large(node: gs.Node, largest: Mapping[str, float]) -> str | None:
    for tensor in [*node.inputs, *node.outputs]:
        magnitude = largest.get(tensor.name, 0.0)
        if not magnitude <= LARGEST / HEADROOM:  # NaN is neither below nor above
            digits = np.format_float_positional(magnitude, 2, unique=False, fractional=False)
            return f"'{tensor.name}' reaches about {digits.rstrip('.')}"
    return None


def _sum_length(node: gs.Node) -> int | None:
    """Number of values that one output of a reduction or norm sums up; 0 for all other nodes."""
    if node.op == "AveragePool":
        return prod(map(int, node.attrs["kernel_shape"]))
    if node.op not in (*REDUCTIONS, *NORMS):
        return 0
    data, output = node.inputs[0], node.outputs[0]
    if not (is_static(data) and (node.op in NORMS or is_static(output))):
        return None
    shape: list[int] = list(data.shape)
    if node.op in REDUCTIONS:
        results: list[int] = list(output.shape)
        return prod(shape) // max(1, prod(results))
    if node.op == "InstanceNormalization":
        return prod(shape[2:])
    if node.op == "GroupNormalization":
        return prod(shape[1:]) // int(node.attrs["num_groups"])
    return prod(shape[node.attrs.get("axis", -1) :])


def _schema(graph: gs.Graph, node: gs.Node) -> onnx.defs.OpSchema | None:
    """Types of the op, from the standard domain only."""
    if node.domain or not onnx.defs.has(node.op):
        return None
    return onnx.defs.get_schema(node.op, graph.opset)


def _formal(
    formals: Sequence[onnx.defs.OpSchema.FormalParameter], position: int
) -> onnx.defs.OpSchema.FormalParameter:
    """Declaration of an actual parameter; the last one may stand for many (variadic)."""
    return formals[min(position, len(formals) - 1)]


def _half_inputs(graph: gs.Graph, node: gs.Node) -> frozenset[int]:
    """Positions of the float32 inputs that the schema lets become float16."""
    schema = _schema(graph, node)
    if schema is None:
        return frozenset()
    kept = KEEP_INPUTS.get(node.op, ())
    return frozenset(
        position
        for position in _floats(node.inputs)
        if position not in kept and "tensor(float16)" in _formal(schema.inputs, position).types
    )


class _Weights:
    """Rounds initializers to float16 and counts what that costs."""

    def __init__(self) -> None:
        self.clamped: dict[str, int] = {}
        self.tiny: dict[str, int] = {}
        self.total = self.flushed = 0

    def round(self, constant: gs.Constant, name: str) -> gs.Constant:
        values = constant.values
        if beyond := int(np.count_nonzero(np.abs(values) > LARGEST)):
            self.clamped[constant.name] = beyond
        half = np.asarray(np.clip(values, -LARGEST, LARGEST), np.float16)
        self.total += half.size
        magnitude = np.abs(half)
        tiny = (magnitude < SMALLEST_NORMAL) & (values != 0)
        if tiny.any():
            half[tiny & _harmless(magnitude, tiny)] = 0
            self.tiny[constant.name] = int(np.count_nonzero(tiny))
            self.flushed += int(np.count_nonzero(tiny & (half == 0)))
        return gs.Constant(name, half)

    def warnings(self) -> Iterator[str]:
        if self.clamped:
            yield (
                f"initializers clamped to ±{LARGEST:.0f}, with the number of values: "
                f"{_with_counts(self.clamped)}"
            )
        if self.tiny:
            count = sum(self.tiny.values())
            most = dict(sorted(self.tiny.items(), key=lambda item: -item[1])[:NAMED])
            yield (
                f"{count / self.total:.2%} of {self.total} initializer values are below "
                f"{SMALLEST_NORMAL:.2g}: {self.flushed} became 0, {count - self.flushed} lost "
                f"digits (subnormal); most in {_with_counts(most)}"
            )


def _harmless(magnitude: NDArray[np.float16], tiny: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the tiny values may become 0, position by position.

    Those of a row (along the first axis and along the second, of which one holds the channels of
    the output) may if together they are no more than rounding takes from the rest. Sums of
    float16 are exact in float64, so the answer does not depend on their order.
    """
    harmless = np.full(tiny.shape, magnitude.ndim > 0)  # a scalar has no rest
    for axis in range(min(2, magnitude.ndim)):
        others = tuple(i for i in range(magnitude.ndim) if i != axis)
        whole = magnitude.sum(axis=others, dtype=np.float64, keepdims=True)
        lost = magnitude.sum(axis=others, dtype=np.float64, keepdims=True, where=tiny)
        harmless &= lost <= ROUNDING * whole
    return harmless


def _with_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"'{name}' ({count})" for name, count in counts.items())


class _Conversion:
    """Rewrites nodes one by one in topological order; remembers every tensor's other type.

    Keyed by tensor name, which is unique in the graph.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self.graph = graph
        self.weights = _Weights()
        self.halves: dict[str, gs.Tensor] = {}
        self.singles: dict[str, gs.Tensor] = {}
        self.converted: set[str] = set()

    def convert(self, node: gs.Node, positions: frozenset[int]) -> None:
        """Let `node` compute in float16; `positions` are the inputs that become float16."""
        node.inputs = [
            self._half(tensor) if position in positions else self._single(tensor)
            for position, tensor in enumerate(node.inputs)
        ]
        node.outputs = [self._half_output(tensor) for tensor in list(node.outputs)]

    def keep(self, node: gs.Node) -> None:
        """Let `node`, and all inside its bodies, read float32."""
        node.inputs = [self._single(tensor) for tensor in node.inputs]
        for body in node.subgraphs(recursive=True):
            for inner in body.nodes:
                inner.inputs = [self._single(tensor) for tensor in inner.inputs]

    def drop_idle_casts(self) -> None:
        """Remove Casts of the network itself that now find the type they make."""
        for cast in [node for node in self.graph.nodes if node.op == "Cast"]:
            source, output = cast.inputs[0], cast.outputs[0]
            idle = source.dtype == output.dtype == np.float16
            if idle and why_not_replace(self.graph, output, source) is None:
                replace_tensor(self.graph, output, source)

    def _half(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.dtype != np.float32:
            return tensor
        if tensor.name not in self.halves:
            self.halves[tensor.name] = self._make_half(tensor)
        return self.halves[tensor.name]

    def _make_half(self, tensor: gs.Tensor) -> gs.Tensor:
        name = unique_name(self.graph, f"{tensor.name}_float16")
        if isinstance(tensor, gs.Constant):
            return self.weights.round(tensor, name)
        source = producer(tensor)
        if source is not None and source.op == "Cast" and source.inputs[0].dtype == np.float16:
            return source.inputs[0]  # float16 -> float32 -> float16 changes nothing
        return self._cast(tensor, gs.Variable(name, np.dtype(np.float16), tensor.shape))

    def _single(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.name not in self.converted:
            return tensor
        if tensor.name not in self.singles:
            name = unique_name(self.graph, f"{tensor.name}_float32")
            single = gs.Variable(name, np.dtype(np.float32), tensor.shape)
            self.singles[tensor.name] = self._cast(tensor, single)
        return self.singles[tensor.name]

    def _half_output(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.dtype != np.float32:
            return tensor
        if is_graph_output(self.graph, tensor):
            name = unique_name(self.graph, f"{tensor.name}_float16")
            half = gs.Variable(name, np.dtype(np.float16), tensor.shape)
            self.halves[tensor.name] = half
            self._cast(half, tensor)
            return half
        tensor.dtype = np.dtype(np.float16)
        self.converted.add(tensor.name)
        return tensor

    def _cast(self, source: gs.Tensor, target: gs.Tensor) -> gs.Tensor:
        node = gs.Node(
            "Cast",
            name=unique_name(self.graph, f"Cast_{target.name}"),
            attrs={"to": int(onnx.helper.np_dtype_to_tensor_dtype(target.dtype))},
            inputs=[source],
            outputs=[target],
        )
        self.graph.nodes.append(node)
        return target
