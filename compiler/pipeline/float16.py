"""How large the tensors of a float network become, so that float16 is kept from overflowing."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.graph.convert import save_model
from compiler.graph.query import DRAFTED
from compiler.pipeline.samples import Samples
from compiler.pipeline.sessions import open_model

MOST_SAMPLES: Final = 16
"""Samples to look at: the headroom that `cast_float16` keeps covers the others."""

NOT_OBSERVED_NOTE: Final = (
    "there is no calibration data: float16 is kept from what overflows by its operator alone; name "
    "images under dataset, and ranges decide for every tensor"
)

_ROLE: Final = f"{DRAFTED}largest"


def observe_largest(
    graph: gs.Graph, samples: Samples, work: Path, on_sample: Callable[[int], None]
) -> dict[str, float]:
    """Largest magnitude of every float32 tensor that the network computes or reads.

    The network computes them itself, one number per tensor and sample.

    Args:
        graph: After the float passes. It is not changed.
        samples: MOST_SAMPLES of the calibration data.
        work: Folder for the network that is observed.
        on_sample: Called with the number of samples done.

    Returns:
        Magnitude by tensor name, infinite where the network itself overflows.

    Raises:
        CalibrationError: A sample cannot be used.
        GraphError: The network cannot be run.
    """
    model = work / "largest.onnx"
    save_model(_with_magnitudes(graph), model, work / "largest.params")
    largest: dict[str, float] = {}
    with open_model(model) as run:
        for done, feeds in enumerate(samples.feeds(samples.calibration), start=1):
            for name, magnitude in run(feeds).items():
                own = name.removesuffix(_ROLE)
                largest[own] = max(largest.get(own, 0.0), float(magnitude))
            on_sample(done)
    return largest


def _with_magnitudes(graph: gs.Graph) -> gs.Graph:
    """A copy that returns nothing but max|x| of its float tensors, each as soon as it is there."""
    wider = graph.copy()
    nodes = list(wider.nodes)
    wider.nodes.clear()
    wider.outputs = []
    _append_magnitudes(wider, wider.inputs)
    for node in nodes:
        wider.nodes.append(node)
        _append_magnitudes(wider, node.outputs)
    return wider


def _append_magnitudes(graph: gs.Graph, tensors: Iterable[gs.Tensor]) -> None:
    for tensor in tensors:
        if not tensor.name or tensor.dtype != np.float32 or 0 in (tensor.shape or ()):
            continue
        size = gs.Variable(f"{tensor.name}{DRAFTED}size", np.float32, tensor.shape)
        largest = gs.Variable(f"{tensor.name}{_ROLE}", np.float32, ())
        graph.nodes += [
            gs.Node("Abs", f"{size.name}_node", inputs=[tensor], outputs=[size]),
            gs.Node("ReduceMax", f"{largest.name}_node", {"keepdims": 0}, [size], [largest]),
        ]
        graph.outputs.append(largest)
