from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.fuse_batch_norm import fuse_batch_norm
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
NORM = "float[{c}] gamma, float[{c}] beta, float[{c}] mean, float[{c}] var"


def graph_of(model: onnx.ModelProto) -> gs.Graph:
    graph = to_graph(model)
    infer_shapes(graph)
    return graph


def assert_folds(model: onnx.ModelProto, left: list[str], *, atol: float = 1e-5) -> gs.Graph:
    """One BatchNormalization goes, the outputs stay (float32 sums of some hundred terms)."""
    graph = graph_of(model)

    result = fuse_batch_norm(graph)

    after = to_model(graph)
    check_model(after)
    assert ops(graph) == left
    assert (result.changed, result.skipped) == (1, [])
    assert_close(run(after), run(model), rtol=1e-5, atol=atol)
    return graph


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("kernel", [[3], [3, 3], [1, 3, 2]])
def test_conv_and_norm_become_one_conv(group: int, bias: str, kernel: list[int]) -> None:
    shape = ", ".join(map(str, [6, 4 // group, *kernel]))
    size = ", ".join(["9"] * len(kernel))
    dims = ", ".join("?" * len(kernel))
    text = f"""{HEAD} g (float[1, 4, {size}] x) => (float[1, 6, {dims}] y)
    <float[{shape}] w, float[6] b, {NORM.format(c=6)}>
    {{ c = Conv<group = {group}>(x, w{bias})
       y = BatchNormalization(c, gamma, beta, mean, var) }}"""
    graph = assert_folds(model_from_text(text), ["Conv"])
    assert graph.nodes[0].name == "Conv_c"
    assert [tensor.name for tensor in graph.outputs] == ["y"]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("kernel", [[3], [3, 2], [2, 3, 1]])
def test_transposed_conv_and_norm_become_one(group: int, bias: str, kernel: list[int]) -> None:
    shape = ", ".join(map(str, [4, 6 // group, *kernel]))
    size = ", ".join(["5"] * len(kernel))
    dims = ", ".join("?" * len(kernel))
    strides = [2] * len(kernel)
    text = f"""{HEAD} g (float[1, 4, {size}] x) => (float[1, 6, {dims}] y)
    <float[{shape}] w, float[6] b, {NORM.format(c=6)}>
    {{ c = ConvTranspose<group = {group}, strides = {strides}>(x, w{bias})
       y = BatchNormalization(c, gamma, beta, mean, var) }}"""
    assert_folds(model_from_text(text), ["ConvTranspose"])


@pytest.mark.parametrize("bias", ["", ", b"])
def test_gemm_and_norm_become_one_gemm(bias: str) -> None:
    text = f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y)
    <float[6, 4] w, float[6] b, {NORM.format(c=6)}>
    {{ c = Gemm<transB = 1>(x, w{bias})  y = BatchNormalization(c, gamma, beta, mean, var) }}"""
    assert_folds(model_from_text(text), ["Gemm"])


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_norm_before_an_unpadded_conv_is_folded(group: int, bias: str) -> None:
    text = f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, ?, ?] y)
    <float[6, {4 // group}, 3, 3] w, float[6] b, {NORM.format(c=4)}>
    {{ n = BatchNormalization(x, gamma, beta, mean, var)
       y = Conv<group = {group}, strides = [2, 2]>(n, w{bias}) }}"""
    assert_folds(model_from_text(text), ["Conv"])


def test_norm_before_gemm_is_folded() -> None:
    text = f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y) <float[6, 4] w, {NORM.format(c=4)}>
    {{ n = BatchNormalization(x, gamma, beta, mean, var)  y = Gemm<transB = 1>(n, w) }}"""
    assert_folds(model_from_text(text), ["Gemm"])


def without_shift(text: str) -> onnx.ModelProto:
    model = model_from_text(text)
    for tensor in model.graph.initializer:
        if tensor.name in ("beta", "mean"):
            zeros = np.zeros(list(tensor.dims), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    return model


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        ("Conv<pads = [1, 1, 1, 1]>", "6, 4, 3, 3"),
        ('Conv<auto_pad = "SAME_UPPER">', "6, 4, 3, 3"),
        ("ConvTranspose<group = 2>", "4, 3, 3, 3"),
    ],
)
def test_a_shift_before_padding_or_overlap_stops_the_fold(node: str, shape: str) -> None:
    text = f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, ?, ?] y)
    <float[{shape}] w, {NORM.format(c=4)}>
    {{ n = BatchNormalization(x, gamma, beta, mean, var)  y = {node}(n, w) }}"""
    assert_folds(without_shift(text), [node.partition("<")[0]])
    graph = graph_of(model_from_text(text))

    result = fuse_batch_norm(graph)

    why = {
        "Conv": "its zero padding would not be shifted",
        "ConvTranspose": "the outputs of ConvTranspose overlap, so a shift reaches them unevenly",
    }[graph.nodes[1].op]
    name = graph.nodes[1].name
    assert result.skipped == [Skip("n", f"not into '{name}' after it: {why}")]
    assert (result.changed, ops(graph)[0]) == (0, "BatchNormalization")


CONV_NORM = f"""{HEAD}
g (float[1, 4, 7, 7] x{{more_inputs}}) => (float[1, 6, 5, 5] y{{more_outputs}})
<float[6, 4, 3, 3] w, {NORM.format(c=6)}{{weights}}>
{{{{ {{before}}
   y = BatchNormalization{{attributes}}({{norm}}) {{after}} }}}}"""


def conv_norm(**parts: str) -> gs.Graph:
    defaults = {
        "more_inputs": "",
        "more_outputs": "",
        "weights": "",
        "before": "c = Conv(x, w)",
        "attributes": "",
        "norm": "c, gamma, beta, mean, var",
        "after": "",
    }
    return to_graph(model_from_text(CONV_NORM.format(**{**defaults, **parts})))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"more_outputs": ", float[1, 6, 5, 5] z", "after": "z = Relu(c)"}, "'c' has another"),
        ({"more_outputs": ", float[1, 6, 5, 5] c"}, "'c' has another reader"),
        ({"before": "r = Conv(x, w) c = Relu(r)"}, "no Conv, ConvTranspose or Gemm beside it"),
        (
            {"more_inputs": ", float[6, 4, 3, 3] v", "before": "c = Conv(x, v)"},
            "not into 'Conv_c' before it: not constant: v",
        ),
        (
            {"more_inputs": ", float[6] s", "norm": "c, s, beta, mean, var"},
            "not constant: s",
        ),
        ({"attributes": "<epsilon = -10.0>"}, "the scale or shift is not finite"),
    ],
)
def test_what_must_stay_is_left_alone_and_reported(parts: dict[str, str], reason: str) -> None:
    graph = conv_norm(**parts)
    before = ops(graph)

    result = fuse_batch_norm(graph)

    assert ops(graph) == before
    assert result.changed == 0
    assert [skip.where for skip in result.skipped] == ["y"]
    assert reason in result.skipped[0].reason


def test_a_norm_in_training_mode_stays() -> None:
    graph = graph_of(
        model_from_text(f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 6, 5, 5] y)
        <float[6, 4, 3, 3] w, {NORM.format(c=6)}>
        {{ c = Conv(x, w)
           y, m, v = BatchNormalization<training_mode = 1>(c, gamma, beta, mean, var) }}""")
    )
    assert fuse_batch_norm(graph).skipped == [Skip("y", "it is in training mode")]


def test_a_norm_before_a_tensor_with_two_readers_stays() -> None:
    graph = graph_of(
        model_from_text(f"""{HEAD}
        g (float[1, 4, 7, 7] x) => (float[1, 6, 5, 5] y, float[1, 4, 7, 7] z)
        <float[6, 4, 3, 3] w, {NORM.format(c=4)}>
        {{ n = BatchNormalization(x, gamma, beta, mean, var)  y = Conv(n, w)  z = Relu(n) }}""")
    )
    reason = "not into 'Conv_y' after it: 'n' has another reader"
    assert fuse_batch_norm(graph).skipped == [Skip("n", reason)]


def test_weights_of_the_reader_must_be_constant_too() -> None:
    graph = graph_of(
        model_from_text(f"""{HEAD} g (float[1,4,7,7] x, float[6,4,3,3] v) => (float[1,6,5,5] y)
        <{NORM.format(c=4)}>
        {{ n = BatchNormalization(x, gamma, beta, mean, var)  y = Conv(n, v) }}""")
    )
    reason = "not into 'Conv_y' after it: not constant: v"
    assert fuse_batch_norm(graph).skipped == [Skip("n", reason)]


def test_a_weight_shared_with_another_conv_stays_whole() -> None:
    model = model_from_text(
        f"""{HEAD} g (float[1, 4, 7, 7] x) => (float[1, 4, 3, 3] y)
        <float[4, 4, 3, 3] w, {NORM.format(c=4)}>
        {{ c = Conv(x, w)  n = BatchNormalization(c, gamma, beta, mean, var)
           y = Conv(n, w) }}"""
    )
    shared = numpy_helper.to_array(model.graph.initializer[0])
    graph = assert_folds(model, ["Conv", "Conv"])
    assert [node.inputs[1].name for node in graph.nodes] == ["Conv_c.weight", "w"]
    np.testing.assert_array_equal(graph.nodes[1].inputs[1].values, shared)


def test_a_gemm_in_another_form_is_left_to_normalize_gemm() -> None:
    graph = graph_of(
        model_from_text(f"""{HEAD} g (float[3, 4] x) => (float[3, 6] y)
        <float[4, 6] w, {NORM.format(c=6)}>
        {{ c = Gemm(x, w)  y = BatchNormalization(c, gamma, beta, mean, var) }}""")
    )
    reason = "not into 'Gemm_c' before it: Gemm is not in the form of normalize_gemm"
    assert fuse_batch_norm(graph).skipped == [Skip("y", reason)]


def random_network(draw: Any) -> onnx.ModelProto:  # Any: hypothesis' draw function
    """Conv or ConvTranspose of any rank, groups, strides, pads, dilations; norm on either side."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    op = draw(st.sampled_from(["Conv", "ConvTranspose"]))
    rank, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inner, outer = group * draw(st.integers(1, 3)), group * draw(st.integers(1, 3))
    after = op == "ConvTranspose" or draw(st.booleans())
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    pads = [draw(st.integers(0, 1)) if after else 0 for _ in range(2 * rank)]
    shape = (inner, outer // group) if op == "ConvTranspose" else (outer, inner // group)
    channels = outer if after else inner
    weights = {
        "w": rng.normal(size=(*shape, *kernel)),
        "b": rng.normal(size=outer),
        "gamma": rng.normal(size=channels),
        "beta": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.1, 4.0, channels),
    }
    conv = {
        "group": group,
        "pads": pads,
        "strides": [draw(st.integers(1, 2)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
    }
    parameters = ["w", "b"] if draw(st.booleans()) else ["w"]
    norm = ["gamma", "beta", "mean", "var"]
    order = [(op, parameters, conv), ("BatchNormalization", norm, {"epsilon": 1e-3})]
    (first, a, attrs_a), (second, b, attrs_b) = order if after else order[::-1]
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node(first, ["x", *a], ["t"], **attrs_a),
                helper.make_node(second, ["t", *b], ["y"], **attrs_b),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, [2, inner, *[7] * rank])],
            [helper.make_tensor_value_info("y", 1, [2, outer, *[None] * rank])],
            [
                numpy_helper.from_array(values.astype(np.float32), name)
                for name, values in weights.items()
                if name in [*a, *b]
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_random_pair_folds_exactly(data: st.DataObject) -> None:
    model = random_network(data.draw)
    left = [node.op_type for node in model.graph.node if node.op_type != "BatchNormalization"]
    assert_folds(model, left, atol=1e-4)
