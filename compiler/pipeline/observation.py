"""What calibration remembers of a float network: histograms of tensors, means of their channels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from calibration.collect import collect
from calibration.histogram import Histogram
from compiler.graph.reductions import reduce_to_channels
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.sessions import open_model, save_with_outputs
from compiler.verify.compare import Tensors

EXTREMES_SAMPLES: Final = 8
"""Samples behind the extremes of a channel: they only decide between powers of two."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One pass over the calibration samples.

    Args:
        histograms: By tensor name.
        means: Mean of each channel, float64 of shape (channels,), by tensor name.
    """

    histograms: Mapping[str, Histogram]
    means: Mapping[str, NDArray[np.float64]]


def observe(
    graph: gs.Graph,
    names: Sequence[str],
    axes: Mapping[str, int],
    samples: Samples,
    work: Path,
    on_sample: Callable[[int], None],
) -> Observation:
    """Run the float network once on every calibration sample.

    Args:
        graph: Not changed.
        names: Tensors whose values are counted.
        axes: Tensors whose channels are averaged -> their channel axis. The network does that
            itself: only one number per channel leaves it.
        samples: Calibration data.
        work: Folder for the network that is observed.
        on_sample: Called with the number of samples done.

    Raises:
        CalibrationError: A sample cannot be used.
        GraphError: The network cannot be run.
    """
    wider = graph.copy()
    averages = reduce_to_channels(wider, "ReduceMean", axes)
    model = work / "observed.onnx"
    save_with_outputs(wider, names, model, work / "observed.params")
    wanted = set(names)
    sums = {name: np.zeros(wider.tensors()[average].shape) for name, average in averages.items()}
    done = 0

    def counted(feeds: Feeds) -> Tensors:
        nonlocal done
        outputs = run(feeds)
        done += 1
        for name, average in averages.items():
            sums[name] += outputs[average]
        return {name: value for name, value in {**feeds, **outputs}.items() if name in wanted}

    with open_model(model) as run:
        histograms = collect(counted, samples.feeds(samples.calibration), on_sample=on_sample)
    return Observation(histograms, {name: total / done for name, total in sums.items()})


def observe_extremes(
    graph: gs.Graph, names: Iterable[str], samples: Samples, work: Path
) -> dict[str, NDArray[np.float32]]:
    """Smallest and largest value of each channel (axis 1) over a few samples, shape (2, channels).

    Args:
        graph: Not changed.
        names: Tensors of it.
        samples: Calibration data; EXTREMES_SAMPLES of them are used.
        work: Folder for the network that is observed.

    Raises:
        CalibrationError: A sample cannot be used.
        GraphError: The network cannot be run.
    """
    wider = graph.copy()
    axes = dict.fromkeys(names, 1)
    if not axes:
        return {}
    highest = reduce_to_channels(wider, "ReduceMax", axes)
    lowest = reduce_to_channels(wider, "ReduceMin", axes)
    wider.outputs = [tensor for tensor in wider.outputs if tensor.name not in graph.tensors()]
    model = work / "extremes.onnx"
    save_with_outputs(wider, [], model, work / "extremes.params")
    few = samples.spread(EXTREMES_SAMPLES)
    extremes: dict[str, NDArray[np.float32]] = {}
    with open_model(model) as run:
        for feeds in few.feeds(few.calibration):
            outputs = run(feeds)
            for name in axes:
                low, high = outputs[lowest[name]], outputs[highest[name]]
                known = extremes.get(name, np.stack([low, high]))
                extremes[name] = np.stack([np.minimum(known[0], low), np.maximum(known[1], high)])
    return extremes
