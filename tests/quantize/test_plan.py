"""Which nodes run on integers, which tensors are observed, and what the options change."""

import numpy as np
import pytest

from calibration.ranges import clipped_range
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.layers import list_layers
from compiler.quantize.op_rules import ScaleFrom
from compiler.quantize.plan import Form, Int8Options, plan_int8
from tests.quantize.networks import network, quantize
from tests.support.models import random_feeds

UNET = """g (float[1, 3, 16, 16] x) => (float[1, 2, 16, 16] y)
<float[4, 3, 3, 3] w1, float[4] b1, float[8, 4, 3, 3] w2, float[4, 12, 3, 3] w3,
 float[2, 4, 1, 1] w4, float[4] scales = {1.0, 1.0, 2.0, 2.0}>
{ c1 = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  r1 = Relu(c1)
  p1 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r1)
  c2 = Conv<pads = [1, 1, 1, 1]>(p1, w2)
  r2 = Relu(c2)
  u2 = Resize<mode = "linear">(r2, , scales)
  j3 = Concat<axis = 1>(r1, u2)
  c3 = Conv<pads = [1, 1, 1, 1]>(j3, w3)
  r3 = Relu(c3)
  y = Conv(r3, w4) }"""

ATTENTION = """g (float[4, 8] x) => (float[4, 8] y)
<float[8, 8] wq, float[8, 8] wk, float[8, 8] wo, float[8] bo>
{ q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose<perm = [1, 0]>(k)
  a = MatMul(q, t) s = Softmax(a) v = MatMul(s, x) o = MatMul(v, wo) y = Add(o, bo) }"""


def test_only_tensors_with_their_own_scale_are_observed() -> None:
    plan = plan_int8(network(UNET), Int8Options())

    assert plan.observed == ("x", "r1", "r2", "r3", "y")
    assert {name: tensor.source for name, tensor in plan.tensors.items()} == {
        "x": ScaleFrom.OWN,
        "r1": ScaleFrom.OWN,
        "p1": ScaleFrom.INPUT,
        "r2": ScaleFrom.OWN,
        "u2": ScaleFrom.INPUT,
        "j3": ScaleFrom.UNION,
        "r3": ScaleFrom.OWN,
        "y": ScaleFrom.OWN,
    }


def test_bytes_that_were_cast_keep_their_values() -> None:
    text = """g (uint8[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
    <float[4, 3, 3, 3] w>
    { f = Cast<to = 1>(x) y = Conv<pads = [1, 1, 1, 1]>(f, w) }"""
    graph = network(text)
    plan = plan_int8(graph, Int8Options())
    assert plan.tensors["f"].source is ScaleFrom.BYTES
    assert plan.observed == ("y",)
    ranges = {"y": clipped_range("y", "max", -900.0, 900.0, 900.0)}

    quantized = insert_qdq(graph, plan, ranges)

    (read,) = (node for node in quantized.nodes if node.inputs[0] is quantized.inputs[0])
    assert read.op == "DequantizeLinear"
    assert [float(tensor.values) for tensor in read.inputs[1:]] == [1.0, 0.0]
    assert "Cast" not in {node.op for node in quantized.nodes}


def test_every_node_has_a_decision_and_every_float_one_a_reason() -> None:
    graph = network(UNET)
    plan = plan_int8(graph, Int8Options())

    assert [node.node for node in plan.nodes] == [node.name for node in graph.nodes]
    assert all(bool(node.reason) == (node.form is not Form.INTEGER) for node in plan.nodes)
    assert {node.op: node.reason for node in plan.nodes if node.form is Form.FLOAT} == {
        "Resize": "linear Resize has no integer kernel"
    }


def test_a_small_unet_has_no_stray_pair_and_no_float_conv() -> None:
    result = quantize(network(UNET))

    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert result.report.operators["QLinearConv"] == 4
    assert "Conv" not in result.report.operators
    assert result.report.operators["QuantizeLinear"] == 2  # of the input and of the Resize
    assert result.report.operators["DequantizeLinear"] == 2  # for the Resize and of the output
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_attention_runs_on_integers() -> None:
    result = quantize(network(ATTENTION))

    assert plan_int8(network(ATTENTION), Int8Options()).tensors["s"].source is ScaleFrom.UNIT
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert result.report.operators["QLinearSoftmax"] == 1
    assert result.sqnr_db(random_feeds(result.model)) > 20


def test_a_region_without_heavy_arithmetic_stays_as_it_is() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 4, 4, 4] y)
    { a = Add(x, x) s = Sigmoid(a) y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s) }"""
    result = quantize(network(text))

    assert result.plan.tensors == {}
    assert [node.op for node in result.qdq.nodes] == ["Add", "Sigmoid", "MaxPool"]


def test_the_head_after_the_last_conv_stays_float() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 2, 8, 8] y) <float[2, 4, 1, 1] w>
    { c = Conv(x, w) a = Add(c, c) y = Sigmoid(a) }"""
    plan = plan_int8(network(text), Int8Options())

    assert [node.form for node in plan.nodes] == [Form.INTEGER, Form.FLOAT, Form.FLOAT]
    assert plan.observed == ("x", "c")


def test_values_move_as_bytes_before_the_first_and_after_the_last_conv() -> None:
    text = """g (float[1, 8, 8, 4] x) => (float[1, 8, 8, 2] y) <float[2, 4, 1, 1] w>
    { t = Transpose<perm = [0, 3, 1, 2]>(x) c = Conv(t, w)
      r = Relu(c) y = Transpose<perm = [0, 2, 3, 1]>(r) }"""
    result = quantize(network(text))

    assert result.plan.observed == ("x", "r")
    assert result.report.float_nodes == ()
    assert result.report.operators["QuantizeLinear"] == 1


def test_a_dense_head_returns_floats_without_a_scale_of_its_own() -> None:
    text = """g (float[2, 8] x) => (float[2, 4, 1] y)
    <float[8, 8] w, float[8] b, float[8, 4] v, int64[1] axes = {2}>
    { h = Gemm(x, w, b) r = Relu(h) o = Gemm(r, v) y = Unsqueeze(o, axes) }"""
    result = quantize(network(text))

    assert result.plan.observed == ("x", "r")
    assert [node.form for node in result.plan.nodes][-2:] == [Form.INTEGER, Form.FLOAT]
    assert result.report.float_nodes == ()


@pytest.mark.parametrize(
    ("body", "observed"),
    [
        ("y = Gemm(x, w, b)", ("x",)),
        ("h = Gemm(x, w, b) y = Relu(h)", ("x", "y")),
        ("h = Gemm(x, w, b) y = Sigmoid(h)", ("x", "h")),
        ("m = MatMul(x, w) h = Add(m, b) y = Tanh(h)", ("x", "h")),
        ("m = MatMul(x, w) y = Relu(m)", ("x",)),
        ("m = MatMul(x, w) h = Relu(m) y = Tanh(h)", ("x", "h")),
        ("m = MatMul(x, w) h = Clip(m, o, u) y = Tanh(h)", ("x", "h")),
        ("m = MatMul(x, w) h = Clip(m, l, u) y = Tanh(h)", ("x", "m")),
        ("m = Gemm(x, w, b) h = Clip(m, l, u) y = Tanh(h)", ("x", "m")),
        ("m = MatMul(x, w) h = Relu(m) t = Tanh(h) y = Add(t, h)", ("x",)),
        ("m = MatMul(x, w) h = Relu(m) t = Tanh(h) y = Sub(t, m)", ("x",)),
        ("y = MatMul(x, w) h = Relu(y) z = Gemm(h, w)", ("x", "y", "h")),
        ("y = Gemm(x, w) h = Relu(y) z = Gemm(h, w)", ("x", "y", "h")),
        ("y = Gemm(x, w) h = Sigmoid(y) z = Tanh(h)", ("x",)),
    ],
)
def test_a_dense_layer_before_an_activation_does_not_merge_into_a_float_kernel(
    body: str, observed: tuple[str, ...]
) -> None:
    weights = "float[8, 8] w, float[8] b, float l = {-1}, float o = {0}, float u = {6}"
    outputs = "float[2, 8] y, float[2, 8] z" if "z =" in body else "float[2, 8] y"
    result = quantize(network(f"g (float[2, 8] x) => ({outputs}) <{weights}> {{ {body} }}"))

    assert result.plan.observed == observed
    assert result.report.float_nodes == ()
    assert result.report.stray == ()


def test_layers_are_numbered_in_post_order_from_the_outputs() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y, float[1, 2] z)
    <float[4, 4, 1, 1] w, float[4, 1, 1, 1] d, float[4, 2] m>
    { first = Conv(x, w) second = Conv<group = 4>(x, d)
      y = Add(second, first)
      p = GlobalAveragePool(first) f = Flatten(p) z = MatMul(f, m) }"""

    layers = list_layers(network(text))

    assert [(layer.index, layer.kind, layer.kind_index, layer.node) for layer in layers] == [
        (0, "conv", 0, "Conv_second"),
        (1, "conv", 1, "Conv_first"),
        (2, "other", 0, "Add_y"),
        (3, "other", 1, "GlobalAveragePool_p"),
        (4, "other", 2, "Flatten_f"),
        (5, "matmul", 0, "MatMul_z"),
    ]


@pytest.mark.parametrize(
    "options",
    [
        Int8Options(skip_conv_layers=(1,)),
        Int8Options(skip_conv_layers=("Conv_c2",)),
        Int8Options(skip_conv_layers=("*_c2",)),
        Int8Options(exclude_layers=(2,)),
    ],
    ids=["number", "name", "glob", "exclude_layers"],
)
def test_a_skipped_conv_stays_float_in_the_session_too(options: Int8Options) -> None:
    result = quantize(network(UNET), options)

    assert {node.node for node in result.plan.nodes if node.form is Form.FLOAT} == {
        "Conv_c2",
        "Relu_r2",
        "Resize_u2",
    }
    assert result.plan.warnings == ()
    assert result.report.operators["QLinearConv"] == 3
    assert result.report.operators["Conv"] == 1
    assert result.report.float_nodes == ()


def test_float_weights_of_conv_transpose_are_not_rounded_by_the_session() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 4, 16, 16] y)
    <float[4, 4, 1, 1] w, float[4, 4, 2, 2] t, float[4] b>
    { c = Conv(x, w) u = ConvTranspose<strides = [2, 2]>(c, t, b) y = Conv(u, w) }"""
    result = quantize(network(text))

    assert result.report.operators["ConvTranspose"] == 1
    assert result.report.operators["DequantizeLinear"] == 2  # before it, and of the output


def test_skip_matmul_layers() -> None:
    result = quantize(network(ATTENTION), Int8Options(skip_matmul_layers=(0, "*_o")))

    names = {node.node for node in result.plan.nodes if node.form is Form.FLOAT}
    assert {"MatMul_q", "MatMul_o"} <= names
    assert result.report.operators["MatMul"] == 1
    assert result.report.operators["Gemm"] == 1


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (
            Int8Options(skip_conv_layers=(4,)),
            "skip_conv_layers: there is no layer 4; the network has 4, numbered from 0",
        ),
        (
            Int8Options(exclude_layers=("Konv_c2",)),
            "exclude_layers: no layer is named 'Konv_c2'; closest: Conv_c2, Conv_c3, Conv_c1",
        ),
        (
            Int8Options(skip_matmul_layers=("zzz",)),
            "skip_matmul_layers: no layer is named 'zzz'",
        ),
        (
            Int8Options(quantize_operators=("!concat_",)),
            "quantize_operators: !concat_: no such operator type; closest: Concat, concatenate",
        ),
    ],
)
def test_an_entry_that_names_nothing_is_a_warning(options: Int8Options, warning: str) -> None:
    plan = plan_int8(network(UNET), options)

    assert plan.warnings == (warning,)


@pytest.mark.parametrize(
    ("options", "floats"),
    [
        (Int8Options(quantize_operators=("!Concat",)), {"Concat_j3"}),
        (Int8Options(ops_usingfp=("concatenate",)), {"Concat_j3"}),
        (Int8Options(quantize_operators=("!nn.conv2d",)), {f"Conv_{c}" for c in ("c1", "y")}),
        (Int8Options(quantize_operators=("Conv",)), {"Concat_j3"}),
        (Int8Options(quantize_operators=("!vacc_bert_proportion", "!_add")), set()),
    ],
)
def test_operator_types_are_kept_float_by_either_name(
    options: Int8Options, floats: set[str]
) -> None:
    plan = plan_int8(network(UNET), options)

    found = {node.node for node in plan.nodes if node.form is Form.FLOAT}
    assert floats <= found
    assert plan.warnings == ()
    if floats == {"Concat_j3"}:
        assert found == {"Concat_j3", "Resize_u2"}


@pytest.mark.parametrize(
    ("entry", "floats"),
    [
        ("!nn.vacc_matmul", {"MatMul_q", "MatMul_k", "MatMul_o"}),
        ("!nn.vacc_batch_matmul", {"MatMul_a", "MatMul_v"}),
        ("!MatMul", {"MatMul_q", "MatMul_k", "MatMul_o", "MatMul_a", "MatMul_v"}),
    ],
)
def test_names_of_tvm_tell_dense_layers_from_products_of_activations(
    entry: str, floats: set[str]
) -> None:
    plan = plan_int8(network(ATTENTION), Int8Options(quantize_operators=(entry,)))

    found = {node.node for node in plan.nodes if node.form is Form.FLOAT and node.op == "MatMul"}
    assert found == floats


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "g (float[1, 2, 4, 4] x, float[2, 2, 1, 1] w) => (float[1, 2, 4, 4] y) "
            "{ y = Conv(x, w) }",
            "its weight 'w' is not a constant",
        ),
        (
            "g (float[1, 2, 4, 4] x, float[2] b) => (float[1, 2, 4, 4] y) "
            "<float[2, 2, 1, 1] w> { y = Conv(x, w, b) }",
            "its bias 'b' is not a constant",
        ),
        (
            "g (float[2, 4] x) => (float[2, 3] y) <float[4, 3] w, float[1, 3] b> "
            "{ y = Gemm(x, w, b) }",
            "its bias 'b' is not a vector",
        ),
        (
            "g (float[2, 4] x) => (float[2, 3] y) <float[4, 3] w> { y = Gemm<alpha = 0.5>(x, w) }",
            "only Gemm with alpha = beta = 1 and transA = 0 has an integer kernel",
        ),
        (
            "g (float[2, 3, 4] x) => (float[2, 3, 5] y) <float[2, 4, 5] w> { y = MatMul(x, w) }",
            "'w' is a constant",
        ),
        (
            "g (float16[1, 2] x) => (float16[1, 1] y) { z = Transpose(x) y = MatMul(x, z) }",
            "'x' is not known to be float32",
        ),
    ],
)
def test_a_heavy_node_that_does_not_fit_says_why(text: str, reason: str) -> None:
    plan = plan_int8(network(text), Int8Options())

    assert plan.nodes[-1].form is Form.FLOAT
    assert plan.nodes[-1].reason == reason


@pytest.mark.parametrize(
    ("body", "op", "reason"),
    [
        (
            "t = Pad(c, pads, one)",
            "Pad",
            "it pads with a value other than the constant 0",
        ),
        ("t, i = MaxPool<kernel_shape = [1, 1]>(c)", "MaxPool", "second output"),
        ("t = Clip(c, one)", "Clip", "its lower bound is 1, not 0"),
        ("m = ReduceMax(c) t = Clip(c, m)", "Clip", "its bounds are not constants"),
        (
            't = Resize<coordinate_transformation_mode = "tf_crop_and_resize">(c, roi, scales)',
            "Resize",
            "tf_crop_and_resize puts values outside the input",
        ),
    ],
)
def test_a_light_node_that_does_not_fit_says_why(body: str, op: str, reason: str) -> None:
    text = f"""g (float[1, 2, 4, 4] x) => (float y)
    <float[2, 2, 1, 1] w, int64[8] pads = {{0, 0, 1, 1, 0, 0, 1, 1}}, float one = {{1.0}},
     float[8] roi = {{0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0}},
     float[4] scales = {{1.0, 1.0, 1.0, 1.0}}>
    {{ c = Conv(x, w) {body} y = Conv(t, w) }}"""
    text = text.replace(
        "(float y)", "(float[1, 2, 6, 6] y)" if op == "Pad" else "(float[1, 2, 4, 4] y)"
    )
    plan = plan_int8(network(text), Int8Options())

    assert reason in next(node.reason for node in plan.nodes if node.op == op)


def test_an_old_opset_is_refused() -> None:
    graph = network(UNET)
    graph.opset = 12

    with pytest.raises(ValueError, match="opset 12: per-channel weights need opset 13 or later"):
        plan_int8(graph, Int8Options())


def test_repeated_node_names_are_refused() -> None:
    graph = network(UNET)
    graph.nodes[1].name = graph.nodes[0].name

    with pytest.raises(ValueError, match="node names are not unique"):
        plan_int8(graph, Int8Options())


def test_a_constant_spread_by_gathers_stays_bytes_all_the_way() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y)
    <float[4, 4, 1, 1] v, float[4, 4, 1, 1] w, float[1, 4, 3, 1] kinds,
     int64[6] rows = {0, 1, 1, 1, 1, 2}, int64[6] columns = {0, 0, 0, 0, 0, 0}>
    { c = Conv(x, v)  a = Gather<axis = 2>(kinds, rows)  m = Gather<axis = 3>(a, columns)
      s = Add(c, m)  y = Conv(s, w) }"""
    result = quantize(network(text))

    gathers = [node for node in result.qdq.nodes if node.op == "Gather"]
    assert [node.inputs[0].dtype for node in gathers] == [np.uint8, np.uint8]
    assert result.report.operators["QLinearAdd"] == 1
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_a_gather_by_unknown_indices_leaves_its_constant_in_float() -> None:
    text = """g (float[1, 4, 6, 6] x, int64[1] i) => (float[1, 4, 6, 6] y)
    <float[4, 4, 1, 1] v, float[4, 4, 1, 1] w, float[3, 4, 1, 1] kinds>
    { c = Conv(x, v)  k = Gather<axis = 0>(kinds, i)  s = Add(c, k)  y = Conv(s, w) }"""
    plan = plan_int8(network(text), Int8Options())

    assert {node.op: node.reason for node in plan.nodes if node.form is Form.FLOAT} == {
        "Gather": "'kinds' is a constant"
    }


def test_interpolation_weights_on_the_left_are_stored_exactly() -> None:
    text = """g (float[1, 4, 4, 4] x) => (float[1, 4, 3, 4] y)
    <float[4, 4, 1, 1] v, float[4, 4, 1, 1] w,
     float[3, 4] r = {0.75, 0.25, 0.0, 0.0, 0.0, 0.25, 0.75, 0.0, 0.0, 0.0, 0.25, 0.75}>
    { c = Conv(x, v)  m = MatMul(r, c)  y = Conv(m, w) }"""
    result = quantize(network(text))

    stored = next(node for node in result.qdq.nodes if node.outputs[0].name == "r_dequantized")
    values, scale = (tensor.values for tensor in stored.inputs[:2])
    np.testing.assert_array_equal(
        np.float32(values) * scale * 4, [[3, 1, 0, 0], [0, 1, 3, 0], [0, 0, 1, 3]]
    )
    assert result.ran_as("MatMul") == "QLinearMatMul"


def test_a_reflecting_pad_with_a_value_runs_on_bytes() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y)
    <float[4, 4, 1, 1] v, float[4, 4, 3, 3] w, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1},
     float value = {3.0}>
    { c = Conv(x, v)  p = Pad<mode = "reflect">(c, pads, value)  y = Conv(p, w) }"""
    result = quantize(network(text))

    assert result.ran_as("Pad") == "Pad"
    assert result.report.float_nodes == ()
    assert result.sqnr_db(random_feeds(result.model)) > 25
