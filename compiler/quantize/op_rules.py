"""What int8 means for each operator, as ONNX Runtime 1.31 fuses it on a CPU.

A row is a fact, not a decision: `plan` decides. An operator that is absent has no integer
kernel and stays float: ConvTranspose, Sub, Div, HardSwish, HardSigmoid, Tanh, Erf, Gelu, PRelu,
InstanceNormalization, LayerNormalization, SpaceToDepth, cubic Resize. ReduceMean is absent too;
`replace_reduce_mean` turns its usual form into GlobalAveragePool beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import numpy as np
import onnx_graphsurgeon as gs


class ScaleFrom(Enum):
    """Where the scale of a tensor comes from."""

    OWN = "calibrated"
    INPUT = "input 0 of its node: values pass unchanged, a second scale would only add rounding"
    UNION = "all inputs of its node, which it covers"
    UNIT = "[0, 1] by definition"
    BYTES = "8-bit values as they are: scale 1, zero point 0"
    VALUES = "a constant"
    NONE = "not a quantity: indices"


class Kernel(Enum):
    """What runs between DequantizeLinear and QuantizeLinear."""

    INTEGER = "an integer kernel"
    BY_HAND = "the float operator itself, placed on the uint8 tensor"
    FUSED = "nothing: the QuantizeLinear that follows does the same"
    FLOAT = "the float kernel, yet its output may keep the scale of its input"


Condition = Callable[[gs.Node], str | None]
"""A reason why a row does not hold for a node, or None."""


@dataclass(frozen=True, slots=True)
class OpRule:
    """One row; numbers are ONNX input positions.

    Args:
        acts: Activations, one scale per tensor; empty means every input.
        weight: Constant with one scale per output channel.
        axis: The output-channel axis of `weight` (Gemm: see `weight_axis`).
        bias: int32 constant, scale = scale(acts[0]) * scale(weight).
        output: Where the output's scale comes from.
        kernel: What the session runs.
        heavy: Worth quantizing its inputs for. The others join when their neighbours are integer.
        float_output: Can return float32, so that no output scale is needed.
        constants: Activations may be constants, stored as uint8.
        when: All must hold.
    """

    acts: tuple[int, ...] = (0,)
    weight: int | None = None
    axis: int = 0
    bias: int | None = None
    output: ScaleFrom = ScaleFrom.OWN
    kernel: Kernel = Kernel.INTEGER
    heavy: bool = False
    float_output: bool = False
    constants: bool = False
    when: tuple[Condition, ...] = ()


def _constant_weight(node: gs.Node) -> str | None:
    if not isinstance(node.inputs[1], gs.Constant):
        return f"its weight '{node.inputs[1].name}' is not a constant"
    return None


def _constant_bias(node: gs.Node) -> str | None:
    if len(node.inputs) < 3 or node.inputs[2].is_empty():
        return None
    if not isinstance(node.inputs[2], gs.Constant):
        return f"its bias '{node.inputs[2].name}' is not a constant"
    if node.inputs[2].values.ndim != 1:
        return f"its bias '{node.inputs[2].name}' is not a vector"
    return None


def _plain_gemm(node: gs.Node) -> str | None:
    if node.attrs.get("transA", 0) or any(
        node.attrs.get(factor, 1.0) != 1.0 for factor in ("alpha", "beta")
    ):
        return "only Gemm with alpha = beta = 1 and transA = 0 has an integer kernel"
    return None


def _matrix_weight(node: gs.Node) -> str | None:
    if (reason := _constant_weight(node)) is not None:
        return reason
    dimensions = node.inputs[1].values.ndim
    return None if dimensions == 2 else f"its weight has {dimensions} dimensions, not 2"


def _variable_right(node: gs.Node) -> str | None:
    right = node.inputs[1]
    return f"'{right.name}' is a constant" if isinstance(right, gs.Constant) else None


def _mode(*modes: str) -> Condition:
    def check(node: gs.Node) -> str | None:
        mode = node.attrs.get("mode", "nearest")
        crops = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if crops:
            return "tf_crop_and_resize puts values outside the input"
        return None if mode in modes else f"{mode} Resize has no integer kernel"

    return check


def _pads_with_known_values(node: gs.Node) -> str | None:
    if node.attrs.get("mode", "constant") != "constant":
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or value.is_empty():
        return None
    if not isinstance(value, gs.Constant) or float(value.values.reshape(-1)[0]) != 0.0:
        return "it pads with a value other than the constant 0"
    return None


def _constant_only_with_its_indices(node: gs.Node) -> str | None:
    values, indices = node.inputs
    if isinstance(values, gs.Constant) and not isinstance(indices, gs.Constant):
        return f"'{values.name}' is a constant"
    return None


def _one_output(node: gs.Node) -> str | None:
    return None if len(node.outputs) == 1 else "its second output is float or an index"


def _every_output_read(node: gs.Node) -> str | None:
    unread = [tensor.name for tensor in node.outputs if not tensor.outputs]
    return f"nothing reads its output '{unread[0]}'" if unread else None


def _starts_at_zero(node: gs.Node) -> str | None:
    bounds = clip_bounds(node)
    if bounds is None:
        return "its bounds are not constants"
    return None if bounds[0] == 0.0 < bounds[1] else f"its lower bound is {bounds[0]:g}, not 0"


def _averages_as_float(node: gs.Node) -> str | None:
    if any(step != 1 for step in node.attrs.get("dilations", ())):
        return "a dilated AveragePool has no integer kernel"
    if node.attrs.get("ceil_mode", 0) and node.attrs.get("count_include_pad", 0):
        return "with ceil_mode and count_include_pad the integer kernel divides by another count"
    return None


_SAME = (OpRule(output=ScaleFrom.INPUT),)
_PAIR = (OpRule(acts=(0, 1), constants=True),)
_FUSED = OpRule(kernel=Kernel.FUSED)

OP_RULES: Mapping[str, tuple[OpRule, ...]] = MappingProxyType(
    {
        # Several rows of one operator: the first whose conditions hold.
        # Weight layouts: Conv (O, I/g, *kernel), MatMul (I, O), Gemm (I, O) or transposed (O, I).
        "Conv": (OpRule(weight=1, bias=2, heavy=True, when=(_constant_weight, _constant_bias)),),
        "Gemm": (
            OpRule(
                weight=1,
                bias=2,
                heavy=True,
                float_output=True,
                when=(_plain_gemm, _matrix_weight, _constant_bias),
            ),
        ),
        "MatMul": (
            OpRule(weight=1, axis=1, heavy=True, float_output=True, when=(_matrix_weight,)),
            OpRule(
                acts=(0, 1),
                heavy=True,
                float_output=True,
                constants=True,
                when=(_variable_right,),
            ),
        ),
        "Add": _PAIR,
        "Mul": _PAIR,
        "Where": (OpRule(acts=(1, 2), constants=True),),
        "Concat": (OpRule(acts=(), output=ScaleFrom.UNION, constants=True),),
        "AveragePool": (OpRule(when=(_averages_as_float,)),),
        "GlobalAveragePool": (OpRule(),),
        "LeakyRelu": (OpRule(),),
        "Sigmoid": (OpRule(output=ScaleFrom.UNIT),),
        "Softmax": (OpRule(output=ScaleFrom.UNIT),),
        # A quantizer with zero point 0 clips at 0, and at 255 * scale.
        "Relu": (_FUSED,),
        "Clip": (OpRule(kernel=Kernel.FUSED, when=(_starts_at_zero,)),),
        "MaxPool": (OpRule(output=ScaleFrom.INPUT, when=(_one_output,)),),
        "ReduceMax": _SAME,
        "Transpose": _SAME,
        "Reshape": _SAME,
        "Flatten": _SAME,
        "Squeeze": _SAME,
        "Unsqueeze": _SAME,
        "Slice": _SAME,
        "Split": (OpRule(output=ScaleFrom.INPUT, when=(_every_output_read,)),),
        # Between DequantizeLinear and QuantizeLinear, what only reads constants is not folded.
        "Gather": (
            OpRule(
                output=ScaleFrom.INPUT,
                kernel=Kernel.BY_HAND,
                constants=True,
                when=(_constant_only_with_its_indices,),
            ),
        ),
        "Expand": _SAME,
        "DepthToSpace": _SAME,
        # Between DequantizeLinear and QuantizeLinear it would stay float.
        "Pad": (
            OpRule(output=ScaleFrom.INPUT, kernel=Kernel.BY_HAND, when=(_pads_with_known_values,)),
        ),
        "ArgMax": (OpRule(output=ScaleFrom.NONE),),
        # The linear kernel on uint8 truncates and takes twice the time of the float one.
        "Resize": (
            OpRule(output=ScaleFrom.INPUT, when=(_mode("nearest"),)),
            OpRule(output=ScaleFrom.INPUT, kernel=Kernel.FLOAT, when=(_mode("nearest", "linear"),)),
        ),
    }
)


def find_rule(node: gs.Node) -> tuple[OpRule | None, str]:
    """Row that describes a node.

    Returns:
        The row and an empty string, or None and the reason why the node stays float.
    """
    reason = f"{node.op} has no integer kernel"
    for rule in OP_RULES.get(node.op, ()):
        problems = [problem for check in rule.when if (problem := check(node)) is not None]
        problem = problems[0] if problems else _unfit_activation(node, rule)
        if problem is None:
            return rule, ""
        reason = problem
    return None, reason


def activations(node: gs.Node, rule: OpRule) -> list[gs.Tensor]:
    """Inputs of `node` that carry activations, in input order."""
    return [node.inputs[i] for i in rule.acts] if rule.acts else list(node.inputs)


def weight_axis(node: gs.Node, rule: OpRule) -> int:
    """Output-channel axis of the weight of `node`."""
    return 1 - int(node.attrs.get("transB", 0)) if node.op == "Gemm" else rule.axis


def clip_bounds(node: gs.Node) -> tuple[float, float] | None:
    """Constant lower and upper bound of a Clip (opset 11 form), or None."""
    bounds = [-np.inf, np.inf]
    for position, tensor in enumerate(node.inputs[1:3]):
        if tensor.is_empty():
            continue
        if not isinstance(tensor, gs.Constant) or tensor.values.size != 1:
            return None
        bounds[position] = float(tensor.values.item())  # shape () or, as some exporters write, (1,)
    return bounds[0], bounds[1]


def _unfit_activation(node: gs.Node, rule: OpRule) -> str | None:
    tensors = activations(node, rule)
    for tensor in tensors:
        if tensor.dtype is None or np.dtype(tensor.dtype) != np.float32:
            return f"'{tensor.name}' is not known to be float32"
        if isinstance(tensor, gs.Constant) and not rule.constants:
            return f"'{tensor.name}' is a constant"
    by_hand = rule.kernel is Kernel.BY_HAND
    if not by_hand and all(isinstance(tensor, gs.Constant) for tensor in tensors):
        return "all its inputs are constants"
    return None
