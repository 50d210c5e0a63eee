import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.normalize_gemm import normalize_gemm
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_normalizes(text: str) -> gs.Graph:
    """To one Gemm in normal form with the same output; a second run finds nothing to do."""
    graph = graph_of(text)
    result = normalize_gemm(graph)
    after = to_model(graph)
    check_model(after)
    assert (result.changed, result.skipped, ops(graph)) == (1, [], ["Gemm"])
    assert graph.nodes[0].attrs == {"transB": 1}
    assert graph.outputs[0].name == "y"
    assert_close(run(after), run(model_from_text(text)), rtol=1e-5, atol=1e-5)
    again = normalize_gemm(graph)
    assert (again.changed, again.skipped) == (0, [])
    return graph


@pytest.mark.parametrize("weight", ["transB = 0|4, 6", "transB = 1|6, 4"])
@pytest.mark.parametrize("factors", ["alpha = 0.5", "beta = 2.0", "beta = 2.0, alpha = 1.5"])
@pytest.mark.parametrize("bias", ["6", "1", "1, 6", "1, 1", "3, 1", "3, 6"])
def test_alpha_beta_and_layout_go_into_the_constants(weight: str, factors: str, bias: str) -> None:
    attributes, shape = weight.split("|")
    graph = assert_normalizes(
        f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y) <float[{shape}] w, float[{bias}] b>
        {{ y = Gemm<{attributes}, {factors}>(x, w, b) }}"""
    )
    _, weights, biases = graph.nodes[0].inputs
    assert weights.shape == (6, 4)
    assert biases.shape == ((3, int(bias[-1])) if bias.startswith("3") else (6,))
    assert graph.nodes[0].name == "Gemm_y"


def test_a_gemm_without_bias_stays_without() -> None:
    graph = assert_normalizes(
        f"{HEAD} g (float[3, 4] x) => (float[3, 6] y) <float[4, 6] w> {{ y = Gemm(x, w) }}"
    )
    assert len(graph.nodes[0].inputs) == 2


def test_a_bias_that_is_not_constant_is_kept_where_beta_is_one() -> None:
    graph = assert_normalizes(
        f"""{HEAD} g (float[3, 4] x, float[6] b) => (float[3, 6] y) <float[4, 6] w>
        {{ y = Gemm<alpha = 2.0>(x, w, b) }}"""
    )
    assert graph.nodes[0].inputs[2].name == "b"


def test_a_normal_gemm_is_not_touched() -> None:
    graph = graph_of(
        f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y) <float[6, 4] w, float[6] b>
        {{ y = Gemm<transB = 1>(x, w, b) }}"""
    )
    result = normalize_gemm(graph)
    assert (result.changed, result.skipped) == (0, [])
    assert [tensor.name for tensor in graph.nodes[0].inputs] == ["x", "w", "b"]


@pytest.mark.parametrize(
    ("inputs", "weights", "gemm", "reason"),
    [
        ("float[4, 3] x", "float[4, 6] w", "<transA = 1>(x, w)", "transA = 1: its input is trans"),
        ("float[3, 4] x, float[4, 6] v", "float[1] w", "(x, v)", "'v' is not constant"),
        (
            "float[3, 4] x, float[6] v",
            "float[4, 6] w",
            "<beta = 2.0>(x, w, v)",
            "'v' is not constant",
        ),
        ("int32[3, 1] x", "int32[1, 2] w = {1, 2}", "(x, w)", "'w' is not floating-point"),
    ],
)
def test_other_forms_stay_and_are_reported(
    inputs: str, weights: str, gemm: str, reason: str
) -> None:
    kind = inputs.partition("[")[0]
    graph = to_graph(
        model_from_text(f"{HEAD} g ({inputs}) => ({kind}[3, 6] y) <{weights}> {{ y = Gemm{gemm} }}")
    )
    result = normalize_gemm(graph)
    assert result.changed == 0
    assert result.skipped[0].where == "y"
    assert reason in result.skipped[0].reason


@pytest.mark.parametrize("add", ["Add(m, b)", "Add(b, m)"])
@pytest.mark.parametrize("bias", ["6", "1", "1, 6"])
def test_a_product_with_bias_becomes_a_gemm_that_keeps_its_name(add: str, bias: str) -> None:
    graph = assert_normalizes(
        f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y) <float[4, 6] w, float[{bias}] b>
        {{ m = MatMul(x, w)  y = {add} }}"""
    )
    assert graph.nodes[0].name == "MatMul_m"


def test_weights_shared_with_another_product_stay_whole() -> None:
    text = f"""{HEAD} g (float[3, 4] x) => (float[3, 4] y) <float[4, 4] w, float[4] b>
    {{ m = MatMul(x, w)  a = Add(m, b)  y = MatMul(a, w) }}"""
    graph = graph_of(text)
    assert normalize_gemm(graph).changed == 1
    assert [node.inputs[1].name for node in graph.nodes] == ["MatMul_m.weight", "w"]
    assert_close(run(to_model(graph)), run(model_from_text(text)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "bias", "reason"),
    [
        ("2, 3, 4", "6", "'x' has rank 3; Gemm takes 2"),
        ("3, 4", "3, 6", "'b' of shape (3, 6) is not one number per output"),
    ],
)
def test_products_of_another_form_stay(shape: str, bias: str, reason: str) -> None:
    graph = graph_of(
        f"""{HEAD} g (float[{shape}] x) => (float[{shape[:-1]}6] y)
        <float[4, 6] w, float[{bias}] b> {{ m = MatMul(x, w)  y = Add(m, b) }}"""
    )
    assert normalize_gemm(graph).skipped == [Skip("m", reason)]
    assert ops(graph) == ["MatMul", "Add"]


@pytest.mark.parametrize(
    "body",
    [
        "m = MatMul(x, w)  y = Relu(m)",
        "m = MatMul(x, x)  y = Add(m, b)",
        "m = MatMul(x, w)  y = Add(m, x)",
        "m = MatMul(x, w)  y = Add(m, m)",
    ],
)
def test_what_is_no_product_with_bias_is_not_mentioned(body: str) -> None:
    graph = graph_of(
        f"{HEAD} g (float[4, 4] x) => (float[4, 4] y) <float[4, 4] w, float[4] b> {{ {body} }}"
    )
    result = normalize_gemm(graph)
    assert (result.changed, result.skipped) == (0, [])
    assert ops(graph)[0] == "MatMul"


def test_constants_keep_their_element_type() -> None:
    text = f"""{HEAD} g (double[2, 1] x) => (double[2, 2] y)
    <double[1, 2] w = {{1.0, 2.0}}> {{ y = Gemm<alpha = 3.0>(x, w) }}"""
    graph = graph_of(text)
    normalize_gemm(graph)
    weight = graph.nodes[0].inputs[1]
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight.values, [[3.0], [6.0]])
