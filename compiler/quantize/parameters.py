"""From calibrated ranges to the scale and zero point of every uint8 tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from calibration.ranges import TensorRange
from compiler.quantize.op_rules import ScaleFrom
from compiler.quantize.plan import Int8Plan, TensorPlan

LEVELS = 255
WIDE_LEVELS = 65535


@dataclass(frozen=True, slots=True)
class Parameters:
    """real = scale * (integer - zero_point), integer in [0, levels].

    Args:
        scale: > 0, a float32 value.
        zero_point: In [0, levels].
        levels: 255 for uint8, 65535 for uint16.
    """

    scale: float
    zero_point: int
    levels: int = LEVELS

    @property
    def low(self) -> float:
        """Smallest real value."""
        return -self.scale * self.zero_point

    @property
    def high(self) -> float:
        """Largest real value."""
        return self.scale * (self.levels - self.zero_point)

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        """Element type of the integers."""
        return np.uint8 if self.levels == LEVELS else np.uint16

    def round(self, values: NDArray[np.float32]) -> NDArray[np.uint8 | np.uint16]:
        """The nearest integers, in any shape."""
        scaled = np.rint(values / np.float32(self.scale)) + self.zero_point
        # NumPy makes a number, not an array, of an array without axes.
        return np.asarray(np.clip(scaled, 0, self.levels), self.dtype)


UNIT = Parameters(1 / 256, 0)
BYTES = Parameters(1.0, 0)


def tensor_parameters(
    plan: Int8Plan, ranges: Mapping[str, TensorRange], constants: Mapping[str, NDArray[np.float32]]
) -> dict[str, Parameters]:
    """Scale and zero point of every tensor of the plan.

    Args:
        plan: Of the graph.
        ranges: One per tensor of `plan.observed`; others are ignored.
        constants: Values of the constants among `plan.tensors`.

    Returns:
        Tensor name -> parameters, in the order of the plan.

    Raises:
        ValueError: A range is missing, or contradicts the Relu or Clip it stands for.
    """
    missing = [name for name in plan.observed if name not in ranges]
    if missing:
        raise ValueError(f"no calibrated range for {', '.join(map(repr, missing))}")
    found: dict[str, Parameters] = {}
    zeros = _never_anything_else(plan, ranges, constants)
    family: dict[str, str] = {}
    for name, tensor in plan.tensors.items():
        family[name] = family[tensor.of[0]] if tensor.source is ScaleFrom.INPUT else name
        if tensor.source is ScaleFrom.OWN:
            found[name] = _calibrated(name, tensor, ranges[name])
        elif tensor.source is ScaleFrom.VALUES:
            found[name] = of_constant(constants[name])
        elif tensor.source is ScaleFrom.UNIT:
            found[name] = UNIT
        elif tensor.source is ScaleFrom.BYTES:
            found[name] = BYTES
        elif tensor.source is ScaleFrom.UNION:
            roots = [family[member] for member in tensor.of]
            found[name] = _union([found[root] for root in roots if root not in zeros] or [UNIT])
    # Last Concat first: a Concat that only feeds another one hands the common scale on.
    for name, tensor in reversed(list(plan.tensors.items())):
        for member in tensor.joins:
            if _allows(plan.tensors[member], found[name]):
                found[member] = found[name]
    return {name: found[root] for name, root in family.items()}


def wide_parameters(
    plan: Int8Plan, ranges: Mapping[str, TensorRange], parameters: Mapping[str, Parameters]
) -> dict[str, Parameters]:
    """Scale and zero point of every tensor of 16 bits.

    So fine a scale has no need to clip: it covers all that was observed, or all that the tensor
    can be as uint8 where its range is that of another tensor.

    Args:
        plan: Of the graph.
        ranges: As for `tensor_parameters`.
        parameters: What that returned.
    """
    names = dict.fromkeys(name for one in plan.wide.values() for name in one.inputs + one.outputs)
    return {
        name: covering(ranges[name].minimum, ranges[name].maximum, WIDE_LEVELS)
        if name in ranges
        else covering(parameters[name].low, parameters[name].high, WIDE_LEVELS)
        for name in names
    }


def covering(low: float, high: float, levels: int = LEVELS) -> Parameters:
    """Parameters whose range holds `low`, `high` and 0.

    Source: Jacob et al. 2018, section 2.1; the zero point is an integer, so that 0 is exact.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / levels))
    zero_point = round(-low / scale) if scale > 0 else 0
    return Parameters(scale if scale > 0 else 1.0, min(zero_point, levels), levels)


def of_constant(values: NDArray[np.float32]) -> Parameters:
    """Parameters of a constant: those that round it least, exactly where that is possible.

    Interpolation weights are often multiples of one fraction, such as 1/4 and 3/4; among the scales
    that put the largest value on one of the upper half of the levels there is one that hits all.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    numbers = np.unique(values.astype(np.float64)) / (high or 1)
    if low < 0 or high == 0 or numbers.size > LEVELS:
        return covering(low, high)
    levels = np.arange(LEVELS, LEVELS // 2, -1)
    scaled = numbers[:, None] * levels
    errors = np.abs(scaled - np.rint(scaled)).max(0) / levels
    return Parameters(float(np.float32(high / levels[int(errors.argmin())])), 0)


def _calibrated(name: str, tensor: TensorPlan, measured: TensorRange) -> Parameters:
    if tensor.zero_based and measured.zero_point != 0:
        raise ValueError(
            f"'{name}' is never negative, yet its zero point is {measured.zero_point}, not 0"
        )
    scale = min(float(measured.scale), tensor.upper / LEVELS)
    return Parameters(float(np.float32(scale)), int(measured.zero_point))


def _never_anything_else(
    plan: Int8Plan, ranges: Mapping[str, TensorRange], constants: Mapping[str, NDArray[np.float32]]
) -> set[str]:
    """Tensors of zeros: whatever their scale, they need no room in a common one."""
    observed = {name for name in plan.observed if ranges[name].minimum == ranges[name].maximum == 0}
    return observed | {name for name, values in constants.items() if not values.any()}


def _union(members: list[Parameters]) -> Parameters:
    if len(set(members)) == 1:
        return members[0]
    if not any(member.zero_point for member in members):
        return max(members, key=lambda member: member.scale)
    return covering(min(m.low for m in members), max(m.high for m in members))


def _allows(tensor: TensorPlan, parameters: Parameters) -> bool:
    """Whether the quantizer would still do the Relu or Clip it stands for."""
    if tensor.zero_based and parameters.zero_point != 0:
        return False
    return parameters.high <= tensor.upper * (1 + 1e-6)


def constants_of(graph: gs.Graph, plan: Int8Plan) -> dict[str, NDArray[np.float32]]:
    """Values of the constants that the plan stores as uint8."""
    return {
        tensor.name: np.asarray(tensor.values, dtype=np.float32)
        for tensor in graph.tensors().values()
        if isinstance(tensor, gs.Constant) and tensor.name in plan.tensors
    }
