"""The float network on growing calibration data: when scales settle, and who sets extremes."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from calibration.growth import Growth, rank_leaders
from compiler.config.backend import Backend
from compiler.graph.convert import infer_shapes
from compiler.graph.query import readers
from compiler.pipeline.calibration_set import Watched
from compiler.pipeline.observation import observe_extremes
from compiler.pipeline.prepare import Prepared
from compiler.pipeline.quantizer import FALLBACK, Quantizer
from compiler.pipeline.samples import Samples
from compiler.pipeline.sessions import open_model, save_with_outputs
from compiler.quantize.equalize import equalization_tensors, equalize
from compiler.quantize.replace_reduce_mean import replace_reduce_mean

_MOVES: Final = frozenset({"Cast", "Identity", "Pad", "Reshape", "Resize", "Transpose"})
_SCALES: Final = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})


def watch_growth(
    prepared: Prepared,
    backend: Backend,
    samples: Samples,
    work: Path,
    on_sample: Callable[[int], None],
) -> Watched:
    """Observe what an int8 build of the network would, and look while samples are added.

    Args:
        prepared: The network; its graph is changed as such a build changes it.
        backend: Section of the build file.
        samples: Calibration data that can be used, in the order of the build.
        work: Folder for the networks that are run.
        on_sample: Called with the number of samples done.

    Raises:
        GraphError: The network cannot be run.
        CalibrationError: A sample cannot be used.
    """
    graph, options = prepared.graph, backend.quantize
    quantizer = Quantizer(graph, backend, prepared.kept_float, prepared.cost)
    if replace_reduce_mean(graph):
        infer_shapes(graph)
    if options.equalize and options.quantize_per_channel:
        equalize(graph, observe_extremes(graph, equalization_tensors(graph), samples, work))
    names = quantizer.plan()[0].observed
    model = work / "watched.onnx"
    save_with_outputs(graph, names, model, work / "watched.params")
    growth = Growth(len(samples.calibration), fraction=options.calibrate_range)
    with open_model(model) as run:
        feeds = samples.feeds(samples.calibration)
        for done, (sample, one) in enumerate(zip(samples.calibration, feeds, strict=True), start=1):
            tensors = {**one, **run(one)}
            growth.add(sample.name, ((name, tensors[name]) for name in names))
            on_sample(done)
    extremes = growth.extremes()
    mode = options.calibrate_mode
    return Watched(
        FALLBACK if mode == "auto" else mode,
        len(names),
        growth.settling(),
        extremes,
        rank_leaders(extremes),
    )


def reads_levels(graph: gs.Graph) -> bool:
    """Whether a network scales values of 0 to 255 itself: it reads bytes, or begins with that."""
    tensors = list(graph.inputs)
    if any(tensor.dtype == np.uint8 for tensor in tensors):
        return True
    while tensors:
        nodes = readers(tensors.pop())
        if any(node.op in _SCALES for node in nodes):
            return True
        tensors += [node.outputs[0] for node in nodes if node.op in _MOVES]
    return False
