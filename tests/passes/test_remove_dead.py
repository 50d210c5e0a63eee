import onnx_graphsurgeon as gs

from compiler.graph.convert import check_graph, to_graph, to_model
from compiler.passes.remove_dead import remove_dead
from tests.support.models import assert_close, model_from_text, ops, run


def graph_of(body: str) -> gs.Graph:
    return to_graph(model_from_text(f'<ir_version: 8, opset_import: ["" : 17]> {body}'))


def test_nodes_without_a_way_to_an_output_go() -> None:
    graph = graph_of("""g (float[2] x, float[2] unread) => (float[2] y) <float[2] w>
    { y = Relu(x) a = Mul(x, w) b = Neg(a) }""")
    before = run(to_model(graph))

    result = remove_dead(graph)

    assert (result.changed, ops(graph)) == (2, ["Relu"])
    assert [tensor.name for tensor in graph.inputs] == ["x", "unread"]
    assert not to_model(graph).graph.initializer
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)
    assert remove_dead(graph).changed == 0


def test_unread_optional_outputs_go() -> None:
    graph = graph_of("""g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
    { a, indices = MaxPool<kernel_shape = [1, 1]>(x) b, mask = Dropout(a) y = Relu(b) }""")
    assert remove_dead(graph).changed == 2
    assert [len(node.outputs) for node in graph.nodes] == [1, 1, 1]
    check_graph(graph)


def test_outputs_that_are_read_promised_or_required_stay() -> None:
    graph = graph_of("""g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 2] y, int64[1, 1, 4, 4] indices)
    { a, indices = MaxPool<kernel_shape = [1, 1]>(x) b, mask = Dropout(a)
      c = Where(mask, a, b) y, rest = Split<axis = 3>(c) }""")
    assert remove_dead(graph).changed == 0
    assert [len(node.outputs) for node in graph.nodes] == [2, 2, 1, 2]
