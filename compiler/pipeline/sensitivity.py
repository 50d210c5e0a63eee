"""Compare the int8 network with the float one, layer by layer, in one pass over few samples."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_graphsurgeon as gs

from compiler.cost.work import work_of
from compiler.graph.convert import save_model
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import open_model
from compiler.quantize.comparison import (
    accumulated_name,
    compared_layers,
    comparison_graph,
    isolated_name,
)
from compiler.quantize.plan import Int8Plan
from compiler.verify.metrics import Agreement
from compiler.verify.result import TensorFigures
from compiler.verify.sensitivity import LayerSensitivity, Part, layer_sensitivities

SENSITIVITY_SAMPLES = 2
"""Samples that the pipeline measures with: layers differ by far more than samples do."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Where an int8 network loses its accuracy.

    Args:
        layers: One entry per layer with integer arithmetic, in graph order.
        tensors: Accumulated error of every tensor with a range of its own, in graph order.
    """

    layers: tuple[LayerSensitivity, ...] = ()
    tensors: tuple[TensorFigures, ...] = ()


def measure_sensitivity(
    graph: gs.Graph, quantized: gs.Graph, plan: Int8Plan, feeds: Sequence[Feeds], work: Path
) -> Sensitivity:
    """Error that each layer adds, and error that has come so far.

    Args:
        graph: The float graph that `plan` was made for.
        quantized: Its QDQ form.
        plan: Of both.
        feeds: Samples, few.
        work: Folder for the graph that compares.

    Raises:
        GraphError: ONNX Runtime cannot run it.
    """
    layers = compared_layers(graph, plan)
    if not layers:
        return Sensitivity()
    model = work / "sensitivity.onnx"
    save_model(comparison_graph(graph, quantized, plan), model, work / "sensitivity.params")
    found: dict[str, Agreement] = defaultdict(Agreement)
    with open_model(model) as run:
        for one in feeds:
            for name, sums in run(one).items():
                found[name].add_sums(*sums.ravel().tolist())
    macs = {node.name: _macs(node) for node in graph.nodes}
    parts = [
        Part(
            layer=layer.origin,
            op=layer.op,
            tensor=layer.output,
            isolated=found[isolated_name(layer.node)],
            accumulated=found[accumulated_name(layer.output)],
            macs=macs[layer.node],
        )
        for layer in layers
    ]
    tensors = [TensorFigures.of(name, found[accumulated_name(name)]) for name in plan.observed]
    return Sensitivity(layer_sensitivities(parts), tuple(tensors))


def _macs(node: gs.Node) -> int:
    work = work_of(node)
    return 0 if work is None else work.macs
