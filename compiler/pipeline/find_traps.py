"""Known traps of int8, looked for by running the network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from calibration.dataset import DatasetError, find_samples
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import CalibrationError
from compiler.graph.query import rank
from compiler.pipeline.auto import heads_of
from compiler.pipeline.observation import Observation, observe, observe_extremes
from compiler.pipeline.present import Present
from compiler.pipeline.samples import Samples
from compiler.quantize.data_trap import Evaluated, data_trap
from compiler.quantize.traps import (
    Trap,
    concat_traps,
    depthwise_tensors,
    depthwise_traps,
    layer_of,
    tail_layers,
    tail_trap,
)

COMPARED: Final = 4
"""Tensors of which calibration and evaluation are compared, the network's inputs included."""


def find_traps(present: Present, images: int) -> tuple[Trap, ...]:
    """Traps that a network is in.

    Args:
        present: The network.
        images: Most samples to compare calibration and evaluation on.
    """
    bench, graph, plan = present.bench, present.quantized.source, present.quantized.plan
    ranges = {one.name: one for one in present.quantized.ranges}
    with bench.scratch() as work:
        extremes = observe_extremes(graph, depthwise_tensors(graph, plan), bench.samples, work)
    found: list[Trap | None] = [
        *concat_traps(graph, plan, ranges),
        *depthwise_traps(graph, plan, ranges, extremes),
        _tail(present),
    ]
    evaluation = _evaluation_samples(bench.config, bench.samples, images)
    if evaluation is not None:
        found.append(_data(present, evaluation, images))
    return tuple(trap for trap in found if trap is not None)


def _tail(present: Present) -> Trap | None:
    opened, bench = present.opened, present.bench
    graph, plan = present.quantized.source, present.quantized.plan
    layers = tail_layers(graph, plan, frozenset(heads_of(opened.quantizer)))
    if not layers:
        return None
    in_float = opened.quantizer.quantize({**opened.floats, **dict.fromkeys(layers, "a trial")})
    left = bench.noise(in_float.graph, present.expected)
    return tail_trap(graph, layers, present.noise, left)


def _evaluation_samples(config: BuildConfig, samples: Samples, count: int) -> Samples | None:
    """The images that the task is measured on, prepared as calibration's; None without any."""
    accuracy = config.backend.quantize.accuracy
    data = accuracy.data if accuracy else None
    images = data.images if data else config.verify.images
    if images is None or samples.chain is None:
        return None
    key = "backend.quantize.accuracy.data" if data else "verify"
    folder = resolve_input(images, config.base_dir, where=f"{config.name}: {key}.images")
    try:
        files = find_samples(folder, suffix=None, count=count)
    except DatasetError as error:
        raise CalibrationError(error.what, where=error.where, fix=error.fix) from error
    return replace(samples, calibration=files)


def _data(present: Present, evaluation: Samples, count: int) -> Trap | None:
    graph, bench = present.quantized.source, present.bench
    tensors = graph.tensors()
    ranges = {one.name: one for one in present.quantized.ranges}
    names = _spread(graph, list(ranges))
    with bench.scratch() as work:
        calibrated = _observe(graph, names, bench.samples.spread(count), work)
        evaluated = _observe(graph, names, evaluation, work)
    none = np.empty(0)
    return data_trap(
        [
            Evaluated(
                layer_of(tensors[name]),
                ranges[name],
                calibrated.histograms[name],
                evaluated.histograms[name],
                calibrated.means.get(name, none),
                evaluated.means.get(name, none),
            )
            for name in names
        ]
    )


def _observe(graph: gs.Graph, names: Sequence[str], samples: Samples, work: Path) -> Observation:
    tensors = graph.tensors()
    axes = {name: 1 for name in names if (rank(tensors[name]) or 0) > 1}
    return observe(graph, names, axes, samples, work, lambda done: None)


def _spread(graph: gs.Graph, names: Sequence[str]) -> list[str]:
    """Inputs of the network among `names`, and others spread evenly over the rest."""
    inputs = [tensor.name for tensor in graph.inputs if tensor.name in names]
    others = [name for name in names if name not in inputs]
    free = max(COMPARED - len(inputs), 1)
    return inputs + others[:: max(1, -(-len(others) // free))]
