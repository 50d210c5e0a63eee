import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.graph.convert import to_model
from compiler.graph.query import origin_of
from compiler.passes.draft import Draft, needed_only_for
from tests.support.models import ops, run
from tests.support.rewrites import graph_of, machine

CONV = CostModel(machine(conv_float=1.0), "fp32")
NODES = CostModel(machine(node=1e6), "fp32")

NETWORK = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 2, 4, 4] x) => (float[1, 3, 4, 4] y)
    <float[3, 2, 1, 1] w>
    { a = Abs(x) [layer] c = Conv(a, w) y = Relu(c) }"""


def node_of(graph: gs.Graph, op: str) -> gs.Node:
    return next(node for node in graph.nodes if node.op == op)


def drafted(graph: gs.Graph) -> tuple[Draft, gs.Variable]:
    """The same convolution by way of a MatMul."""
    conv = node_of(graph, "Conv")
    draft = Draft(graph, conv.name)
    x = draft.reshape(conv.inputs[0], [1, 2, 16], role="flat")
    weight = draft.constant("weight", conv.inputs[1].values[:, :, 0, 0])
    y = draft.add("MatMul", [weight, x], [1, 3, 16], role="product")
    return draft, draft.reshape(y, [1, 3, 4, 4], role="maps")


def test_a_cheaper_draft_replaces_what_nothing_else_needs() -> None:
    graph = graph_of(NETWORK)
    (expected,) = run(to_model(graph))
    draft, new = drafted(graph)
    assert draft.replace(node_of(graph, "Conv").outputs[0], new, CONV) is None
    assert ops(graph) == ["Abs", "Reshape", "MatMul", "Reshape", "Relu"]
    (actual,) = run(to_model(graph))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_a_dearer_draft_leaves_no_trace() -> None:
    graph = graph_of(NETWORK)
    before = [(node.name, [one.name for one in node.inputs]) for node in graph.nodes]
    draft, new = drafted(graph)
    reason = draft.replace(node_of(graph, "Conv").outputs[0], new, NODES)
    assert reason is not None
    assert reason.startswith("it would not pay: 0.0 MMAC in ")
    assert before == [(node.name, [one.name for one in node.inputs]) for node in graph.nodes]
    assert [reader.op for reader in graph.inputs[0].outputs] == ["Abs"]


def test_a_margin_asks_for_more() -> None:
    graph = graph_of(NETWORK)
    draft, new = drafted(graph)
    equal = CostModel(machine(conv_float=1.0, matmul_float=1.0), "fp32")
    assert draft.replace(node_of(graph, "Conv").outputs[0], new, equal, margin=100.0) is not None


def test_drafted_names_lead_back_to_the_layer_and_are_unique() -> None:
    graph = graph_of(NETWORK)
    draft, new = drafted(graph)
    draft.replace(node_of(graph, "Conv").outputs[0], new, CONV)
    names = [node.name for node in graph.nodes if node.op in ("Reshape", "MatMul")]
    assert {origin_of(name) for name in names} == {"layer"}
    assert len(set(names)) == 3
    again = Draft(graph, names[0])
    assert again.constant("weight", np.zeros(1)).name == "layer=>weight_1"


def test_several_outputs_and_slices_have_their_shapes() -> None:
    graph = graph_of(NETWORK)
    draft = Draft(graph, "layer")
    x = graph.inputs[0]
    top, bottom = draft.add_many("Split", [x], [[1, 1, 4, 4]] * 2, role="halves", axis=1)
    part = draft.slice(top, 2, 1, 3, role="rows")
    assert (top.shape, bottom.shape, part.shape) == ([1, 1, 4, 4], [1, 1, 4, 4], [1, 1, 2, 4])
    draft.discard()
    assert [reader.op for reader in x.outputs] == ["Abs"]


def test_a_graph_output_that_cannot_be_replaced_is_a_reason() -> None:
    graph = graph_of(NETWORK)
    draft = Draft(graph, "layer")
    same = draft.reshape(graph.inputs[0], [1, 2, 4, 4], role="same")
    graph.outputs.append(same)
    assert "both graph outputs" in str(draft.replace(graph.outputs[0], same, CONV))


def test_what_only_one_tensor_needs_stops_at_other_readers() -> None:
    text = NETWORK.replace("y = Relu(c)", "y = Relu(c) z = Neg(a)")
    text = text.replace("float[1, 3, 4, 4] y", "float[1, 3, 4, 4] y, float[1, 2, 4, 4] z")
    graph = graph_of(text)
    assert [node.op for node in needed_only_for(graph, graph.outputs[0])] == ["Relu", "Conv"]
    graph = graph_of(NETWORK)
    assert [node.op for node in needed_only_for(graph, graph.outputs[0])] == ["Relu", "Conv", "Abs"]
