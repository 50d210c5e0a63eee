import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.hoist_activation import hoist_activation
from compiler.passes.result import Skip
from tests.support.models import model_from_text, ops, run


def graph_of(nodes: str, outputs: str = "float[?, ?, ?, ?] y") -> gs.Graph:
    graph = to_graph(
        model_from_text(f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 4, 6, 6] x, float dynamic) => ({outputs})
    <float[8, 4, 3, 3] w, float[8] b, float[8, 4, 3, 3] v, float low = {{-0.5}},
     float high = {{0.5}}, int64[4] shape = {{1, 8, 2, 8}},
     int64[1] one = {{1}}, int64[1] two = {{2}}>
    {{ {nodes} }}""")
    )
    infer_shapes(graph)
    return graph


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            "c = Conv(x, w, b) r = Reshape(c, shape) y = Relu(r)",
            ["Conv", "Relu", "Reshape"],
        ),
        (
            "c = Conv(x, w, b) d = Conv(x, v) k = Concat<axis = 3>(c, d) y = LeakyRelu(k)",
            ["Conv", "Conv", "LeakyRelu", "LeakyRelu", "Concat"],
        ),
        (
            "c = Conv(x, w, b) k = Concat<axis = 1>(c, c) y = Clip(k, low, high)",
            ["Conv", "Clip", "Concat"],
        ),
        (
            """c = Conv(x, w, b) d = Conv(x, v) a = Add(c, d) t = Transpose<perm = [0, 2, 3, 1]>(a)
            s = Slice(t, one, two, one) q = Transpose<perm = [0, 3, 1, 2]>(s)
            p = DepthToSpace<blocksize = 2>(q) y = Sigmoid(p)""",
            ["Conv"] * 2 + ["Add", "Sigmoid", "Transpose", "Slice", "Transpose", "DepthToSpace"],
        ),
    ],
)
def test_an_activation_moves_to_what_computes_its_values(nodes: str, expected: list[str]) -> None:
    graph = graph_of(nodes)
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 6)).astype(np.float32)
    feeds = {"x": x, "dynamic": np.zeros((), np.float32)}
    (before,) = run(to_model(graph), feeds)
    result = hoist_activation(graph)
    assert (result.changed, result.skipped) == (1, [])
    assert sorted(ops(graph)) == sorted(expected)
    infer_shapes(graph)
    check_model(to_model(graph))
    (after,) = run(to_model(graph), feeds)
    np.testing.assert_array_equal(after, before)
    assert hoist_activation(graph).changed == 0


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        (
            "c = Conv(x, w) r = Reshape(c, shape) y = Clip(r, dynamic)",
            "",
            "not constant: dynamic",
        ),
        (
            "c = Conv(x, w) r = Reshape(c, shape) y = Relu(r)",
            "float[?, ?, ?, ?] y, float[?, ?, ?, ?] r",
            "'r' has another reader",
        ),
        (
            "c = Conv(x, w) r = Reshape(c, shape) y = Relu(r) z = Abs(c)",
            "float[?, ?, ?, ?] y, float[?, ?, ?, ?] z",
            "'c' has another reader",
        ),
        (
            "r = Transpose<perm = [0, 2, 1, 3]>(x) y = Relu(r)",
            "",
            "'x' is not computed by Add, Conv, ConvTranspose, MatMul",
        ),
        (
            "m = Abs(x) r = Transpose<perm = [0, 2, 1, 3]>(m) y = Relu(r)",
            "",
            "'m' is not computed by Add, Conv, ConvTranspose, MatMul",
        ),
    ],
)
def test_what_must_stay_is_left_alone_and_reported(nodes: str, outputs: str, reason: str) -> None:
    graph = graph_of(nodes, outputs or "float[?, ?, ?, ?] y")
    before = sorted(ops(graph))
    result = hoist_activation(graph)
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])
    assert sorted(ops(graph)) == before


def test_an_activation_of_values_that_are_not_moved_is_not_even_reported() -> None:
    graph = graph_of("c = Conv(x, w) d = Relu(c) y = Relu(d)")
    result = hoist_activation(graph)
    assert (result.changed, result.skipped) == (0, [])
