"""The report tells what the session runs, also when a pattern does not fuse."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.graph.convert import save_model
from compiler.verify.integer import IntegerReport, NodeState, inspect_session_graph
from tests.quantize.networks import Quantized, network, quantize

NETWORK = """g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[8, 4, 1, 1] w, float[8] b, float[4, 8, 1, 1] v>
{ c = Conv(x, w, b) r = Relu(c) y = Conv(r, v) }"""


@pytest.fixture
def quantized() -> Quantized:
    return quantize(network(NETWORK))


def inspect_with(quantized: Quantized, **constants: np.ndarray) -> IntegerReport:
    """Report for the model with some constants replaced."""
    model = onnx.ModelProto.FromString(quantized.model.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    return inspect_session_graph(model.SerializeToString(), quantized.plan.integer_nodes)


def test_planned_nodes_are_found_under_the_names_that_the_session_gives_them(
    quantized: Quantized,
) -> None:
    assert quantized.report.nodes == (
        NodeState("Conv_c", "Conv", "QLinearConv", True, ""),
        NodeState("Conv_y", "Conv", "QLinearConv", True, ""),
    )


def test_operators_on_the_bytes_of_the_input_itself_run_on_integers() -> None:
    text = """g (uint8[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y)
    <float[4, 4, 3, 3] w, int64[8] pads = {0, 0, 0, 0, 0, 1, 0, 0}>
    { f = Cast<to = 1>(x) p = Pad(f, pads) y = Conv(p, w) }"""
    report = quantize(network(text)).report
    assert [(node.op, node.integer) for node in report.nodes] == [("Pad", True), ("Conv", True)]


def test_a_zero_point_above_the_minimum_after_relu_is_reported(
    quantized: Quantized, caplog: pytest.LogCaptureFixture
) -> None:
    report = inspect_with(quantized, r_zero_point=np.array(128, np.uint8))

    assert [node.node for node in report.float_nodes] == ["Conv_c"]
    assert "float32" in report.float_nodes[0].reason
    assert "Conv 'Conv_c' runs in float" in caplog.text


def test_a_bias_at_another_scale_is_reported(quantized: Quantized) -> None:
    report = inspect_with(quantized, b_scale=np.full(8, 0.5, np.float32))

    assert [node.node for node in report.float_nodes] == ["Conv_c"]


def test_a_model_in_a_file_with_external_data(quantized: Quantized, tmp_path: Path) -> None:
    save_model(quantized.qdq, tmp_path / "mod.onnx", tmp_path / "mod.params")

    report = inspect_session_graph(tmp_path / "mod.onnx", quantized.plan.integer_nodes)

    assert report.float_nodes == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mod.onnx", "mod.params"]


PAIR = """<ir_version: 10, opset_import: ["" : 17]>
g (float[4, 4] x) => (float[4, 4] y) <float s = {0.1}, uint8 z = {0}, float s2 = {0.1}>
{ a = Tanh(x) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) y = Sinh(d) }"""


def test_a_pair_that_only_rounds_is_stray() -> None:
    model = onnx.parser.parse_model(PAIR)
    model.graph.node[1].name = "rounding"

    assert inspect_session_graph(model.SerializeToString(), ()).stray == ("rounding",)


def test_a_planned_node_that_is_not_there_is_reported() -> None:
    class Missing:
        node, op, output = "absent", "Conv", "y"

    model = onnx.parser.parse_model(PAIR)
    report = inspect_session_graph(model.SerializeToString(), (Missing(),))

    assert report.float_nodes[0].reason == "the session's graph has no node of this name"


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ValueError, match="ONNX Runtime refuses the quantized model"):
        inspect_session_graph(b"no model", ())
