import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.result import Skip
from compiler.passes.simplify_tail import simplify_tail
from tests.support.models import model_from_text, ops, run


def network(body: str, output: str = "int64[2, 1, 4, 5] y") -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 3, 4, 5] x) => ({output})
    <float half = {{0.5}}, float[1, 1, 1, 1] halves = {{0.5}}, float other = {{0.3}},
     float[4] scales = {{1.0, 1.0, 2.0, 2.0}}> {{ {body} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def argmax(before: str, axis: int = 1) -> str:
    return network(f"p = {before} y = ArgMax<axis = {axis}>(p)")


def threshold(before: str = "Sigmoid(x)", limit: str = "half") -> str:
    return network(f"p = {before} y = Greater(p, {limit})", "bool[2, 3, 4, 5] y")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (argmax("Softmax<axis = 1>(x)"), ["ArgMax"]),
        (argmax("Softmax<axis = -3>(x)"), ["ArgMax"]),
        (argmax("LogSoftmax<axis = 1>(x)", axis=-3), ["ArgMax"]),
        (argmax("Sigmoid(x)"), ["ArgMax"]),
        (threshold(), ["Greater"]),
        (threshold(limit="halves"), ["Greater"]),
    ],
)
def test_monotone_functions_before_the_end_are_left_out(text: str, left: list[str]) -> None:
    graph = graph_of(text)
    result = simplify_tail(graph)
    assert (result.changed, result.skipped, ops(graph)) == (1, [], left)
    after = to_model(graph)
    check_model(after)
    (actual,), (expected,) = run(after), run(model_from_text(text))
    np.testing.assert_array_equal(actual, expected)
    assert simplify_tail(graph).changed == 0


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 8))
@settings(max_examples=25, deadline=None)
def test_class_maps_are_equal_while_nothing_saturates(seed: int, scale: float) -> None:
    x = (scale * np.random.default_rng(seed).normal(size=(2, 3, 4, 5))).astype(np.float32)
    for text in (argmax("Softmax<axis = 1>(x)"), threshold()):
        graph = graph_of(text)
        simplify_tail(graph)
        (actual,) = run(to_model(graph), {"x": x})
        (expected,) = run(model_from_text(text), {"x": x})
        np.testing.assert_array_equal(actual, expected)


def test_where_softmax_saturates_the_largest_logit_wins() -> None:
    text = argmax("Softmax<axis = 1>(x)")
    graph = graph_of(text)
    simplify_tail(graph)
    x = np.zeros((2, 3, 4, 5), np.float32)
    x[:, 1], x[:, 2] = 1e-9, 2e-9  # one third each, in float32
    assert set(run(model_from_text(text), {"x": x})[0].flat) == {0}
    assert set(run(to_model(graph), {"x": x})[0].flat) == {2}


def test_another_reader_keeps_the_probabilities() -> None:
    text = network(
        "y = Softmax<axis = 1>(x) z = ArgMax<axis = 1>(y)",
        "float[2, 3, 4, 5] y, int64[2, 1, 4, 5] z",
    )
    graph = graph_of(text)
    assert simplify_tail(graph).changed == 1
    assert sorted(ops(graph)) == ["ArgMax", "Softmax"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (argmax("Softmax<axis = 3>(x)"), "Softmax and ArgMax go along different axes"),
        (argmax("Softmax(x)"), "Softmax and ArgMax go along different axes"),
        (threshold(limit="other"), "the threshold is not the constant 0.5"),
        (threshold(limit="x"), "the threshold is not the constant 0.5"),
        (
            threshold("Softmax<axis = 1>(x)"),
            "what exceeds a threshold after Softmax depends on every class",
        ),
    ],
)
def test_what_is_not_monotone_stays_with_a_reason(text: str, reason: str) -> None:
    graph = graph_of(text)
    before = ops(graph)
    result = simplify_tail(graph)
    assert result.skipped == [Skip("y", reason)]
    assert (result.changed, ops(graph)) == (0, before)


def test_without_a_known_rank_the_axes_cannot_be_compared() -> None:
    graph = to_graph(model_from_text(argmax("Softmax<axis = 1>(x)")))
    graph.inputs[0].shape = None
    assert simplify_tail(graph).skipped == [Skip("y", "the rank of 'x' is unknown")]


def test_argmax_stays_behind_a_resize() -> None:
    body = (
        's = Softmax<axis = 1>(x) p = Resize<mode = "linear">(s, , scales) y = ArgMax<axis = 1>(p)'
    )
    graph = graph_of(network(body, "int64[2, 1, 8, 10] y"))
    assert simplify_tail(graph).changed == 0
    assert ops(graph) == ["Softmax", "Resize", "ArgMax"]
