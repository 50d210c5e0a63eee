"""Known reasons why 8 bits lose accuracy, each recognised by figures that show it.

Every function looks for one of them and returns what it found, in the names of the original
network. A layer's "levels" are how many of the 256 integers a range can use.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from calibration.ranges import TensorRange
from compiler.graph.query import origin_of, producer
from compiler.quantize.op_rules import ScaleFrom
from compiler.quantize.parameters import constants_of, tensor_parameters
from compiler.quantize.plan import Form, Int8Plan, TensorPlan
from compiler.quantize.weights import as_rows

TrapKind = Literal["concat", "depthwise", "tail", "data"]

CONCAT_LEVELS: Final = 16
"""An input of a Concat that is left with fewer levels has less than 4 of 8 bits."""

CHANNEL_LEVELS: Final = 8
"""A channel with fewer levels has less than 3 bits."""

UNEVEN_SHARE: Final = 0.25
"""Share of the channels with fewer levels from which on a depthwise layer counts as uneven."""

OWN_NOISE: Final = 0.5
"""Share of the output's noise from which on a tail is said to make most of it."""


@dataclass(frozen=True, slots=True)
class Trap:
    """A known trap that a network is in.

    Args:
        kind: Which.
        layers: Names in the original network.
        evidence: The figures that show it, as a sentence.
        advice: What helps.
    """

    kind: TrapKind
    layers: tuple[str, ...]
    evidence: str
    advice: str


def concat_traps(
    graph: gs.Graph, plan: Int8Plan, ranges: Mapping[str, TensorRange]
) -> tuple[Trap, ...]:
    """Concats whose inputs have so different ranges that their common scale drowns one.

    Args:
        graph: Float graph that `plan` was made for.
        plan: Of it.
        ranges: One per tensor of `plan.observed`, by tensor name.
    """
    constants = constants_of(graph, plan)
    tensors = graph.tensors()
    common = tensor_parameters(plan, ranges, constants)
    # A Concat's inputs may have its scale already: their own one is what a plan without it gives.
    unjoined = {name: replace(tensor, joins=()) for name, tensor in plan.tensors.items()}
    own = tensor_parameters(replace(plan, tensors=unjoined), ranges, constants)
    traps = []
    for node in _integer_nodes(graph, plan):
        if plan.tensors.get(node.outputs[0].name, _NONE).source is not ScaleFrom.UNION:
            continue
        scale = common[node.outputs[0].name].scale
        levels = {
            tensor.name: 255 * min(1.0, own[tensor.name].scale / scale)
            for tensor in node.inputs
            if tensor.name in own
        }
        poor = {name: count for name, count in levels.items() if count < CONCAT_LEVELS}
        if poor and len(levels) > 1:
            told = ", ".join(
                f"{count:.0f} for '{layer_of(tensors[name])}'" for name, count in poor.items()
            )
            widest = layer_of(tensors[max(levels, key=lambda name: levels[name])])
            traps.append(
                Trap(
                    "concat",
                    (origin_of(node.name),),
                    f"its inputs share one scale, which '{widest}' fills: of 256 levels there are "
                    f"left {told}",
                    "keep it in float (exclude_layers), with the layers that read it",
                )
            )
    return tuple(traps)


def layer_of(tensor: gs.Tensor) -> str:
    """Name of the layer of the original network that makes a tensor; its own without one."""
    maker = producer(tensor)
    return str(tensor.name) if maker is None else origin_of(maker.name)


def depthwise_tensors(graph: gs.Graph, plan: Int8Plan) -> tuple[str, ...]:
    """8-bit tensors around depthwise layers, of which `depthwise_traps` needs the extremes."""
    names = (name for _, tensors in _depthwise(graph, plan) for name in tensors)
    return tuple(dict.fromkeys(names))


def depthwise_traps(
    graph: gs.Graph,
    plan: Int8Plan,
    ranges: Mapping[str, TensorRange],
    extremes: Mapping[str, NDArray[np.float32]],
) -> tuple[Trap, ...]:
    """Depthwise layers with channels so uneven that one scale drowns many of them.

    Args:
        graph: Float graph that `plan` was made for.
        plan: Of it.
        ranges: One per tensor of `plan.observed`, by tensor name.
        extremes: Smallest and largest value per channel, shape (2, channels), of the tensors of
            `depthwise_tensors`.
    """
    parameters = tensor_parameters(plan, ranges, constants_of(graph, plan))
    traps = []
    for node, tensors in _depthwise(graph, plan):
        found = list[str]()
        for name in tensors:
            low, high = extremes[name].astype(np.float64)
            widths = np.maximum(high, 0) - np.minimum(low, 0)
            what = "its input" if name == node.inputs[0].name else "its output"
            found += _uneven(what, widths / parameters[name].scale)
        if not plan.options.per_channel:
            largest = np.abs(as_rows(node.inputs[1].values, 0)).max(axis=1).astype(np.float64)
            # Signed weights have 127 levels on each side of 0.
            found += _uneven("its weights", 254 * largest / (largest.max() or 1.0))
        if found:
            traps.append(
                Trap(
                    "depthwise",
                    (origin_of(node.name),),
                    f"its channels are uneven: {'; '.join(found)}",
                    "set equalize and quantize_per_channel, or keep it in float (exclude_layers)",
                )
            )
    return tuple(traps)


def tail_layers(graph: gs.Graph, plan: Int8Plan, heads: frozenset[str]) -> tuple[str, ...]:
    """The last layers with weights, and what computes on integers between them and an output.

    Args:
        graph: Float graph that `plan` was made for.
        plan: Of it.
        heads: Last layers with weights, names in the original network.

    Returns:
        Names in the original network, in graph order; empty if none runs on integers.
    """
    behind: set[str] = set()
    waiting = [producer(tensor) for tensor in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node.name in behind:
            continue
        behind.add(node.name)
        if origin_of(node.name) not in heads:
            waiting += [producer(tensor) for tensor in node.inputs]
    tail = [node for node in _integer_nodes(graph, plan) if node.name in behind]
    return tuple(dict.fromkeys(origin_of(node.name) for node in tail))


def tail_trap(
    graph: gs.Graph, layers: Sequence[str], noise: float, noise_in_float: float
) -> Trap | None:
    """The network's last layers, if their own rounding makes most of the output's noise.

    Args:
        graph: Float graph.
        layers: Of `tail_layers`.
        noise: Noise-to-signal ratio of the int8 network's output.
        noise_in_float: The same with `layers` in float.
    """
    if not layers or not noise_in_float < (1 - OWN_NOISE) * noise:
        return None
    ops = dict.fromkeys(node.op for node in graph.nodes if origin_of(node.name) in layers)
    share = 1 - noise_in_float / noise
    return Trap(
        "tail",
        tuple(layers),
        f"the network ends in {', '.join(ops)} on integers, whose own rounding makes {share:.0%} "
        "of the output's noise",
        "keep it in float (exclude_layers); calibrate_mode: auto does where it costs little",
    )


def _uneven(what: str, levels: NDArray[np.float64]) -> Iterator[str]:
    """A sentence, if many of the channels that are not always 0 have few levels."""
    alive = levels[levels > 0]
    few = int(np.count_nonzero(alive < CHANNEL_LEVELS))
    if alive.size and few >= UNEVEN_SHARE * alive.size and few:
        yield (
            f"{few} of {alive.size} channels of {what} use fewer than {CHANNEL_LEVELS} of 256 "
            f"levels, the median one {np.median(alive):.0f}"
        )


def _depthwise(graph: gs.Graph, plan: Int8Plan) -> Iterator[tuple[gs.Node, list[str]]]:
    """Depthwise convolutions on integers, each with its 8-bit input and output."""
    outputs = {node.node: node.output for node in plan.integer_nodes}
    for node in _integer_nodes(graph, plan):
        if node.op == "Conv" and int(node.attrs.get("group", 1)) == node.inputs[0].shape[1] > 1:
            around = [node.inputs[0].name, outputs[node.name]]
            yield node, [name for name in around if name in plan.tensors]


def _integer_nodes(graph: gs.Graph, plan: Int8Plan) -> Iterator[gs.Node]:
    integer = {node.node for node in plan.nodes if node.form is Form.INTEGER}
    return (node for node in graph.nodes if node.name in integer)


_NONE: Final = TensorPlan(ScaleFrom.NONE)
