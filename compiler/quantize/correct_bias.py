"""Take from each bias what rounded weights add to the mean output of its layer.

With y = W x + b and W^ for the rounded W, the mean output moves by
    E[y^ - y] = (W^ - W) E[x]
which is known from the means of the input channels and is subtracted from b. A tap of a
convolution sees 0 instead of E[x] where it falls into the padding, so it counts by the share of the
positions at which it does not.

Nearest rounding errs by no more than the weight itself; the shift is therefore no larger than what
|W| makes of the mean, and needs no bound of its own. What clipped activations add to the mean is
left alone: it comes from few positions, and most others would lose by a correction.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
section 4.2; Finkelstein et al. 2019, Fighting Quantization Bias With Bias.
"""

from functools import reduce

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.quantize.conv_windows import windows_of
from compiler.quantize.op_rules import find_rule
from compiler.quantize.plan import Int8Plan
from compiler.quantize.weights import RoundedWeights, as_rows


def wanted_means(graph: gs.Graph, plan: Int8Plan) -> dict[str, int]:
    """Tensors whose channel means correct a bias, with their channel axis, in graph order.

    A tensor whose readers disagree on that axis is left out.
    """
    planned = {node.node for node in plan.integer_nodes} | plan.wide.keys()
    axes: dict[str, set[int]] = {}
    for node in graph.nodes:
        rule = find_rule(node)[0] if node.name in planned else None
        if rule is None or rule.weight is None:
            continue
        if rule.bias is not None or node.name in plan.biases:
            tensor = node.inputs[0]
            axis = 1 if node.op == "Conv" else len(tensor.shape) - 1
            axes.setdefault(tensor.name, set()).add(axis)
    return {name: found.pop() for name, found in axes.items() if len(found) == 1}


def correct_bias(
    node: gs.Node,
    weight: NDArray[np.float32],
    rounded: RoundedWeights,
    bias: NDArray[np.float32] | None,
    mean: NDArray[np.float64],
    *,
    axis: int,
) -> NDArray[np.float32] | None:
    """Bias under which rounded weights have the mean output of the float ones.

    Args:
        node: Conv, or Gemm or MatMul with a weight; of a Conv's input, height and width are known.
        weight: Its float weight.
        rounded: What stands for it.
        bias: Of the float network, shape (outputs,) or (1,), or None.
        mean: Mean of each channel of the node's input, shape (channels,).
        axis: Output-channel axis of `weight`.

    Returns:
        Corrected bias, shape (outputs,); `bias` as it is where there is nothing to correct or a
        mean is not finite.

    Raises:
        ValueError: `mean` has another shape.
    """
    if not np.isfinite(mean).all():
        return bias
    shift = _mean_error(node, weight, rounded, mean, axis)
    if not shift.any():
        return bias
    corrected = -shift if bias is None else bias.astype(np.float64) - shift
    return corrected.astype(np.float32)


def _mean_error(
    node: gs.Node,
    weight: NDArray[np.float32],
    rounded: RoundedWeights,
    mean: NDArray[np.float64],
    axis: int,
) -> NDArray[np.float64]:
    """E[y^ - y] per output channel, summed in a fixed order: no BLAS."""
    errors = as_rows(rounded.real(axis) - weight, axis)
    groups = int(node.attrs.get("group", 1)) if node.op == "Conv" else 1
    taps = _shares_inside(node) if node.op == "Conv" else np.ones(1)
    channels = groups * errors.shape[1] // taps.size
    if mean.shape != (channels,):
        raise ValueError(
            f"node '{node.name}': its input has {channels} channels, the means have shape "
            f"{mean.shape}"
        )
    inputs = (mean.reshape(groups, -1, 1) * taps).reshape(groups, 1, -1)
    shift = (errors.reshape(groups, -1, inputs.shape[2]) * inputs).sum(axis=2)
    return np.asarray(shift, np.float64).reshape(-1)


def _shares_inside(conv: gs.Node) -> NDArray[np.float64]:
    """Share of the positions at which a tap does not lie in the padding, taps in a row."""
    shares = [axis.shares_inside() for axis in windows_of(conv, conv.inputs[0].shape[2:])]
    joined: NDArray[np.float64] = reduce(np.multiply.outer, shares)
    return joined.reshape(-1)
