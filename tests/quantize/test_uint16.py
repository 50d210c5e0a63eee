"""Layers with 16-bit activations: what they round, what they leave to the 8-bit layers around."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import check_model, to_bytes, to_model
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Form, Int8Options, plan_int8
from tests.quantize.networks import Quantized, network, quantize, run_all
from tests.support.models import random_feeds

# The channels of c differ by a factor of 300, those of y do not.
WIDE_RANGE = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
<float[2, 2, 1, 1] w = {30.0, 0.0, 0.0, 0.1}, float[2, 2, 1, 1] v = {0.03, 0.0, 0.0, 10.0}>
{ c = Conv(x, w) y = Conv(c, v) }"""

FOUR = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
<float[2, 2, 1, 1] w, float[2] b, float[2, 2, 1, 1] v, float[2, 2, 1, 1] u, float[2, 2, 1, 1] t>
{ c = Conv(x, w, b) r = Relu(c) d = Conv(r, v, b) e = Conv(d, u) y = Conv(e, t) }"""


def wide(text: str, *layers: int | str, opset: int = 17) -> Quantized:
    return quantize(network(text, opset), Int8Options(uint16_layers=layers))


def types_of(result: Quantized, name: str) -> list[object]:
    """Element types of the pairs between a tensor of the float graph and the nodes behind it."""
    tensors = result.qdq.tensors()
    return [tensor.dtype for key, tensor in tensors.items() if key.startswith(f"{name}_uint16")]


@pytest.mark.parametrize("opset", [17, 21])
def test_16_bits_hold_a_tensor_of_wide_range_that_8_cannot(opset: int) -> None:
    eight = quantize(network(WIDE_RANGE, opset))
    sixteen = wide(WIDE_RANGE, "*", opset=opset)
    feeds = random_feeds(eight.model)
    small = [run_all(one.model, feeds)[0][:, 1] for one in (eight, sixteen)]
    expected = run_all(to_model(eight.graph), feeds)[0][:, 1]
    noise = [float(np.square(values - expected).mean()) for values in small]
    assert noise[0] > 5000 * noise[1]
    assert sixteen.sqnr_db(feeds) > eight.sqnr_db(feeds) + 30


@pytest.mark.parametrize("opset", [17, 21])
def test_the_pairs_are_those_that_the_opset_has(opset: int) -> None:
    result = wide(FOUR, "Conv_d", opset=opset)
    pairs = [n for n in result.qdq.nodes if n.inputs[-1].dtype == np.uint16]
    assert {node.op for node in pairs} == {"QuantizeLinear", "DequantizeLinear"}
    assert {node.domain or "" for node in pairs} == {"com.microsoft" if opset < 21 else ""}
    check_model(result.model)
    domains = {one.domain: one.version for one in result.model.opset_import}
    assert domains == ({"": 17, "com.microsoft": 1} if opset < 21 else {"": 21})


def test_it_is_a_float_layer_for_this_engine_and_rounded_all_the_same() -> None:
    result = wide(FOUR, "Conv_d")
    forms = {node.node: (node.form, node.reason) for node in result.plan.nodes}
    reason = "16-bit activations: this engine computes them in float"
    assert forms["Conv_d"] == (Form.FLOAT, reason)
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert [node.node for node in result.report.nodes] == ["Conv_c", "Conv_e", "Conv_y"]
    (node,) = (node for node in result.qdq.nodes if node.name == "Conv_d")
    values = {n: t.values for n, t in result.qdq.tensors().items() if isinstance(t, gs.Constant)}
    assert [one.name for one in node.inputs] == [
        "r_dequantized_uint16_dequantized",
        "v_dequantized",
        "b_1_dequantized",
    ]
    assert (values["v_quantized"].dtype, values["b_1_quantized"].dtype) == (np.int8, np.int32)
    np.testing.assert_array_equal(
        values["b_1_scale"], values["r_dequantized_uint16_scale"] * values["v_scale"]
    )


def test_a_tensor_between_it_and_8_bit_layers_passes_through_both_forms() -> None:
    graph = wide(FOUR, "Conv_d").qdq
    names = {node.outputs[0].name for node in graph.nodes if node.op == "QuantizeLinear"}
    assert names == {
        "x_quantized",
        "r_quantized",
        "r_dequantized_uint16",
        "d_uint16",
        "d_quantized",
        "e_quantized",
        "y_quantized",
    }
    (narrow,) = (node for node in graph.nodes if node.outputs[0].name == "d_quantized")
    assert narrow.inputs[0].inputs[0].inputs[0].name == "d_uint16"


def test_a_tensor_between_two_16_bit_layers_is_rounded_once() -> None:
    result = wide(FOUR, "Conv_d", "Conv_e")
    names = {n.outputs[0].name for n in result.qdq.nodes if n.op == "QuantizeLinear"}
    assert {name for name in names if name.startswith("d")} == {"d_uint16"}
    assert "d" in result.plan.observed


def test_a_relu_belongs_to_the_layer_before_it() -> None:
    result = wide(FOUR, "Conv_c")
    assert result.plan.wide["Conv_c"].inputs == ("x",)
    assert result.plan.wide["Conv_c"].outputs == ("r",)
    (relu,) = (node for node in result.qdq.nodes if node.op == "Relu")
    assert (relu.inputs[0].name, relu.outputs[0].name) == ("c", "r_unrounded")


def test_an_output_of_the_network_keeps_its_name_and_is_rounded() -> None:
    result = wide(FOUR, "Conv_y")
    (output,) = result.qdq.outputs
    assert (output.name, output.dtype) == ("y", np.float32)
    scale = result.qdq.tensors()["y_uint16_scale"].values
    stored = run_all(result.model, random_feeds(result.model))[0] / scale
    np.testing.assert_allclose(stored, np.rint(stored), rtol=0, atol=5e-3)


def test_constants_and_tensors_read_twice_have_16_bits_too() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y, float[1, 2, 8, 8] z)
    <float[1, 2, 1, 1] k, float[1, 2, 1, 1] zeros = {0.0, 0.0}, float[2, 2, 1, 1] w>
    { a = Add(x, k) d = Add(a, a) e = Mul(d, k) y = Add(e, zeros) z = Conv(x, w) }"""
    result = wide(text, "Add_*", "Mul_e")
    constants = {n: t for n, t in result.qdq.tensors().items() if isinstance(t, gs.Constant)}
    assert constants["k_uint16"].values.dtype == np.uint16
    assert "k" not in constants
    np.testing.assert_array_equal(constants["zeros_uint16"].values, 0)
    assert result.sqnr_db(random_feeds(result.model)) > 75


def test_what_must_stay_float_is_not_rounded() -> None:
    options = Int8Options(uint16_layers=("Conv_d",), exclude_layers=("Conv_d",))
    plan = plan_int8(network(FOUR), options)
    assert plan.wide == {}
    (node,) = (node for node in plan.nodes if node.node == "Conv_d")
    assert node.reason == "named by exclude_layers: Conv_d"


def test_a_convolution_without_a_constant_weight_stays_float_for_its_own_reason() -> None:
    text = """g (float[1, 2, 8, 8] x, float[2, 2, 1, 1] w) => (float[1, 2, 8, 8] y)
    { y = Conv(x, w) }"""
    plan = plan_int8(network(text), Int8Options(uint16_layers=(0,)))
    assert plan.wide == {}
    assert plan.nodes[0].reason == "its weight 'w' is not a constant"


def test_an_entry_that_names_nothing_is_said() -> None:
    plan = plan_int8(network(FOUR), Int8Options(uint16_layers=("Conv_dd", 9)))
    assert plan.warnings == (
        "uint16_layers: no layer is named 'Conv_dd'; closest: Conv_d, Conv_y, Conv_e",
        "uint16_layers: there is no layer 9; the network has 4, numbered from 0",
    )


def test_the_same_plan_gives_the_same_bytes_and_leaves_the_float_graph_whole() -> None:
    graph = network(FOUR)
    before = to_bytes(to_model(graph))
    first, second = (
        quantize(graph, Int8Options(uint16_layers=("Conv_*",))).model for _ in range(2)
    )
    assert to_bytes(first) == to_bytes(second)
    assert to_bytes(to_model(graph)) == before


def test_a_plan_for_another_graph_is_refused() -> None:
    result = wide(FOUR, "Conv_y")
    other = network(FOUR.replace("y = Conv(e, t)", "y = Conv(e, t) q = Neg(y)"))
    other.nodes[-2].op = "Neg"
    other.nodes[-2].inputs = other.nodes[-2].inputs[:1]
    with pytest.raises(ValueError, match="the plan was made for another graph"):
        insert_qdq(other, result.plan, result.ranges)
