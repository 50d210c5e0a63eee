import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import to_graph, to_model
from compiler.graph.query import (
    constant_value,
    is_graph_output,
    is_static,
    only_reader,
    producer,
    rank,
    readers,
    replace_tensor,
    unique_name,
    why_not_replace,
)
from tests.support.models import assert_close, model_from_text, ops, run

FORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 4] x) => (float[1, 4] y, float[1, 4] z) <float[1, 4] w>
{ a = Relu(x)
  b = Add(a, a)
  c = Identity(b)
  y = Mul(c, w)
  z = Identity(a) }"""


@pytest.fixture
def graph() -> gs.Graph:
    return to_graph(model_from_text(FORK))


def test_producer_and_readers_follow_the_edges(graph: gs.Graph) -> None:
    tensors = graph.tensors()
    assert producer(tensors["a"]) is graph.nodes[0]
    assert producer(tensors["x"]) is None
    assert [node.op for node in readers(tensors["a"])] == ["Add", "Identity"]


def test_only_reader_is_none_for_forks_outputs_and_unread_tensors(graph: gs.Graph) -> None:
    tensors = graph.tensors()
    assert only_reader(graph, tensors["b"]) is graph.nodes[2]
    assert only_reader(graph, tensors["a"]) is None
    assert only_reader(graph, tensors["y"]) is None
    graph.outputs.append(tensors["b"])
    assert only_reader(graph, tensors["b"]) is None


def test_constants_have_values_and_variables_do_not(graph: gs.Graph) -> None:
    tensors = graph.tensors()
    value = constant_value(tensors["w"])
    assert value is not None
    assert value.shape == (1, 4)
    assert constant_value(tensors["x"]) is None


def test_rank_and_static_tell_what_is_known() -> None:
    assert (rank(gs.Variable("a", np.float32, [1, None])), rank(gs.Variable("b"))) == (2, None)
    shapes: list[list[int | str | None] | None] = [[1, 2], [], [1, None], [1, "N"], None]
    assert [is_static(gs.Variable("a", np.float32, shape)) for shape in shapes] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_unique_names_avoid_tensors_and_nodes(graph: gs.Graph) -> None:
    graph.nodes[0].name = "fresh"
    assert unique_name(graph, "new") == "new"
    assert unique_name(graph, "w") == "w_1"
    assert unique_name(graph, "fresh") == "fresh_1"


def test_replacing_an_inner_tensor_moves_its_readers(graph: gs.Graph) -> None:
    before = run(to_model(graph))
    tensors = graph.tensors()
    replace_tensor(graph, tensors["c"], tensors["b"])
    graph.cleanup()
    assert ops(graph) == ["Relu", "Add", "Mul", "Identity"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_replacing_an_output_keeps_its_name_and_moves_other_readers(graph: gs.Graph) -> None:
    before = run(to_model(graph))
    tensors = graph.tensors()
    replace_tensor(graph, tensors["z"], tensors["a"])
    graph.cleanup()
    assert ops(graph) == ["Relu", "Add", "Identity", "Mul"]
    assert graph.nodes[0].outputs[0].name == "z"
    assert [tensor.name for tensor in graph.outputs] == ["y", "z"]
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("x", "graph output 'z' would be a graph input or constant"),
        ("w", "graph output 'z' would be a graph input or constant"),
        ("y", "'z' and 'y' are both graph outputs"),
    ],
)
def test_outputs_that_cannot_be_replaced_have_a_reason(
    graph: gs.Graph, new: str, reason: str
) -> None:
    tensors = graph.tensors()
    assert why_not_replace(graph, tensors["z"], tensors[new]) == reason
    with pytest.raises(ValueError, match="output"):
        replace_tensor(graph, tensors["z"], tensors[new])


BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
g (bool c, float[2] x) => (float[2] y)
{ a = Relu(x)
  b = Identity(a)
  y = If (c) <
    then_branch = t () => (float[2] u) { u = Identity(b) },
    else_branch = e () => (float[2] v) { v = Neg(b) }
  > }"""


def test_what_leaves_a_subgraph_counts_as_output() -> None:
    graph = to_graph(model_from_text(BRANCHES))
    then = graph.nodes[-1].attrs["then_branch"]
    inner = then.outputs[0]
    assert is_graph_output(graph, inner)
    assert why_not_replace(graph, inner, graph.tensors()["b"]) == "'u' is an output of a subgraph"


def test_readers_in_subgraphs_are_replaced_too() -> None:
    model = model_from_text(BRANCHES)
    graph = to_graph(model)
    tensors = graph.tensors()
    replace_tensor(graph, tensors["b"], tensors["a"])
    graph.cleanup().toposort()
    assert ops(graph) == ["Relu", "If"]
    feeds = {"c": np.array(False), "x": np.array([1, -2], np.float32)}
    assert_close(run(to_model(graph), feeds), run(model, feeds), rtol=0, atol=0)
