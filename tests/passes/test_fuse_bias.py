import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.fuse_bias import fuse_bias
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
#: weight shape, attributes, input, output; 4 channels in, 6 out.
LAYERS = {
    "Conv": ("6, 2, 3, 3", "group = 2", "1, 4, 7, 7", "1, 6, ?, ?"),
    "ConvTranspose": ("4, 3, 3, 3", "group = 2, strides = [2, 2]", "1, 4, 5, 5", "1, 6, ?, ?"),
    "Gemm": ("6, 4", "transB = 1", "3, 4", "3, 6"),
}
SHIFTS = ["Add(@, s)", "Add(s, @)", "Sub(@, s)", "Sub(s, @)"]


def network(op: str, shift: str, *, after: bool, bias: str = ", b", more: str = "") -> str:
    weight, attributes, given, wanted = LAYERS[op]
    channels = 6 if after else 4
    shape = f"{channels}" if op == "Gemm" else f"{channels}, 1, 1"
    layer = f"{op}<{attributes}{more}>({'x' if after else 't'}, w{bias})"
    body = f"t = {layer}  y = {shift}" if after else f"t = {shift}  y = {layer}"
    body = body.replace("@", "t" if after else "x")
    return f"""{HEAD} g (float[{given}] x) => (float[{wanted}] y)
    <float[{weight}] w, float[6] b, float[{shape}] s> {{ {body} }}"""


def graph_of(text: str, seed: int = 0) -> gs.Graph:
    graph = to_graph(model_from_text(text, seed))
    infer_shapes(graph)
    return graph


def assert_folds(text: str, seed: int = 0) -> None:
    graph = graph_of(text, seed)
    left = [op for op in ops(graph) if op not in ("Add", "Sub")]
    result = fuse_bias(graph)
    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (1, [])
    assert [tensor.name for tensor in graph.outputs] == ["y"]
    assert_close(run(after), run(model_from_text(text, seed)), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("op", LAYERS)
@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_after_a_layer_goes_into_its_bias(op: str, bias: str, shift: str) -> None:
    assert_folds(network(op, shift, after=True, bias=bias))


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_before_an_unpadded_layer_goes_into_its_bias(
    op: str, bias: str, shift: str
) -> None:
    assert_folds(network(op, shift, after=False, bias=bias))


def test_a_shift_before_a_padded_conv_stays() -> None:
    graph = graph_of(network("Conv", "Add(@, s)", after=False, more=", pads = [0, 1, 0, 0]"))
    reason = "not into 'Conv_y' after it: its zero padding would not be shifted"
    assert fuse_bias(graph).skipped == [Skip("t", reason)]
    assert ops(graph) == ["Add", "Conv"]


def test_a_shift_that_is_not_per_channel_stays() -> None:
    text = network("Conv", "Add(@, s)", after=True).replace("float[6, 1, 1] s", "float[5] s")
    graph = graph_of(text)
    reason = "not into 'Conv_t' before it: 's' of shape (5,) is not one number per channel"
    assert fuse_bias(graph).skipped == [Skip("y", reason)]


@pytest.mark.parametrize("body", ["t = Relu(x)  y = Add(t, s)", "t = Conv(x, w)  y = Add(t, t)"])
def test_what_is_no_shift_beside_a_layer_is_not_mentioned(body: str) -> None:
    graph = to_graph(
        model_from_text(
            f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 4, ?, ?] y)
            <float[4, 4, 3, 3] w, float[4, 1, 1] s> {{ {body} }}"""
        )
    )
    result = fuse_bias(graph)
    assert (result.changed, result.skipped, len(graph.nodes)) == (0, [], 2)


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]),
    shift=st.sampled_from(SHIFTS),
    seed=st.integers(0, 2**32 - 1),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_random_padded_layers_take_a_shift_after_them(
    op: str, shift: str, seed: int, pads: list[int]
) -> None:
    assert_folds(network(op, shift, after=True, more=f", pads = {pads}"), seed)
