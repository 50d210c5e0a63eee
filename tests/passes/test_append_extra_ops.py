import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.append_extra_ops import append_extra_ops
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'


def text_of(shape: str, body: str, outputs: str = "float[{shape}] y") -> str:
    outputs = outputs.format(shape=shape)
    return f"{HEAD} g (float[{shape}] x) => ({outputs}) <float[1] k> {{ {body} }}"


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


@pytest.mark.parametrize(
    ("shape", "axis"), [("2, 5", 1), ("2, 5, 1, 1", 1), ("2, 5, 3, 3", 1), ("2, 3, 5", 2)]
)
def test_softmax_goes_over_the_classes_and_keeps_the_name_of_the_output(
    shape: str, axis: int
) -> None:
    text = text_of(shape, "y = Mul(x, k)")
    graph = graph_of(text)

    result = append_extra_ops(graph, kind="softmax")

    after = to_model(graph)
    check_model(after)
    assert (result.changed, result.warnings, ops(graph)) == (1, [], ["Mul", "Softmax"])
    assert [tensor.name for tensor in graph.outputs] == ["y"]
    (logits,) = run(model_from_text(text))
    powers = np.exp(logits.astype(np.float64))
    expected = (powers / powers.sum(axis, keepdims=True)).astype(np.float32)
    assert_close(run(after), [expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [None, "insert_odma"])
def test_nothing_is_appended_when_nothing_is_asked(kind: str | None) -> None:
    graph = graph_of(text_of("2, 5", "y = Mul(x, k)"))
    result = append_extra_ops(graph, kind=kind)
    assert (result.changed, result.warnings, ops(graph)) == (0, [], ["Mul"])


@pytest.mark.parametrize("kind", ["yolov8_nms", "softmaxx"])
def test_other_types_leave_the_outputs_and_warn(kind: str) -> None:
    graph = graph_of(text_of("2, 5", "y = Mul(x, k)"))
    result = append_extra_ops(graph, kind=kind)
    assert result.warnings == [f"extra_ops '{kind}' is not compiled: outputs stay as they are"]
    assert (result.changed, ops(graph)) == (0, ["Mul"])


@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        ("y = Softmax(x)", "float[2, 5] y", "the network already ends in Softmax"),
        ("s = Softmax(x)  y = Flatten(s)", "float[2, 5] y", "the network already ends in Softmax"),
        (
            "y = Relu(x)  z = Neg(x)",
            "float[2, 5] y, float[2, 5] z",
            "it needs one output, the network has 2",
        ),
        ("y = Identity(x)", "float[2, 5] y", "the output is not computed"),
    ],
)
def test_softmax_that_would_be_wrong_is_a_warning(body: str, outputs: str, reason: str) -> None:
    graph = graph_of(text_of("2, 5", body, outputs))
    before = ops(graph)
    result = append_extra_ops(graph, kind="softmax")
    assert result.warnings == [f"extra_ops 'softmax': {reason}; outputs stay as they are"]
    assert (result.changed, ops(graph)) == (0, before)


@pytest.mark.parametrize(
    ("shape", "axis", "classes"),
    [("2, 5", 1, "uint8"), ("1, 256, 2, 3", 1, "uint8"), ("1, 257, 2, 3", 1, "int64")],
)
def test_argmax_yields_class_numbers_in_the_smallest_type(
    shape: str, axis: int, classes: str
) -> None:
    text = text_of(shape, "y = Mul(x, k)")
    graph = graph_of(text)

    assert append_extra_ops(graph, kind="argmax").changed == 1

    after = to_model(graph)
    check_model(after)
    (scores,), (actual,) = run(model_from_text(text)), run(after)
    assert [graph.outputs[0].name, graph.outputs[0].dtype] == ["y", np.dtype(classes)]
    np.testing.assert_array_equal(actual, scores.argmax(axis, keepdims=True))
    assert (actual.dtype, list(actual.shape)) == (np.dtype(classes), graph.outputs[0].shape)


@pytest.mark.parametrize(
    ("body", "limit"), [("y = Mul(x, k)", 0.0), ("z = Mul(x, k)  y = Sigmoid(z)", 0.5)]
)
def test_threshold_cuts_logits_at_0_and_probabilities_at_one_half(body: str, limit: float) -> None:
    text = text_of("1, 1, 4, 5", body)
    graph = graph_of(text)

    assert append_extra_ops(graph, kind="threshold").changed == 1

    after = to_model(graph)
    check_model(after)
    (scores,), (actual,) = run(model_from_text(text)), run(after)
    assert actual.dtype == graph.outputs[0].dtype == np.uint8
    np.testing.assert_array_equal(actual, scores > limit)
    assert 0 < actual.mean() < 1


@pytest.mark.parametrize(
    ("kind", "shape", "body", "outputs", "reason"),
    [
        (
            "argmax",
            "1, 3, 4, 5",
            "y = ArgMax<axis = 1>(x)",
            "int64[1, 1, 4, 5] y",
            "the network already ends in class numbers",
        ),
        (
            "argmax",
            "1, 1, 4, 5",
            "y = Mul(x, k)",
            "float[{shape}] y",
            "the output has one channel, which threshold is for",
        ),
        (
            "argmax",
            "1, N, 4, 5",
            "y = Mul(x, k)",
            "float[{shape}] y",
            "the shape of the output is not known",
        ),
        (
            "threshold",
            "1, 1, 4, 5",
            "y = Relu(x)  z = Neg(x)",
            "float[{shape}] y, float[{shape}] z",
            "it needs one output, the network has 2",
        ),
    ],
)
def test_a_class_map_that_would_be_wrong_is_a_warning(
    kind: str, shape: str, body: str, outputs: str, reason: str
) -> None:
    graph = graph_of(text_of(shape, body, outputs))
    before = ops(graph)
    result = append_extra_ops(graph, kind=kind)
    assert result.warnings == [f"extra_ops '{kind}': {reason}; outputs stay as they are"]
    assert (result.changed, ops(graph)) == (0, before)


def test_threshold_needs_no_known_shape() -> None:
    graph = to_graph(model_from_text(text_of("2, 5", "y = Mul(x, k)")))
    graph.outputs[0].shape = None
    assert append_extra_ops(graph, kind="threshold").changed == 1
    assert ops(graph) == ["Mul", "Greater", "Cast"]
