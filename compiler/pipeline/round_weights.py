"""`round_weights: adaptive`: see what layers multiply on a few samples, and round accordingly."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.pipeline.calibrate import int8_options
from compiler.pipeline.quantizer import Quantizer
from compiler.pipeline.samples import Samples
from compiler.pipeline.sessions import open_model, save_with_outputs
from compiler.pipeline.stored_arrays import load_arrays, save_arrays
from compiler.quantize.insert_qdq import round_to_nearest
from compiler.quantize.op_rules import find_rule, weight_axis
from compiler.quantize.parameters import constants_of, tensor_parameters
from compiler.quantize.plan import Int8Plan
from compiler.quantize.rounding import (
    MOST_COLUMNS,
    can_round_adaptively,
    columns,
    gram,
    round_adaptively,
)
from compiler.quantize.weights import RoundedWeights

ADAPT_SAMPLES: Final = 8
"""Samples that layers are seen on: positions of one are alike, those of several are not."""

GROUP_BYTES: Final = 256 << 20
"""Inputs of layers, and what is kept of them, that may be in memory at once."""

_VALUES, _SCALES, _LEVELS = "values.npz", "scales.npz", "levels.npz"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptableLayer:
    """A layer whose weights can be rounded by its inputs.

    Args:
        node: Of the float graph.
        weight: Its float weight.
        axis: Output-channel axis of it.
        scale: Of the node's input as uint8 if nothing is clipped, > 0.
    """

    node: gs.Node
    weight: NDArray[np.float32]
    axis: int
    scale: float

    @property
    def bytes(self) -> int:
        """Of its input and of its columns, at most."""
        groups = int(self.node.attrs.get("group", 1)) if self.node.op == "Conv" else 1
        inputs: int = groups * self.weight.size // self.weight.shape[self.axis]
        return self.weight.itemsize * int(prod(self.node.inputs[0].shape)) + MOST_COLUMNS * inputs


def adaptable_layers(quantizer: Quantizer) -> tuple[AdaptableLayer, ...]:
    """Layers to round adaptively, in graph order: those of the build file's lists or of no list.

    They do not depend on `calibrate_mode`, and hardly on the lists, so that weights rounded once
    serve builds with other ones.

    Args:
        quantizer: With the histograms of its plans.

    Raises:
        CalibrationError: A tensor never had a finite value.
    """
    scales: dict[str, dict[str, float]] = {}
    for plan in quantizer.plans():  # the one without lists comes last: it decides
        by_tensor = _scales(quantizer, plan)
        scales |= {node.node: by_tensor for node in plan.integer_nodes}
    return tuple(
        AdaptableLayer(node, weight, axis, scales[node.name][node.inputs[0].name])
        for node in quantizer.graph.nodes
        if node.name in scales
        for weight, axis in _weights(node)
        if can_round_adaptively(weight, axis=axis)
    )


def adapt_weights(
    quantizer: Quantizer,
    layers: Sequence[AdaptableLayer],
    samples: Samples,
    work: Path,
    on_layer: Callable[[int], None],
) -> dict[str, RoundedWeights]:
    """Round the weights of layers so that their outputs change least on the calibration data.

    Args:
        quantizer: Its graph is run in float, once per sample and group of layers.
        layers: Of `adaptable_layers`.
        samples: Calibration data; ADAPT_SAMPLES of them are used.
        work: Folder for the networks that are run.
        on_layer: Called with the number of layers done.

    Returns:
        By node name; a layer is missing where its weights have to be rounded to nearest.

    Raises:
        CalibrationError: A sample cannot be used.
        GraphError: The network cannot be run.
    """
    options = int8_options(quantizer.backend.quantize)
    found: dict[str, RoundedWeights] = {}
    done = 0
    for group in _groups(layers):
        seen = _observe(quantizer.graph, group, samples.spread(ADAPT_SAMPLES), work)
        for layer in group:
            name, weight, axis = layer.node.name, layer.weight, layer.axis
            inputs = np.concatenate(seen.pop(name), axis=-1)
            try:
                rounded = round_to_nearest(weight, axis, options)
                found[name] = round_adaptively(weight, rounded, gram(inputs), axis=axis)
            except ValueError as error:
                _LOG.info("%s: weights are rounded to nearest: %s", name, error)
            done += 1
            on_layer(done)
    return found


def write(folder: Path, weights: Mapping[str, RoundedWeights]) -> None:
    """Keep rounded weights, whatever the names.

    Raises:
        OSError: A file cannot be written.
    """
    save_arrays({name: one.values for name, one in weights.items()}, folder / _VALUES)
    save_arrays({name: one.scale for name, one in weights.items()}, folder / _SCALES)
    save_arrays({name: np.array(one.levels) for name, one in weights.items()}, folder / _LEVELS)


def read(folder: Path) -> dict[str, RoundedWeights]:
    """The weights that `write` has kept.

    Raises:
        ValueError: A file is not one of them.
        OSError: A file cannot be read.
    """
    values, scales, levels = (load_arrays(folder / part) for part in (_VALUES, _SCALES, _LEVELS))
    rows = zip(values.items(), scales.values(), levels.values(), strict=True)
    return {name: RoundedWeights(one, scale, int(most)) for (name, one), scale, most in rows}


def _scales(quantizer: Quantizer, plan: Int8Plan) -> dict[str, float]:
    """Scale of every uint8 tensor if nothing is clipped, whatever `calibrate_mode` says."""
    ranges = {range_.name: range_ for range_ in quantizer.ranges(plan, "max")}
    found = tensor_parameters(plan, ranges, constants_of(quantizer.graph, plan))
    return {name: parameters.scale for name, parameters in found.items()}


def _weights(node: gs.Node) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The weight of a node with its output-channel axis, if it has one."""
    rule, _ = find_rule(node)
    if rule is not None and rule.weight is not None:
        yield node.inputs[rule.weight].values, weight_axis(node, rule)


def _groups(layers: Iterable[AdaptableLayer]) -> Iterator[list[AdaptableLayer]]:
    """Layers in their order, GROUP_BYTES of them together."""
    group: list[AdaptableLayer] = []
    for layer in layers:
        if group and sum(one.bytes for one in [*group, layer]) > GROUP_BYTES:
            yield group
            group = []
        group.append(layer)
    if group:
        yield group


def _observe(
    graph: gs.Graph, layers: Sequence[AdaptableLayer], few: Samples, work: Path
) -> dict[str, list[NDArray[np.int8]]]:
    """Columns of each layer, one array per sample, by node name."""
    model = work / "inputs.onnx"
    names = dict.fromkeys(layer.node.inputs[0].name for layer in layers)
    save_with_outputs(graph, list(names), model, work / "inputs.params")
    count = MOST_COLUMNS // len(few.calibration)
    found: dict[str, list[NDArray[np.int8]]] = {layer.node.name: [] for layer in layers}
    with open_model(model) as run:
        for seed, feeds in enumerate(few.feeds(few.calibration)):
            tensors = {**feeds, **run(feeds)}
            for layer in layers:
                x = tensors[layer.node.inputs[0].name]
                found[layer.node.name].append(columns(layer.node, x, count, seed, layer.scale))
    return found
