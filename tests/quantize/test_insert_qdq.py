"""The written graph: names, sharing, determinism, and that the float graph stays whole."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import to_bytes, to_model
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Form, Int8Options, plan_int8
from tests.quantize.networks import as_range, network, quantize, run_all
from tests.support.models import random_feeds

CHAIN = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y, float[1, 2, 8, 8] r)
<float[2, 2, 1, 1] w, float[2] b, float[2, 2, 1, 1] v>
{ c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, b) }"""


def test_names_follow_from_the_tensors() -> None:
    result = quantize(network(CHAIN))

    names = set(result.qdq.tensors())
    for tensor in ("x", "r", "y", "w", "b", "v"):
        assert {f"{tensor}_quantized", f"{tensor}_scale", f"{tensor}_zero_point"} <= names
    assert {"x_dequantized", "w_dequantized"} <= names
    assert [node.name for node in result.qdq.nodes if node.op == "Conv"] == ["Conv_c", "Conv_y"]


def test_inputs_and_outputs_keep_name_type_and_shape() -> None:
    result = quantize(network(CHAIN))

    def border(graph: gs.Graph) -> list[tuple[str, object, object]]:
        tensors = [*graph.inputs, *graph.outputs]
        return [(tensor.name, tensor.dtype, list(tensor.shape)) for tensor in tensors]

    assert border(result.qdq) == border(result.graph)
    assert {tensor.inputs[0].op for tensor in result.qdq.outputs} == {"DequantizeLinear"}


def test_an_output_that_is_also_read_is_rounded_once() -> None:
    result = quantize(network(CHAIN))

    quantizers = [node for node in result.qdq.nodes if node.op == "QuantizeLinear"]
    assert sorted(node.outputs[0].name for node in quantizers) == [
        "r_quantized",
        "x_quantized",
        "y_quantized",
    ]
    assert result.report.operators["QLinearConv"] == 2
    feeds = random_feeds(result.model)
    stored = run_all(result.model, feeds)[1] / result.ranges["r"].scale
    np.testing.assert_allclose(stored, np.rint(stored), rtol=0, atol=1e-3)


def test_weights_are_int8_and_a_bias_is_int32_at_the_product_of_the_scales() -> None:
    result = quantize(network(CHAIN))

    values = {n: t.values for n, t in result.qdq.tensors().items() if isinstance(t, gs.Constant)}
    assert values["w_quantized"].dtype == np.int8
    assert values["b_quantized"].dtype == np.int32
    np.testing.assert_array_equal(values["b_scale"], values["x_scale"] * values["w_scale"])
    assert not {"w", "b", "v"} & values.keys()


def test_a_bias_of_two_readers_is_stored_at_both_scales() -> None:
    result = quantize(network(CHAIN))

    values = {n: t.values for n, t in result.qdq.tensors().items() if isinstance(t, gs.Constant)}
    np.testing.assert_array_equal(values["b_1_scale"], values["r_scale"] * values["v_scale"])


def test_a_weight_of_two_readers_is_stored_once() -> None:
    text = CHAIN.replace("Conv(r, v, b)", "Conv(r, w, b)").replace(", float[2, 2, 1, 1] v", "")
    result = quantize(network(text))

    stored = [name for name in result.qdq.tensors() if name.startswith("w")]
    assert sorted(stored) == ["w_dequantized", "w_quantized", "w_scale", "w_zero_point"]
    assert result.report.operators["QLinearConv"] == 2


def test_the_float_graph_is_not_changed() -> None:
    graph = network(CHAIN)
    before = to_bytes(to_model(graph))

    quantize(graph)

    assert to_bytes(to_model(graph)) == before


def test_the_same_graph_and_ranges_give_the_same_bytes() -> None:
    assert to_bytes(quantize(network(CHAIN)).model) == to_bytes(quantize(network(CHAIN)).model)


def test_float_weights_are_shared_with_the_float_graph() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 4, 16, 16] y)
    <float[4, 4, 1, 1] w, float[4, 4, 2, 2] t>
    { c = Conv(x, w) u = ConvTranspose<strides = [2, 2]>(c, t) y = Conv(u, w) }"""
    result = quantize(network(text))

    assert result.qdq.tensors()["t"].values is result.graph.tensors()["t"].values


def test_a_float_reader_of_a_float_tensor_reads_it_unrounded() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y, float[1, 2, 8, 8] z)
    <float[2, 2, 1, 1] w> { y = Conv(x, w) z = Tanh(x) }"""
    result = quantize(network(text))

    feeds = random_feeds(result.model)
    np.testing.assert_allclose(
        run_all(result.model, feeds)[1], np.tanh(feeds["x"]), rtol=1e-5, atol=1e-6
    )


def test_a_pad_on_bytes_pads_with_the_zero_point() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 10, 10] y)
    <float[2, 2, 1, 1] w, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}>
    { c = Conv(x, w) y = Pad(c, pads) }"""
    result = quantize(network(text))

    assert result.ranges["c"].zero_point > 0
    (output,) = run_all(result.model, random_feeds(result.model))
    assert not output[:, :, 0].any()
    assert not output[:, :, :, -1].any()
    assert output[:, :, 1:-1, 1:-1].any()
    assert result.sqnr_db(random_feeds(result.model)) > 30


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_a_constant_may_be_a_single_number_without_axes(op: str) -> None:
    text = f"""g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
    <float[4, 4, 1, 1] w, float k = {{0.5}}>
    {{ c = Conv(x, w) a = {op}(c, k) y = Conv(a, w) }}"""
    result = quantize(network(text))

    assert result.form(op) is Form.INTEGER
    assert result.report.float_nodes == ()
    assert result.sqnr_db(random_feeds(result.model)) > 25


def test_a_plan_of_another_graph_is_refused() -> None:
    graph = network(CHAIN)
    plan = plan_int8(graph, Int8Options())
    ranges = {name: as_range(name, 0, 1) for name in plan.observed}
    graph.nodes[0].inputs[1].to_variable(np.float32, (2, 2, 1, 1))

    with pytest.raises(ValueError, match="the plan was made for another graph"):
        insert_qdq(graph, plan, ranges)
