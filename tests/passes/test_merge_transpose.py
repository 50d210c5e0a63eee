import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.merge_transpose import merge_transpose
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'


def network(body: str, outputs: str = "float[?, ?, ?] y", weights: str = "float[1] k") -> str:
    return f"{HEAD} g (float[2, 3, 4] x) => ({outputs}) <{weights}> {{ {body} }}"


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_merges(text: str, left: list[str], changed: int = 1) -> gs.Graph:
    graph = graph_of(text)
    names = [tensor.name for tensor in graph.outputs]
    result = merge_transpose(graph)
    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (changed, [])
    assert [tensor.name for tensor in graph.outputs] == names
    assert_close(run(after), run(model_from_text(text)), rtol=0, atol=0)
    return graph


def test_two_transposes_become_one() -> None:
    graph = assert_merges(
        network("t = Transpose<perm = [1, 2, 0]>(x)  y = Transpose<perm = [0, 2, 1]>(t)"),
        ["Transpose"],
    )
    assert graph.nodes[0].attrs["perm"] == [1, 0, 2]


def test_three_transposes_become_one() -> None:
    body = """t = Transpose<perm = [1, 2, 0]>(x)  u = Transpose<perm = [0, 2, 1]>(t)
    y = Transpose<perm = [1, 2, 0]>(u)"""
    assert_merges(network(body), ["Transpose"], changed=2)


def test_transposes_that_cancel_leave_nothing() -> None:
    body = "r = Relu(x)  t = Transpose(r)  u = Transpose(t)  y = Neg(u)"
    assert_merges(network(body), ["Relu", "Neg"])


def test_an_output_keeps_its_name_when_its_transposes_cancel() -> None:
    body = "r = Relu(x)  t = Transpose<perm = [1, 2, 0]>(r)  y = Transpose<perm = [2, 0, 1]>(t)"
    assert_merges(network(body), ["Relu"])


def test_input_and_output_of_the_graph_stay_two_tensors() -> None:
    graph = assert_merges(network("t = Transpose(x)  y = Transpose(t)"), ["Transpose"])
    assert graph.nodes[0].attrs["perm"] == [0, 1, 2]


def test_a_tensor_between_that_is_read_elsewhere_stays_for_its_reader() -> None:
    body = "r = Relu(x)  t = Transpose(r)  u = Transpose(t)  y = Neg(u)  z = Abs(t)"
    outputs = "float[?, ?, ?] y, float[?, ?, ?] z"
    graph = assert_merges(network(body, outputs), ["Relu", "Transpose", "Neg", "Abs"])
    assert [node.inputs[0].name for node in graph.nodes] == ["x", "r", "r", "t"]


@pytest.mark.parametrize(
    "between",
    ["Relu(t)", "Mul(t, k)", "Sub(k, t)", "PRelu(t, k)", "Clip(t, low, )", "Cast<to=11>(t)"],
)
def test_elementwise_nodes_between_work_in_the_order_of_the_input(between: str) -> None:
    body = f"t = Transpose<perm = [1, 2, 0]>(x)  u = {between}  v = Transpose<perm = [2, 0, 1]>(u)"
    text = network(f"{body} y = Sign(v)", weights="float[1] k, float low = {0.1}")
    text = text.replace("float[?, ?, ?] y", "double[?, ?, ?] y") if "Cast" in between else text
    graph = assert_merges(text, [between.partition("(")[0].partition("<")[0], "Sign"])
    assert graph.nodes[0].outputs[0].shape == [2, 3, 4]


def test_several_elementwise_nodes_before_an_output_are_passed() -> None:
    body = "t = Transpose(x)  u = Relu(t)  v = Neg(u)  y = Transpose(v)"
    assert_merges(network(body), ["Relu", "Neg"])


def test_shapes_that_are_unknown_stay_unknown() -> None:
    text = network(
        "t = Transpose<perm=[2,1,0]>(x)  u = Relu(t)  v = Neg(u)  y = Transpose<perm=[2,1,0]>(v)"
    )
    graph = to_graph(model_from_text(text))
    assert graph.tensors()["u"].shape is None
    assert merge_transpose(graph).changed == 1
    assert graph.tensors()["u"].shape is None
    assert_close(run(to_model(graph)), run(model_from_text(text)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "t = Transpose<perm = [1, 2, 0]>(x) u = Relu(t) y = Transpose<perm = [1, 2, 0]>(u)",
            "the two permutations do not cancel",
        ),
        (
            "t = Transpose(x) u = Reshape(t, s) y = Transpose<perm = [1, 0]>(u)",
            None,
        ),
        ("t = Transpose(x) u = Add(t, w) y = Transpose(u)", None),
        ("t = Transpose(x) u = Relu(t) y = Transpose(u) z = Neg(u)", None),
        ("t = Transpose(x) u = Softmax(t) y = Transpose(u)", None),
        ("t = Transpose(x) u = Add(t, t) y = Transpose(u)", None),
    ],
)
def test_other_pairs_stay(body: str, reason: str | None) -> None:
    outputs = "float[?, ?] y" if "Reshape" in body else "float[?, ?, ?] y"
    outputs += ", float[?, ?, ?] z" if "z =" in body else ""
    weights = "float[4, 1, 1] w, int64[2] s = {4, 6}"
    graph = graph_of(network(body, outputs, weights))
    before = ops(graph)

    result = merge_transpose(graph)

    assert (result.changed, ops(graph)) == (0, before)
    assert result.skipped == ([Skip("y", reason)] if reason else [])


def test_transposes_of_unknown_rank_stay() -> None:
    graph = graph_of(network("t = Transpose(x)  y = Transpose<perm = [1, 2, 0]>(t)"))
    graph.inputs[0].shape = None
    reason = "the two permutations differ in length, or their length is unknown"
    assert merge_transpose(graph).skipped == [Skip("y", reason)]


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    first=st.permutations(range(4)),
    second=st.permutations(range(4)),
    relu=st.booleans(),
)
def test_random_pairs_keep_the_output(first: list[int], second: list[int], relu: bool) -> None:
    between = "u = Relu(t)" if relu else ""
    text = f"""{HEAD} g (float[2, 3, 4, 5] x) => (float[?, ?, ?, ?] y)
    {{ t = Transpose<perm = {list(first)}>(x) {between}
       y = Transpose<perm = {list(second)}>({"u" if relu else "t"}) }}"""
    graph = graph_of(text)
    result = merge_transpose(graph)
    cancel = [first[axis] for axis in second] == [0, 1, 2, 3]
    assert result.changed == (cancel or not relu)
    check_model(to_model(graph))
    assert_close(run(to_model(graph)), run(model_from_text(text)), rtol=0, atol=0)
