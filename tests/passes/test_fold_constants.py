import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_graph, infer_shapes, to_graph, to_model
from compiler.passes.fold_constants import fold_constants
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def graph_of(body: str) -> gs.Graph:
    graph = to_graph(model_from_text(f"{HEAD} {body}"))
    infer_shapes(graph)
    return graph


def test_a_chain_of_constants_becomes_one_constant() -> None:
    graph = graph_of("""g (float[4] x) => (float[4] y) <float[4] a, float[4] b>
    { s = Add(a, b) t = Neg(s) u = Exp(t) y = Mul(x, u) }""")
    before = run(to_model(graph))

    result = fold_constants(graph)

    assert ops(graph) == ["Mul"]
    assert (result.changed, result.skipped) == (3, [])
    check_graph(graph)
    assert_close(run(to_model(graph)), before, rtol=1e-6, atol=1e-6)


def test_the_shape_chain_of_an_exporter_becomes_a_constant_target() -> None:
    graph = graph_of("""g (float[2, 3, 4] x) => (float[2, 12] y)
    <int64 zero = {0}, int64[1] rest = {-1}>
    { s = Shape(x) n = Gather(s, zero)
      a = Constant<value = int64[1] {0}>() u = Unsqueeze(n, a)
      t = Concat<axis = 0>(u, rest) y = Reshape(x, t) }""")
    before = run(to_model(graph))

    result = fold_constants(graph)

    assert ops(graph) == ["Reshape"]
    assert result.changed == 4
    np.testing.assert_array_equal(graph.nodes[0].inputs[1].values, [2, -1])
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("node", "kind", "expected"),
    [
        ("Shape(x)", "int64[3]", [2, 3, 4]),
        ("Shape<start = 1>(x)", "int64[2]", [3, 4]),
        ("Shape<start = -2, end = -1>(x)", "int64[1]", [3]),
        ("Size(x)", "int64", 24),
    ],
)
def test_shape_and_size_are_numbers(node: str, kind: str, expected: object) -> None:
    graph = graph_of(f"g (float[2, 3, 4] x) => ({kind} y) {{ s = {node} y = Neg(s) }}")
    assert fold_constants(graph).changed == 1
    np.testing.assert_array_equal(graph.nodes[0].inputs[0].values, expected)


def test_absent_inputs_and_several_outputs_are_handled() -> None:
    graph = graph_of("""g (float[2] x) => (float[2] y, float[2] z)
    <float[4] w, float high = {0.5}>
    { c = Clip(w, "", high) a, b = Split(c) y = Add(x, a) z = Add(x, b) }""")
    before = run(to_model(graph))
    assert fold_constants(graph).changed == 2
    assert ops(graph) == ["Add", "Add"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_one_constant_read_twice_is_fed_once() -> None:
    graph = graph_of("g (float[2] x) => (float[2] y) <float[2] w> { s = Add(w, w) y = Add(x, s) }")
    before = run(to_model(graph))
    assert fold_constants(graph).changed == 1
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_a_result_that_would_grow_the_model_stays_and_is_reported() -> None:
    body = """g (float[1, 64, 64] x) => (float[1, 64, 64] y)
    <float one = {1.0}, int64[3] shape = {1, 64, 64}>
    { e = Expand(one, shape) y = Add(x, e) }"""
    graph = graph_of(body)
    result = fold_constants(graph, limit=1000)
    assert ops(graph) == ["Expand", "Add"]
    assert result.skipped == [Skip("e", f"would add {4 * 64 * 64 - 28} bytes to the model")]
    assert fold_constants(graph_of(body)).changed == 1


def test_a_large_result_of_unknown_shape_is_not_stored_either() -> None:
    graph = graph_of("""g (float[1, 64] x) => (float[1, 64] y) <int64[3] shape = {1, 64, 64}>
    { e = ConstantOfShape(shape) s = ReduceSum<keepdims = 0>(e) y = Add(x, s) }""")
    graph.tensors()["e"].shape = None
    result = fold_constants(graph, limit=1000)
    assert result.skipped == [Skip("e", f"would add {4 * 64 * 64 - 24} bytes to the model")]


def test_a_result_larger_than_memory_is_not_even_computed() -> None:
    graph = graph_of("""g (float[1] x) => (float[1, 1000000, 1000000, 1000] y)
    <int64[4] shape = {1, 1000000, 1000000, 1000}>
    { e = ConstantOfShape(shape) y = Add(x, e) }""")
    assert "would add 3999999999999968 bytes" in fold_constants(graph).skipped[0].reason


def test_a_result_smaller_than_its_inputs_is_always_stored() -> None:
    graph = graph_of("""g (float[40] x) => (float[40] y) <float[40, 40] w>
    { s = ReduceMax<axes = [0], keepdims = 0>(w) y = Add(x, s) }""")
    assert fold_constants(graph, limit=0).changed == 1


def test_graph_outputs_stay() -> None:
    graph = graph_of(
        "g (float[2] x) => (float[2] y, float[2] z) <float[2] w> { y = Relu(x) z = Neg(w) }"
    )
    result = fold_constants(graph)
    assert (result.changed, result.skipped) == (0, [Skip("z", "is a graph output")])
    assert ops(graph) == ["Relu", "Neg"]


@pytest.mark.parametrize(
    "node",
    [
        "r = RandomNormal<shape = [2]>()",
        "r = RandomNormalLike(w)",
        "q = QuantizeLinear(w, one) r = DequantizeLinear(q, one)",
        "r = If (true) <then_branch = t () => (float[2] u) { u = Neg(w) },"
        " else_branch = e () => (float[2] v) { v = Abs(w) }>",
    ],
)
def test_what_is_random_quantized_or_conditional_stays(node: str) -> None:
    graph = graph_of(f"""g (float[2] x) => (float[2] y)
    <float[2] w, float one = {{1.0}}, bool true = {{1}}> {{ {node} y = Add(x, r) }}""")
    before = ops(graph)
    assert fold_constants(graph).changed == 0
    assert ops(graph) == before


def test_shapes_that_are_not_known_stay() -> None:
    graph = graph_of("g (float[4] x) => (int64[2] y) { i = NonZero(x) y = Shape(i) }")
    assert fold_constants(graph).changed == 0


def test_what_the_reference_cannot_compute_is_reported() -> None:
    graph = graph_of("""g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
    <float[1, 1, 4, 4] w, float[1, 1, 9, 9] k> { c = MatMul(w, w) y = Add(x, c) }""")
    graph.nodes[0].op = "NotAnOperator"
    (skip,) = fold_constants(graph).skipped
    assert skip.where == "c"
    assert skip.reason.startswith("the ONNX reference cannot compute NotAnOperator: ")


def test_sequences_are_no_constants() -> None:
    graph = graph_of("""g (float[2] x) => (float[2] y) <float[2] w, int64 at = {0}>
    { s = SequenceConstruct(w, w) e = SequenceAt(s, at) y = Add(x, e) }""")
    result = fold_constants(graph)
    assert result.skipped == [Skip("s", "SequenceConstruct does not return tensors")]
