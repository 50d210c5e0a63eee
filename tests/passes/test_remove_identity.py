import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_graph, infer_shapes, to_graph, to_model
from compiler.passes.remove_identity import remove_identity
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

CONSTANTS = """float zero = {0.0}, float one = {1.0}, float half = {0.5}, bool no = {0},
    bool yes = {1},
    float[4] ones = {1.0, 1.0, 1.0, 1.0}, float[4] more = {1.0, 1.0, 1.1, 1.1}, float[3] w,
    int64[4] shape = {1, 2, 5, 3}, int64[4] other = {1, 5, 2, 3}, int64[4] steps = {1, 1, 1, 1},
    int64[4] size = {1, 2, 5, 3}, int64[1] first = {0}, int64[1] last = {1000}, int64[1] axis = {2},
    int64[1] forward = {1}, int64[1] start = {-1}, int64[1] stop = {-1000}, int64[1] back = {-1},
    int64[8] nothing = {0, 0, 0, 0, 0, 0, 0, 0}, int64[8] shift = {0, 0, 1, 0, 0, 0, -1, 0},
    float[1, 2, 5, 3] wide = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}"""


def graph_of(node: str, shape: str = "1, 2, 5, 3") -> gs.Graph:
    """x -> Neg -> a -> `node` -> b -> Abs -> y."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[{shape}] x) => (float y)
    <{CONSTANTS}> {{ a = Neg(x) {node} y = Abs(b) }}"""
    model = model_from_text(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = to_graph(model)
    infer_shapes(graph)
    return graph


NO_OPS = [
    "b = Identity(a)",
    "b = Dropout(a)",
    "b = Dropout(a, half)",
    "b, mask = Dropout(a, half, no)",
    "b = Cast<to = 1>(a)",
    "b = Reshape(a, shape)",
    "b = Expand(a, shape)",
    "b = Tile(a, steps)",
    "b = Transpose<perm = [0, 1, 2, 3]>(a)",
    "b = Slice(a, first, last)",
    "b = Slice(a, first, last, axis)",
    "b = Slice(a, first, last, axis, forward)",
    "b = Pad(a, nothing)",
    "b = Concat<axis = 1>(a)",
    "b = Sum(a)",
    "b = Max(a)",
    "b = Min(a)",
    "b = Mean(a)",
    "b = Split<axis = 1>(a)",
    'b = Resize<mode = "cubic">(a, "", ones)',
    'b = Resize<mode = "linear">(a, "", "", size)',
    "b = Add(a, zero)",
    "b = Add(zero, a)",
    "b = Add(a, wide)",
    "b = Sub(a, zero)",
    "b = Mul(a, one)",
    "b = Mul(one, a)",
    "b = Div(a, one)",
    "b = Pow(a, one)",
    "b = AveragePool<kernel_shape = [1, 1]>(a)",
    "b, indices = MaxPool<kernel_shape = [1, 1]>(a)",
]


@pytest.mark.parametrize("node", NO_OPS)
def test_a_node_that_does_nothing_goes(node: str) -> None:
    graph = graph_of(node)
    before = run(to_model(graph))

    result = remove_identity(graph)

    assert ops(graph) == ["Neg", "Abs"]
    assert (result.changed, result.skipped) == (1, [])
    check_graph(graph)
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        ("b = Squeeze(a)", "2, 15"),
        ("b = Flatten(a)", "2, 15"),
        ("b = Transpose<perm = [1, 0, 2]>(a)", "1, 1, 7"),
        ("b = Transpose(a)", "7"),
    ],
)
def test_shapes_can_make_a_node_idle(node: str, shape: str) -> None:
    graph = graph_of(node, shape)
    before = run(to_model(graph))
    assert remove_identity(graph).changed == 1
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


ACTIVE = [
    "b = Dropout(a, half, yes)",
    "c = Cast<to = 7>(a) b = Cast<to = 1>(c)",
    "b = Reshape(a, other)",
    "b = Transpose<perm = [0, 2, 1, 3]>(a)",
    "b = Slice(a, start, stop, axis, back)",
    "b = Pad(a, shift)",
    "b = Concat<axis = 1>(a, a)",
    "b, c = Split<axis = 1>(a)",
    'b = Resize<mode = "linear">(a, "", more)',
    'b = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">'
    "(a, more, ones)",
    "b = Sub(zero, a)",
    "b = Div(one, a)",
    "b = Add(a, half)",
    "b = Mul(a, a)",
    "b = AveragePool<kernel_shape = [1, 1], strides = [2, 2]>(a)",
    "b = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)",
    "b = Sigmoid(a)",
]


@pytest.mark.parametrize("node", ACTIVE)
def test_a_node_that_looks_idle_and_is_not_stays(node: str) -> None:
    graph = graph_of(node)
    before = ops(graph)
    result = remove_identity(graph)
    assert ops(graph) == before
    assert (result.changed, result.skipped) == (0, [])


def test_square_transposes_that_reorder_stay() -> None:
    graph = graph_of("b = Transpose<perm = [1, 0]>(a)", "4, 4")
    assert remove_identity(graph).changed == 0


def test_adding_nothing_that_broadcasts_stays() -> None:
    graph = graph_of("b = Add(a, wide)", "1, 2, 1, 1")
    assert remove_identity(graph).changed == 0


def test_a_tensor_of_unknown_type_or_shape_stays() -> None:
    graph = graph_of("c = Cast<to = 1>(a) b = Reshape(c, shape)")
    for name in "abc":
        graph.tensors()[name].dtype = graph.tensors()[name].shape = None
    assert remove_identity(graph).changed == 0


def test_a_chain_goes_at_once_and_the_output_keeps_its_name() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y, float[2] z)
    { a = Neg(x) b = Identity(a) c = Identity(b) y = Identity(c) z = Abs(b) }"""
    graph = to_graph(model_from_text(text))
    before = run(to_model(graph))
    assert remove_identity(graph).changed == 3
    assert ops(graph) == ["Neg", "Abs"]
    assert graph.nodes[0].outputs[0].name == "y"
    assert_close(run(to_model(graph)), before, rtol=0, atol=0)


def test_a_graph_input_that_is_an_output_stays_and_is_reported() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {y = Identity(x)}'
    )
    graph = to_graph(model_from_text(text))
    result = remove_identity(graph)
    assert ops(graph) == ["Identity"]
    reason = "graph output 'y' would be a graph input or constant"
    assert (result.changed, result.skipped) == (0, [Skip("y", reason)])


@pytest.mark.parametrize("reader", ["", "c = Cast<to = 1>(mask)"])
def test_a_mask_that_is_read_keeps_its_dropout(reader: str) -> None:
    output = "c" if reader else "mask"
    kind = "float[2]" if reader else "bool[2]"
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y, {kind} {output})
    {{ b, mask = Dropout(x) y = Neg(b) {reader} }}"""
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    result = remove_identity(graph)
    assert result.skipped == [Skip("b", "its other output 'mask' is read")]
