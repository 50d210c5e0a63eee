"""Fold a constant Pad into the Conv, AveragePool or MaxPool that reads it.

Only Pads that add to spatial axes, by 0 or more, in constant mode, for one reader:

1. Conv pads with 0: a Pad with 0 adds to its own pads.
2. AveragePool: a Pad with 0 is counted by the average. The same holds for the pool's own pads if
   count_include_pad = 1, which is set where the pool had no pads yet.
3. MaxPool pads with -inf: a Pad with -inf (or the lowest float: same for finite x) adds to its
   pads; so does a Pad with 0 if x cannot be negative, as every window holds one x at least.
4. Pools keep each pad below the kernel (ONNX Runtime insists, and 3 needs it), round down, and
   have no dilations; MaxPool yields no indices, whose numbering a Pad shifts.
5. auto_pad = SAME_* depends on the size of the input: left alone.
"""

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.query import constant_value, only_reader, producer, rank, readers
from compiler.passes.result import PassResult, Skip

FOLDS_INTO = ("Conv", "AveragePool", "MaxPool")
NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs", "Sqrt"})


@dataclass(frozen=True)
class _Padding:
    """Constant padding of the spatial axes, each tuple one entry per axis."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    value: float


def fuse_pad(graph: gs.Graph) -> PassResult:
    """Fold a constant Pad into the Conv or pool that reads it, where that is exact."""
    result = PassResult("fuse_pad")
    for pad in [node for node in graph.nodes if node.op == "Pad"]:
        output = pad.outputs[0]
        padding = _padding(pad)
        reason = padding if isinstance(padding, str) else _why_not(graph, pad, padding)
        if isinstance(padding, str) or reason:
            result.skipped.append(Skip(output.name, str(reason)))
        else:
            _fold(pad, padding)
            result.changed += 1
    graph.cleanup().toposort()
    return result


def _padding(pad: gs.Node) -> _Padding | str:
    """What `pad` adds, or why it is not constant padding of spatial axes."""
    if pad.attrs.get("mode", "constant") != "constant":
        return f"its mode is {pad.attrs['mode']}"
    given = [tensor for tensor in pad.inputs[1:] if tensor.name]
    dynamic = [tensor.name for tensor in given if not isinstance(tensor, gs.Constant)]
    if dynamic:
        return f"not constant: {', '.join(dynamic)}"
    absent = gs.Variable.empty()
    value, axes = (constant_value(tensor) for tensor in [*pad.inputs[2:], absent, absent][:2])
    amounts = pad.inputs[1].values.reshape(2, -1)
    axes_of_input = amounts.shape[1] if axes is None else rank(pad.inputs[0])
    if axes_of_input is None:
        return f"the rank of '{pad.inputs[0].name}' is unknown"
    both = np.zeros((2, axes_of_input), np.int64)
    both[:, slice(None) if axes is None else axes] = amounts
    if (both < 0).any():
        return "it crops: a pad is negative"
    if both[:, :2].any():
        return "it pads the batch or channel axis"
    begin, end = (tuple(side) for side in both[:, 2:].tolist())
    return _Padding(begin, end, 0.0 if value is None else float(value.reshape(())))


def _why_not(graph: gs.Graph, pad: gs.Node, padding: _Padding) -> str | None:
    reader = only_reader(graph, pad.outputs[0])
    if reader is None:
        return f"'{pad.outputs[0].name}' has another reader"
    if reader.op not in FOLDS_INTO or reader.inputs[0] is not pad.outputs[0]:
        return f"its reader {reader.op} cannot pad"
    if "SAME" in reader.attrs.get("auto_pad", ""):
        return f"{reader.op} pads by auto_pad = {reader.attrs['auto_pad']}"
    if reader.op == "Conv":
        return None if padding.value == 0 else f"it pads with {padding.value:g}, Conv with 0"
    return _why_not_pool(pad, padding, reader)


def _why_not_pool(pad: gs.Node, padding: _Padding, pool: gs.Node) -> str | None:
    attrs = pool.attrs
    if attrs.get("ceil_mode", 0) or any(step != 1 for step in attrs.get("dilations", [])):
        return f"{pool.op} rounds up or has dilations"
    if any(
        amount >= size
        for amount, size in zip(_total(padding, pool), 2 * list(attrs["kernel_shape"]), strict=True)
    ):
        return f"the pads would reach the kernel of {pool.op}"
    if pool.op == "AveragePool":
        if padding.value != 0:
            return f"it pads with {padding.value:g}, AveragePool with 0"
        if any(attrs.get("pads", [])) and not attrs.get("count_include_pad", 0):
            return "AveragePool does not count its own pads"
        return None
    if len(pool.outputs) > 1:
        return "MaxPool yields indices"
    if padding.value <= np.finfo(np.float32).min:
        return None
    if padding.value == 0 and _is_not_negative(pad.inputs[0]):
        return None
    return f"it pads with {padding.value:g}, MaxPool with -inf"


def _is_not_negative(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    if node is None or node.op != "Clip":
        return node is not None and node.op in NOT_NEGATIVE
    lowest = constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
    return lowest is not None and bool(lowest >= 0)


def _total(padding: _Padding, reader: gs.Node) -> list[int]:
    """Pads of `reader` after the fold, begins before ends."""
    added = [*padding.begin, *padding.end]
    return [a + b for a, b in zip(added, reader.attrs.get("pads", [0] * len(added)), strict=True)]


def _fold(pad: gs.Node, padding: _Padding) -> None:
    (reader,) = readers(pad.outputs[0])
    reader.attrs["pads"] = _total(padding, reader)
    reader.attrs.pop("auto_pad", None)
    if reader.op == "AveragePool":
        reader.attrs["count_include_pad"] = 1
    reader.inputs = [pad.inputs[0], *reader.inputs[1:]]
