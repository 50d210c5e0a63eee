import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.result import Skip
from compiler.passes.split_prelu import split_prelu
from tests.support.models import model_from_text, ops, run


def network(slope: str = "4, 1, 1", node: str = "y = PRelu(x, s)", size: str = "6") -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 4, {size}, 5] x, float[4, 1, 1] dynamic) => (float[2, 4, {size}, 5] y)
    <float[{slope}] s, float[1] steep = {{-50.0}}> {{ {node} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


@pytest.mark.parametrize("slope", ["4, 1, 1", "1, 4, 1, 1", "1", "4, 6, 5"])
def test_four_operators_compute_the_same(slope: str) -> None:
    text = network(slope)
    graph = graph_of(text)
    result = split_prelu(graph)
    assert (result.changed, result.skipped) == (1, [])
    assert sorted(ops(graph)) == ["Add", "Mul", "Mul", "Relu"]
    after = to_model(graph)
    check_model(after)
    (actual,), (expected,) = run(after), run(model_from_text(text))
    assert np.abs(actual - expected).max() <= 1e-6 * np.ptp(expected)


@settings(max_examples=30, deadline=None)
@given(
    slopes=st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_any_slope_is_exact_to_rounding(slopes: list[float], scale: float) -> None:
    graph = graph_of(network())
    values = np.array(slopes, np.float32).reshape(4, 1, 1)
    graph.tensors()["s"].values = values
    split_prelu(graph)
    x = scale * np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
    (y,) = run(to_model(graph), {"x": x, "dynamic": values})
    expected = np.where(x >= 0, x, values * x)
    assert np.abs(y - expected).max() <= 1e-6 * np.abs(x).max() * (1 + np.abs(values).max())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(node="y = PRelu(x, dynamic)"), "its slope 'dynamic' is not constant"),
        (network(node="y = PRelu(x, steep)"), "its slope 50 is above 4"),
        (network(size="height"), "its shape is not static or its type not float32"),
    ],
)
def test_what_cannot_be_split_stays(text: str, reason: str) -> None:
    graph = graph_of(text)
    assert split_prelu(graph).skipped == [Skip("y", reason)]
    assert ops(graph) == ["PRelu"]


def test_other_types_than_float32_stay() -> None:
    node = "a = Cast<to = 11>(x) b = Cast<to = 11>(s) c = PRelu(a, b) y = Cast<to = 1>(c)"
    graph = graph_of(network(node=node))
    # The slope is a constant once constants are folded.
    cast = next(one for one in graph.nodes if one.outputs[0].name == "b")
    cast.outputs.clear()
    prelu = next(one for one in graph.nodes if one.op == "PRelu")
    prelu.inputs[1] = gs.Constant("folded", np.ones((4, 1, 1)))
    reason = "its shape is not static or its type not float32"
    assert split_prelu(graph).skipped == [Skip("c", reason)]


def test_the_output_of_a_subgraph_stays() -> None:
    """Its name belongs to the subgraph."""
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (bool which, float[2, 4] x) => (float[2, 4] y) <float[4] s>
    {
        p = PRelu(x, s)
        y = If (which) <then_branch = t () => (float[2, 4] a) { a = Identity(p) },
                        else_branch = e () => (float[2, 4] b) { b = Identity(x) }>
    }"""
    graph = graph_of(text)
    then = next(node for node in graph.nodes if node.op == "If").attrs["then_branch"]
    then.outputs = [graph.tensors()["p"]]
    assert split_prelu(graph).skipped == [Skip("p", "'p' is an output of a subgraph")]
