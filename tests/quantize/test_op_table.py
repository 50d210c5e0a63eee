"""Every row of the operator table, read back from the graph that the session really runs."""

import onnx
import pytest

from compiler.quantize.op_rules import OP_RULES
from compiler.quantize.plan import Form, Int8Options, plan_int8
from compiler.quantize.replace_reduce_mean import replace_reduce_mean
from tests.quantize.networks import network, quantize
from tests.support.models import random_feeds

IMAGE = "float[1, 4, 16, 16] x"
CONV = "c = Conv<pads = [1, 1, 1, 1]>(x, w)"
LAST = "y = Conv<pads = [1, 1, 1, 1]>(t, v)"
W, V = "float[8, 4, 3, 3] w", "float[4, 8, 3, 3] v"


def between(body: str, weights: str = "", last: str = LAST, v: str = V, shape: str = "") -> str:
    """`body` makes t of c, between two Convs."""
    extra = f", {weights}" if weights else ""
    output = shape or "1, 4, 16, 16"
    return f"g ({IMAGE}) => (float[{output}] y) <{W}, {v}{extra}> {{ {CONV} {body} {last} }}"


def whole(x: str, y: str, body: str, weights: str = "") -> str:
    return f"g (float[{x}] x) => (float[{y}] y) <{weights}> {{ {body} }}"


DENSE = "y = MatMul(t, v)"
INTEGER = {
    # name: (network, operator, what the session runs for it)
    "1-D Conv": (
        whole("1, 4, 32", "1, 8, 32", "y = Conv<pads = [1, 1]>(x, w)", "float[8, 4, 3] w"),
        "Conv",
        "QLinearConv",
    ),
    "3-D Conv": (
        whole("1, 4, 6, 6, 6", "1, 8, 4, 4, 4", "y = Conv(x, w)", "float[8, 4, 3, 3, 3] w"),
        "Conv",
        "QLinearConv",
    ),
    "grouped Conv with bias": (
        whole(
            "1, 4, 8, 8",
            "1, 8, 6, 6",
            "y = Conv<group = 2>(x, w, b)",
            "float[8, 2, 3, 3] w, float[8] b",
        ),
        "Conv",
        "QLinearConv",
    ),
    "depthwise strided Conv with asymmetric pads": (
        whole(
            "1, 4, 8, 8",
            "1, 4, 4, 4",
            "y = Conv<group = 4, strides = [2, 2], pads = [0, 0, 1, 1]>(x, w)",
            "float[4, 1, 3, 3] w",
        ),
        "Conv",
        "QLinearConv",
    ),
    "LeakyRelu": (between("t = LeakyRelu<alpha = 0.1>(c)"), "LeakyRelu", "QLinearLeakyRelu"),
    "Sigmoid of SiLU": (between("s = Sigmoid(c) t = Mul(c, s)"), "Sigmoid", "QLinearSigmoid"),
    "Mul of SiLU": (between("s = Sigmoid(c) t = Mul(c, s)"), "Mul", "QLinearMul"),
    "Softmax": (between("t = Softmax<axis = 1>(c)"), "Softmax", "QLinearSoftmax"),
    "Add of an activation to itself": (between("t = Add(c, c)"), "Add", "QLinearAdd"),
    "Add, Relu": (between("s = Add(c, c) t = Relu(s)"), "Add", "QLinearAdd"),
    "Add of a constant": (between("t = Add(c, k)", "float[8, 1, 1] k"), "Add", "QLinearAdd"),
    "Mul by a constant": (between("t = Mul(c, k)", "float[1] k"), "Mul", "QLinearMul"),
    "Mul by a gate per channel": (
        between("p = GlobalAveragePool(c) s = Sigmoid(p) t = Mul(c, s)"),
        "Mul",
        "QLinearMul",
    ),
    "Where": (
        between("t = Where(k, c, r)", "bool[1] k = {1}, float[1] r = {0.5}"),
        "Where",
        "QLinearWhere",
    ),
    "Concat": (
        between("r = Relu(x) t = Concat<axis = 1>(c, r)", v="float[4, 12, 3, 3] v"),
        "Concat",
        "QLinearConcat",
    ),
    "MaxPool": (
        between("t = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)", shape="1, 4, 8, 8"),
        "MaxPool",
        "NhwcMaxPool",
    ),
    "MaxPool 8x8 with ceil_mode": (
        between(
            "t = MaxPool<kernel_shape = [7, 7], strides = [7, 7], ceil_mode = 1>(c)",
            shape="1, 4, 3, 3",
        ),
        "MaxPool",
        "NhwcMaxPool",
    ),
    "AveragePool": (
        between("t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c)"),
        "AveragePool",
        "QLinearAveragePool",
    ),
    "AveragePool, Relu": (
        between("s = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c) t = Relu(s)"),
        "AveragePool",
        "QLinearAveragePool",
    ),
    "GlobalAveragePool": (
        between("t = GlobalAveragePool(c)", shape="1, 4, 1, 1"),
        "GlobalAveragePool",
        "QLinearGlobalAveragePool",
    ),
    "ReduceMax": (
        between("t = ReduceMax<axes = [2, 3]>(c)", shape="1, 4, 1, 1"),
        "ReduceMax",
        "ReduceMax",
    ),
    "nearest Resize": (
        between(
            't = Resize<mode = "nearest">(c, , e)',
            "float[4] e = {1.0, 1.0, 2.0, 2.0}",
            shape="1, 4, 32, 32",
        ),
        "Resize",
        "Resize",
    ),
    "Slice": (
        between(
            "t = Slice(c, from, to)",
            "int64[4] from = {0, 0, 0, 0}, int64[4] to = {1, 8, 8, 8}",
            shape="1, 4, 8, 8",
        ),
        "Slice",
        "Slice",
    ),
    "Split": (
        between("a, b = Split<axis = 1>(c) t = Add(a, b)", v="float[4, 4, 3, 3] v"),
        "Split",
        "Split",
    ),
    "Gather": (
        between("t = Gather<axis = 1>(c, i)", "int64[4] i = {0, 2, 4, 6}", v="float[4, 4, 3, 3] v"),
        "Gather",
        "Gather",
    ),
    "DepthToSpace": (
        between(
            "t = DepthToSpace<blocksize = 2>(c)", v="float[4, 2, 3, 3] v", shape="1, 4, 32, 32"
        ),
        "DepthToSpace",
        "DepthToSpace",
    ),
    "Expand": (
        between(
            "p = GlobalAveragePool(c) t = Expand(p, e)",
            "int64[4] e = {1, 8, 4, 4}",
            shape="1, 4, 4, 4",
        ),
        "Expand",
        "Expand",
    ),
    "Transpose": (
        between(
            "t = Transpose<perm = [0, 2, 1, 3]>(c)", v="float[4, 16, 3, 3] v", shape="1, 4, 8, 16"
        ),
        "Transpose",
        "",  # merged into the change to channels-last layout
    ),
    "Reshape": (
        between("t = Reshape(c, e)", "int64[4] e = {1, 8, 8, 32}", shape="1, 4, 8, 32"),
        "Reshape",
        "Reshape",
    ),
    "Flatten": (
        between("t = Flatten(c)", v="float[2048, 3] v", last=DENSE, shape="1, 3"),
        "Flatten",
        "Flatten",
    ),
    "Squeeze": (
        between(
            "p = GlobalAveragePool(c) t = Squeeze(p, e)",
            "int64[2] e = {2, 3}",
            v="float[8, 3] v",
            last=DENSE,
            shape="1, 3",
        ),
        "Squeeze",
        "Squeeze",
    ),
    "Unsqueeze": (
        between(
            "t = Unsqueeze(c, e)",
            "int64[1] e = {1}",
            v="float[4, 1, 3, 3, 3] v",
            last="y = Conv<pads = [1, 1, 1, 1, 1, 1]>(t, v)",
            shape="1, 4, 8, 16, 16",
        ),
        "Unsqueeze",
        "Unsqueeze",
    ),
    "Pad with 0": (
        between("t = Pad(c, e)", "int64[8] e = {0, 0, 1, 1, 0, 0, 2, 2}", shape="1, 4, 19, 19"),
        "Pad",
        "Pad",
    ),
    "Pad by reflection": (
        between(
            't = Pad<mode = "reflect">(c, e)',
            "int64[8] e = {0, 0, 1, 1, 0, 0, 2, 2}",
            shape="1, 4, 19, 19",
        ),
        "Pad",
        "Pad",
    ),
    "MatMul with a weight": (
        whole("6, 8", "6, 16", "y = MatMul(x, w)", "float[8, 16] w"),
        "MatMul",
        "MatMulIntegerToFloat",
    ),
    "MatMul with a bias": (
        whole("6, 8", "6, 16", "m = MatMul(x, w) y = Add(m, b)", "float[8, 16] w, float[16] b"),
        "MatMul",
        "QGemm",
    ),
    "MatMul with a bias in three dimensions": (
        whole(
            "2, 6, 8", "2, 6, 16", "m = MatMul(x, w) y = Add(b, m)", "float[8, 16] w, float[16] b"
        ),
        "MatMul",
        "QGemm",
    ),
    "MatMul of two activations": (
        whole("6, 6", "6, 6", "y = MatMul(x, x)"),
        "MatMul",
        "MatMulIntegerToFloat",
    ),
    "Gemm": (
        whole("6, 8", "6, 16", "y = Gemm(x, w, b)", "float[8, 16] w, float[16] b"),
        "Gemm",
        "QGemm",
    ),
    "transposed Gemm without bias": (
        whole("6, 8", "6, 16", "y = Gemm<transB = 1>(x, w)", "float[16, 8] w"),
        "Gemm",
        "QGemm",
    ),
}


@pytest.mark.parametrize(("text", "op", "ran_as"), INTEGER.values(), ids=INTEGER)
def test_an_operator_with_an_integer_kernel_runs_on_integers(
    text: str, op: str, ran_as: str
) -> None:
    result = quantize(network(text))

    assert {node.form for node in result.plan.nodes if node.op == op} == {Form.INTEGER}
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert ran_as in {state.ran_as for state in result.report.nodes if state.op == op}
    assert not {"Conv", "FusedConv", "MatMul", "Gemm"} & result.report.operators.keys()
    assert result.sqnr_db(random_feeds(result.model)) > 25


FLOAT = {
    # name: (what makes t of c, weights, operator); each stays float, and only it.
    "ConvTranspose": ("t = ConvTranspose(c, k)", "float[8, 8, 1, 1] k", "ConvTranspose"),
    "Sub": ("t = Sub(c, k)", "float[8, 1, 1] k", "Sub"),
    "Div": ("t = Div(c, k)", "float[1] k = {3.0}", "Div"),
    "HardSwish": ("t = HardSwish(c)", "", "HardSwish"),
    "HardSigmoid": ("t = HardSigmoid(c)", "", "HardSigmoid"),
    "Tanh": ("t = Tanh(c)", "", "Tanh"),
    "Erf": ("t = Erf(c)", "", "Erf"),
    "PRelu": ("t = PRelu(c, k)", "float[8, 1, 1] k", "PRelu"),
    "InstanceNormalization": (
        "t = InstanceNormalization(c, k, l)",
        "float[8] k, float[8] l",
        "InstanceNormalization",
    ),
    "LayerNormalization": ("t = LayerNormalization(c, k)", "float[16] k", "LayerNormalization"),
    "Clip from -1": ("t = Clip(c, k, l)", "float k = {-1.0}, float l = {1.0}", "Clip"),
    "linear Resize": (
        't = Resize<mode = "linear">(c, , e)',
        "float[4] e = {1.0, 1.0, 2.0, 2.0}",
        "Resize",
    ),
    "cubic Resize": (
        't = Resize<mode = "cubic">(c, , e)',
        "float[4] e = {1.0, 1.0, 2.0, 2.0}",
        "Resize",
    ),
}


@pytest.mark.parametrize(("body", "weights", "op"), FLOAT.values(), ids=FLOAT)
def test_an_operator_without_integer_kernel_stays_float_between_two_integer_ones(
    body: str, weights: str, op: str
) -> None:
    shape = "1, 4, 32, 32" if op == "Resize" else ""
    result = quantize(network(between(body, weights, shape=shape)))

    assert result.form(op) is Form.FLOAT
    assert next(node.reason for node in result.plan.nodes if node.op == op) != ""
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert result.report.operators["QLinearConv"] == 2
    assert result.report.operators["QuantizeLinear"] == 2
    assert result.report.operators["DequantizeLinear"] == 2
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_space_to_depth_stays_float() -> None:
    text = between(
        "t = SpaceToDepth<blocksize = 2>(c)", v="float[4, 32, 3, 3] v", shape="1, 4, 8, 8"
    )
    result = quantize(network(text))

    assert result.form("SpaceToDepth") is Form.FLOAT
    assert result.report.operators["QLinearConv"] == 2


@pytest.mark.parametrize(
    ("attributes", "size", "reason"),
    [
        (
            "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], ceil_mode = 1, "
            "count_include_pad = 1",
            9,
            "ceil_mode and count_include_pad",
        ),
        ("kernel_shape = [2, 2], dilations = [2, 2]", 14, "dilated AveragePool"),
    ],
    ids=["ceil_mode", "dilations"],
)
def test_an_average_that_the_integer_kernel_gets_wrong_stays_float_in_the_session_too(
    attributes: str, size: int, reason: str
) -> None:
    text = between(f"t = AveragePool<{attributes}>(c)", shape=f"1, 4, {size}, {size}")
    result = quantize(network(text, opset=19))

    assert result.form("AveragePool") is Form.FLOAT
    assert reason in next(node.reason for node in result.plan.nodes if node.op == "AveragePool")
    assert result.report.operators["AveragePool"] == 1
    assert result.report.operators["QLinearConv"] == 2
    assert "QLinearAveragePool" not in result.report.operators
    assert result.report.float_nodes == ()
    assert result.sqnr_db(random_feeds(result.model)) > 25


@pytest.mark.parametrize(
    "activation",
    ["t = Relu(c)", "t = Clip(c, lo, hi)", "t = Clip(c, lo)"],
    ids=["Relu", "Clip(0, 6)", "Clip(0, )"],
)
def test_an_activation_after_conv_vanishes_in_its_quantizer(activation: str) -> None:
    result = quantize(network(between(activation, "float lo = {0.0}, float hi = {6.0}")))

    assert result.form(activation[4:8]) is Form.FUSED
    assert "c" not in result.plan.observed
    assert result.ranges["t"].zero_point == 0
    assert dict(result.report.operators) == {
        "QuantizeLinear": 1,
        "Transpose": 2,
        "QLinearConv": 2,
        "DequantizeLinear": 1,
    }


def test_clip_bounds_may_be_vectors_of_one_element() -> None:
    # ONNX asks for scalars, but exporters write (1,), which only fails in ONNX Runtime.
    graph = network(between("t = Clip(c, lo, hi)", "float[1] lo = {0.0}, float[1] hi = {6.0}"))
    plan = plan_int8(graph, Int8Options())

    assert next(node.form for node in plan.nodes if node.op == "Clip") is Form.FUSED
    assert plan.tensors["t"].upper == 6.0


def test_a_clip_bound_caps_the_scale_that_an_edited_table_asks_for() -> None:
    text = between("t = Clip(c, lo, hi)", "float lo = {0.0}, float hi = {6.0}")
    graph = network(text)
    result = quantize(graph, samples=[{"x": 9 * random_feeds(quantize(graph).model)["x"]}])

    (plan,) = [plan for name, plan in result.plan.tensors.items() if name == "t"]
    assert (plan.upper, plan.zero_based) == (6.0, True)


def test_an_unread_output_of_split_keeps_the_split_float() -> None:
    result = quantize(network(between("t, s = Split<axis = 1>(c)", v="float[4, 4, 3, 3] v")))

    assert result.form("Split") is Form.FLOAT
    assert result.report.operators["QLinearConv"] == 2


def test_a_relu_whose_input_has_another_reader_stays_float() -> None:
    result = quantize(network(between("r = Relu(c) t = Add(r, c)")))

    assert result.form("Relu") is Form.FLOAT
    assert result.report.float_nodes == ()
    assert result.report.operators["QLinearAdd"] == 1


def test_argmax_reads_bytes() -> None:
    text = f"g ({IMAGE}) => (int64[1, 1, 16, 16] y) <{W}> {{ {CONV} y = ArgMax<axis = 1>(c) }}"
    result = quantize(network(text))

    assert result.form("ArgMax") is Form.INTEGER
    assert result.report.float_nodes == ()
    assert "DequantizeLinear" not in result.report.operators


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_height_and_width_becomes_global_average_pool(
    opset: int, keepdims: int
) -> None:
    axes = "(c, e)" if opset == 18 else "(c)"
    attribute = "" if opset == 18 else ", axes = [-1, 2]"
    text = between(
        f"t = ReduceMean<keepdims = {keepdims}{attribute}>{axes}",
        "int64[2] e = {-1, 2}" if opset == 18 else "",
        last=LAST if keepdims else DENSE,
        v=V if keepdims else "float[8, 3] v",
        shape="1, 4, 1, 1" if keepdims else "1, 3",
    )
    graph = network(text, opset)

    assert replace_reduce_mean(graph) == 1
    result = quantize(graph)
    assert result.ran_as("GlobalAveragePool") == "QLinearGlobalAveragePool"
    assert result.report.float_nodes == ()
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_a_mean_over_channels_is_left_alone() -> None:
    graph = network(between("t = ReduceMean<axes = [1]>(c)", v="float[4, 1, 3, 3] v"))

    assert replace_reduce_mean(graph) == 0
    assert quantize(graph).form("ReduceMean") is Form.FLOAT


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_may_have_one_scale(per_channel: bool) -> None:
    result = quantize(network(between("t = Relu(c)")), Int8Options(per_channel=per_channel))

    scale = next(t for name, t in result.qdq.tensors().items() if name == "w_scale")
    assert scale.values.shape == ((8,) if per_channel else ())
    assert result.report.operators["QLinearConv"] == 2


@pytest.mark.parametrize(
    ("text", "ran_as"),
    [
        (between("t = Relu(c)").replace("(x, w)", "(x, w, b)"), "QLinearConv"),
        (INTEGER["grouped Conv with bias"][0], "QLinearConv"),
        (INTEGER["Gemm"][0], "QGemm"),
        (INTEGER["MatMul with a bias in three dimensions"][0], "QGemm"),
    ],
    ids=["Conv, Relu", "grouped Conv", "Gemm", "MatMul"],
)
def test_a_bias_beside_a_weight_with_one_scale(text: str, ran_as: str) -> None:
    text = text.replace(f"<{W},", f"<{W}, float[8] b,")
    result = quantize(network(text), Int8Options(per_channel=False))

    tensors = result.qdq.tensors()
    assert tensors["b_scale"].values.shape == tensors["b_zero_point"].values.shape == ()
    assert tensors["b_quantized"].values.dtype == "int32"
    assert result.report.float_nodes == ()
    assert result.report.operators[ran_as] >= 1
    assert not {"Conv", "MatMul", "Gemm", "Add"} & result.report.operators.keys()
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_rows_name_inputs_that_their_operators_have() -> None:
    for op, rules in OP_RULES.items():
        inputs = len(onnx.defs.get_schema(op).inputs)
        for rule in rules:
            positions = [*rule.acts, rule.weight or 0, rule.bias or 0]
            assert max(positions) < inputs, op
            assert rule.acts or op == "Concat"  # the one operator with any number of inputs
            assert rule.bias is None or rule.weight is not None
