import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.merge_reshape import merge_reshape
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def network(body: str, output: str, given: str = "float[1, 6, 1, 1] x") -> str:
    return f"""{HEAD} g ({given}) => ({output})
    <int64[2] flat = {{2, -1}}, int64[1] axes = {{0}}, int64[4] whole = {{1, 6, 1, 1}},
     int64[2] zero = {{0, -1}}> {{ {body} }}"""


def assert_merges(text: str, left: list[str], changed: int = 1) -> gs.Graph:
    graph = graph_of(text)
    result = merge_reshape(graph)
    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (changed, [])
    assert_close(run(after), run(model_from_text(text)), rtol=0, atol=0)
    return graph


@pytest.mark.parametrize("first", ["Reshape(x, zero)", "Flatten(x)", "Squeeze(x, axes)"])
@pytest.mark.parametrize(
    ("second", "shape"),
    [
        ("Reshape(t, flat)", [2, 3]),
        ("Flatten<axis = 0>(t)", [1, 6]),
        ("Unsqueeze(t, axes)", None),
    ],
)
def test_a_pair_becomes_one_reshape(first: str, second: str, shape: list[int] | None) -> None:
    rank = "?, ?" if shape else ", ".join("?" * (4 if "Squeeze" in first else 3))
    text = network(f"t = {first}  y = {second}", f"float[{rank}] y")
    graph = assert_merges(text, ["Reshape"])
    assert graph.outputs[0].name == "y"
    assert graph.nodes[0].inputs[0].name == "x"
    assert not shape or graph.nodes[0].inputs[1].values.tolist() == shape


def test_a_chain_becomes_one_reshape() -> None:
    body = "t = Flatten(x)  u = Unsqueeze(t, axes)  y = Reshape(u, flat)"
    assert_merges(network(body, "float[2, 3] y"), ["Reshape"], changed=2)


def test_a_chain_back_to_the_first_shape_goes() -> None:
    body = "r = Relu(x)  t = Flatten(r)  u = Reshape(t, whole)  y = Neg(u)"
    assert_merges(network(body, "float[1, 6, 1, 1] y"), ["Relu", "Neg"])


def test_input_and_output_of_the_graph_stay_two_tensors() -> None:
    text = network("t = Flatten(x)  y = Reshape(t, whole)", "float[1, 6, 1, 1] y")
    assert_merges(text, ["Reshape"])


def test_a_tensor_between_that_is_read_elsewhere_stays_for_its_reader() -> None:
    text = network(
        "t = Flatten(x)  y = Reshape(t, flat)  z = Relu(t)", "float[2,3] y, float[1,6] z"
    )
    graph = assert_merges(text, ["Flatten", "Reshape", "Relu"])
    assert [node.inputs[0].name for node in graph.nodes] == ["x", "x", "t"]


def test_a_dynamic_shape_stays() -> None:
    text = network("t = Flatten(x)  y = Unsqueeze(t, axes)", "float[1, N, 6] y", "float[N, 6] x")
    graph = graph_of(text)
    assert merge_reshape(graph).skipped == [Skip("y", "the shape of 'y' is not static")]
    assert ops(graph) == ["Flatten", "Unsqueeze"]


def test_an_empty_tensor_stays() -> None:
    text = network("t = Flatten(x)  y = Unsqueeze(t, axes)", "float[1, 0, 6] y", "float[0, 6] x")
    assert merge_reshape(graph_of(text)).skipped == [Skip("y", "'y' has an empty axis")]


@pytest.mark.parametrize("body", ["y = Flatten(x)", "t = Relu(x)  y = Flatten(t)"])
def test_a_single_reshape_is_not_touched(body: str) -> None:
    graph = graph_of(network(body, "float[1, 6] y"))
    result = merge_reshape(graph)
    assert (result.changed, result.skipped, ops(graph)[-1]) == (0, [], "Flatten")


@settings(max_examples=20, deadline=None)
@given(shapes=st.lists(st.permutations([2, 3, 4]), min_size=2, max_size=4))
def test_random_chains_keep_the_output(shapes: list[list[int]]) -> None:
    constants = ", ".join(
        f"int64[3] s{i} = {{{', '.join(map(str, shape))}}}" for i, shape in enumerate(shapes)
    )
    body = " ".join(f"t{i + 1} = Reshape(t{i}, s{i})" for i in range(len(shapes)))
    text = f"""{HEAD} g (float[4, 3, 2] t0) => (float[?, ?, ?] t{len(shapes)})
    <{constants}> {{ {body} }}"""
    graph = graph_of(text)
    merge_reshape(graph)
    check_model(to_model(graph))
    assert ops(graph) == ["Reshape"]
    assert_close(run(to_model(graph)), run(model_from_text(text)), rtol=0, atol=0)
