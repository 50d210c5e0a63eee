import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_graph, to_graph, to_model
from compiler.passes.merge_duplicates import merge_duplicates
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run


def graph_of(body: str) -> gs.Graph:
    return to_graph(model_from_text(f'<ir_version: 8, opset_import: ["" : 17]> {body}'))


def test_equal_expressions_are_computed_once() -> None:
    graph = graph_of("""g (float[1, 2, 4, 4] x) => (float[1, 4, 2, 2] y)
    { a = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
      b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
      c = Relu(a) d = Relu(b) y = Concat<axis = 1>(c, d) }""")
    before = run(to_model(graph))

    result = merge_duplicates(graph)

    assert ops(graph) == ["MaxPool", "Relu", "Concat"]
    assert (result.changed, result.skipped) == (2, [])
    check_graph(graph)
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_constants_are_compared_by_content() -> None:
    graph = graph_of("""g (float[2] x) => (float[2] y)
    <float[2] one = {1.0, 2.0}, float[2] same = {1.0, 2.0}, float[2] other = {1.0, 3.0}>
    { a = Mul(x, one) b = Mul(x, same) c = Mul(x, other) y = Sum(a, b, c) }""")
    before = run(to_model(graph))
    assert merge_duplicates(graph).changed == 1
    assert ops(graph) == ["Mul", "Mul", "Sum"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_tensor_attributes_are_compared_by_content() -> None:
    graph = graph_of("""g (int64[1] n) => (float[N] y)
    { a = ConstantOfShape<value = float[1] {2.0}>(n) b = ConstantOfShape<value = float[1] {2.0}>(n)
      c = ConstantOfShape<value = float[1] {3.0}>(n) y = Sum(a, b, c) }""")
    assert merge_duplicates(graph).changed == 1
    assert len(graph.nodes) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Relu(x)", "Neg(x)"),
        ("Elu<alpha = 1.0>(x)", "Elu<alpha = 2.0>(x)"),
        ("Sub(x, z)", "Sub(z, x)"),
        ('Clip(x, "", one)', "Clip(x, one)"),
        ("Mul(x, one)", "Mul(x, ones)"),
        ("RandomNormalLike(x)", "RandomNormalLike(x)"),
        ("Dropout(x)", "Dropout(x)"),
        (
            "If (c) <then_branch = t () => (float[2] u) { u = Neg(x) },"
            " else_branch = e () => (float[2] v) { v = Abs(x) }>",
            "If (c) <then_branch = t () => (float[2] u) { u = Neg(x) },"
            " else_branch = e () => (float[2] v) { v = Exp(x) }>",
        ),
    ],
)
def test_what_differs_or_is_random_stays(first: str, second: str) -> None:
    graph = graph_of(f"""g (float[2] x, float[2] z, bool c) => (float[2] y)
    <float one = {{1.0}}, float[1] ones = {{1.0}}>
    {{ a = {first} b = {second} y = Add(a, b) }}""")
    result = merge_duplicates(graph)
    assert (result.changed, len(graph.nodes)) == (0, 3)


def test_a_duplicate_that_is_an_output_gives_its_name_to_the_first() -> None:
    graph = graph_of("""g (float[2] x) => (float[2] y, float[2] z)
    { a = Neg(x) y = Neg(x) z = Abs(a) }""")
    before = run(to_model(graph))
    assert merge_duplicates(graph).changed == 1
    assert ops(graph) == ["Neg", "Abs"]
    assert [tensor.name for tensor in graph.outputs] == ["y", "z"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_nodes_with_several_outputs_merge_all_of_them() -> None:
    graph = graph_of("""g (float[4] x) => (float[2] y)
    { a, b = Split(x) c, d = Split(x) y = Sum(a, b, c, d) }""")
    before = run(to_model(graph))
    assert merge_duplicates(graph).changed == 1
    assert ops(graph) == ["Split", "Sum"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_two_equal_outputs_stay_and_are_reported() -> None:
    graph = graph_of("g (float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Neg(x) }")
    result = merge_duplicates(graph)
    assert ops(graph) == ["Neg", "Neg"]
    assert result.skipped == [Skip("z", "'z' and 'y' are both graph outputs")]
