import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.fuse_scale import fuse_scale
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
#: weight shape, attributes, input, output; 4 channels in, 6 out.
LAYERS = {
    "Conv": ("6, 2, 3, 3", "<group = 2, pads = [1, 1, 1, 1]>", "1, 4, 7, 7", "1, 6, ?, ?"),
    "ConvTranspose": ("4, 3, 3, 3", "<group = 2, strides = [2, 2]>", "1, 4, 5, 5", "1, 6, ?, ?"),
    "Gemm": ("6, 4", "<transB = 1>", "3, 4", "3, 6"),
}


def network(op: str, scale: str, *, after: bool, bias: str = ", b", shape: str = "") -> str:
    weight, attributes, given, wanted = LAYERS[op]
    channels = 6 if after else 4
    shape = shape or (f"{channels}" if op == "Gemm" else f"{channels}, 1, 1")
    layer = f"{op}{attributes}({'x' if after else 't'}, w{bias})"
    body = f"t = {layer}  y = {scale}" if after else f"t = {scale}  y = {layer}"
    body = body.replace("@", "t" if after else "x")
    return f"""{HEAD} g (float[{given}] x) => (float[{wanted}] y)
    <float[{weight}] w, float[6] b, float[{shape}] s> {{ {body} }}"""


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def assert_folds(text: str, left: list[str]) -> gs.Graph:
    graph = graph_of(text)
    result = fuse_scale(graph)
    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (1, [])
    # Relative: a division by a small scale makes large numbers.
    expected = run(model_from_text(text))
    largest = max(float(np.abs(array).max()) for array in expected)
    assert_close(run(after), expected, rtol=1e-5, atol=2e-6 * largest)
    return graph


@pytest.mark.parametrize("op", LAYERS)
@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("scale", ["Mul(@, s)", "Mul(s, @)", "Div(@, s)"])
def test_a_scale_beside_a_layer_goes_into_its_weight(
    op: str, bias: str, after: bool, scale: str
) -> None:
    graph = assert_folds(network(op, scale, after=after, bias=bias), [op])
    assert [tensor.name for tensor in graph.outputs] == ["y"]


@pytest.mark.parametrize("shape", ["1", "1, 1", "6, 1, 1", "1, 6, 1, 1", "1, 1, 1, 1"])
def test_every_shape_that_means_one_number_per_channel_is_understood(shape: str) -> None:
    assert_folds(network("Conv", "Mul(@, s)", after=True, shape=shape), ["Conv"])


@pytest.mark.parametrize("shape", ["7", "6, 7, 1", "1, 1, 6, 1, 1", "2, 6, 1, 1"])
def test_other_shapes_stay(shape: str) -> None:
    graph = to_graph(model_from_text(network("Conv", "Mul(@, s)", after=True, shape=shape)))

    result = fuse_scale(graph)

    printed = f"({shape},)" if "," not in shape else f"({shape})"
    reason = f"'s' of shape {printed} is not one number per channel"
    assert result.skipped == [Skip("y", f"not into 'Conv_t' before it: {reason}")]
    assert ops(graph) == ["Conv", "Mul"]


def test_a_scale_that_widens_the_input_stays() -> None:
    graph = graph_of(
        f"""{HEAD} g (float[1, 1, 7, 7] x) => (float[1, 6, 5, 5] y)
        <float[6, 4, 3, 3] w, float[4, 1, 1] s> {{ t = Mul(x, s)  y = Conv(t, w) }}"""
    )
    reason = "not into 'Conv_y' after it: 'x' is not known to have rank 4 and 4 channels"
    assert fuse_scale(graph).skipped == [Skip("t", reason)]


def test_a_layer_after_takes_what_the_layer_before_cannot() -> None:
    text = f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, 3, 3] y, float[1, 4, 5, 5] z)
    <float[4, 4, 3, 3] v, float[6, 4, 3, 3] w, float[4, 1, 1] s>
    {{ c = Conv(x, v)  z = Relu(c)  t = Mul(c, s)  y = Conv(t, w) }}"""
    assert sorted(assert_folds(text, ["Conv", "Relu", "Conv"]).tensors()) == [
        "Conv_y.bias", "Conv_y.weight", "c", "v", "x", "y", "z",
    ]  # fmt: skip


def test_both_reasons_are_told() -> None:
    graph = graph_of(
        f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, 3, 3] y, float[1, 4, 5, 5] c,
                                               float[1, 4, 5, 5] t)
        <float[4, 4, 3, 3] v, float[6, 4, 3, 3] w, float[4, 1, 1] s>
        {{ c = Conv(x, v)  t = Mul(c, s)  y = Conv(t, w) }}"""
    )
    assert fuse_scale(graph).skipped[0].reason == (
        "not into 'Conv_c' before it: 'c' has another reader; "
        "not into 'Conv_y' after it: 't' has another reader"
    )


def test_a_scale_before_that_is_not_per_channel_stays() -> None:
    graph = graph_of(network("Conv", "Mul(@, s)", after=False, shape="7"))
    reason = "not into 'Conv_y' after it: 's' of shape (7,) is not one number per channel"
    assert fuse_scale(graph).skipped == [Skip("t", reason)]


def test_a_constant_over_the_layer_is_no_scale() -> None:
    graph = graph_of(network("Conv", "Div(s, @)", after=True))
    assert fuse_scale(graph).skipped == [Skip("y", "'t' is the divisor")]


def test_division_by_zero_stays() -> None:
    graph = graph_of(
        f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, 5, 5] y)
        <float[6, 4, 3, 3] w, float[1] s = {{0.0}}> {{ t = Conv(x, w)  y = Div(t, s) }}"""
    )
    assert fuse_scale(graph).skipped == [Skip("y", "'s' divides by zero")]


@pytest.mark.parametrize("body", ["t = Relu(x)  y = Mul(t, s)", "t = Conv(x, w)  y = Mul(t, t)"])
def test_what_is_no_scale_beside_a_layer_is_not_mentioned(body: str) -> None:
    graph = to_graph(
        model_from_text(
            f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 4, ?, ?] y)
            <float[4, 4, 3, 3] w, float[4, 1, 1] s> {{ {body} }}"""
        )
    )
    result = fuse_scale(graph)
    assert (result.changed, result.skipped, len(graph.nodes)) == (0, [], 2)


def test_several_scales_in_a_row_go_in_one_run() -> None:
    text = f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, 5, 5] y)
    <float[6, 4, 3, 3] w, float[6, 1, 1] s, float[1] k>
    {{ t = Conv(x, w)  u = Mul(t, s)  y = Div(u, k) }}"""
    graph = graph_of(text)
    assert fuse_scale(graph).changed == 2
    assert ops(graph) == ["Conv"]
    assert graph.nodes[0].inputs[1].name == "Conv_t.weight_1"
    assert_close(run(to_model(graph)), run(model_from_text(text)), rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(sorted(LAYERS)),
    scale=st.sampled_from(["Mul(@, s)", "Div(@, s)"]),
    after=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    strides=st.integers(1, 3),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_random_layers_fold_exactly(
    op: str, scale: str, after: bool, seed: int, strides: int, pads: list[int]
) -> None:
    attributes = f"<group = 2, strides = [{strides}, {strides}], pads = {pads}>"
    text = network(op, scale, after=after)
    if op != "Gemm":
        text = text.replace(LAYERS[op][1], attributes)
    model = model_from_text(text, seed)
    for tensor in model.graph.initializer:
        if tensor.name == "s":  # away from zero, where Div amplifies rounding
            values = np.frombuffer(tensor.raw_data, np.float32)
            tensor.raw_data = (np.sign(values) * (0.25 + np.abs(values))).tobytes()
    graph = to_graph(model)
    infer_shapes(graph)
    assert fuse_scale(graph).changed == 1
    assert_close(run(to_model(graph), seed=seed), run(model, seed=seed), rtol=1e-5, atol=1e-4)
