"""Reductions of tensors to their channels, computed by the network itself."""

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from compiler.graph.convert import check_model, infer_shapes, to_bytes, to_graph, to_model
from compiler.graph.reductions import Reduction, reduce_to_channels
from tests.support.models import model_from_text, random_feeds, run

NETWORK = """
<ir_version: 8, opset_import: ["" : OPSET]>
g (float[2, 3, 5, 4] image, float[2, 6] row) => (float[2, 3, 5, 4] out, float[2, 6] other)
{ half = Relu(image)
  out = Sigmoid(half)
  other = Tanh(row) }"""


def _graph(opset: int) -> gs.Graph:
    graph = to_graph(model_from_text(NETWORK.replace("OPSET", str(opset))))
    infer_shapes(graph)
    return graph


PLAIN: dict[Reduction, Any] = {"ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min}
AXES = {"half": 1, "image": 3, "row": -1, "out": -3}


@pytest.mark.parametrize("reduction", PLAIN)
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_the_network_returns_one_number_per_channel(reduction: Reduction, opset: int) -> None:
    graph = _graph(opset)
    names = reduce_to_channels(graph, reduction, AXES)
    assert list(names) == list(AXES)
    wider = to_model(graph)
    check_model(wider)
    feeds = random_feeds(wider)
    found: dict[str, NDArray[np.float32]] = dict(
        zip([one.name for one in graph.outputs], run(wider, feeds), strict=True)
    )
    values = {**feeds, "half": np.maximum(feeds["image"], 0), "out": found["out"]}
    for name, axis in AXES.items():
        array = np.moveaxis(values[name], axis, 0).reshape(values[name].shape[axis], -1)
        expected = PLAIN[reduction](array, axis=1)
        np.testing.assert_allclose(found[names[name]], expected, rtol=1e-5, atol=1e-6)


def test_names_that_are_taken_are_left_alone() -> None:
    graph = _graph(17)
    once = reduce_to_channels(graph, "ReduceMax", {"half": 1})
    again = reduce_to_channels(graph, "ReduceMax", {"half": 2})
    assert once["half"] != again["half"]
    shapes = {one.name: list(one.shape) for one in graph.outputs}
    assert (shapes[once["half"]], shapes[again["half"]]) == ([3], [5])
    check_model(to_model(graph))


def test_nothing_to_reduce_changes_nothing() -> None:
    graph = _graph(17)
    before = to_bytes(to_model(graph))
    assert reduce_to_channels(graph, "ReduceMean", {}) == {}
    assert to_bytes(to_model(graph)) == before
