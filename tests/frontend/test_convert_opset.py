"""Old opsets keep their meaning: the old file in ONNX Runtime against the converted graph."""

from pathlib import Path

import onnx
import pytest

from compiler.errors import GraphError
from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import to_model
from tests.support.models import assert_close, model_from_text, ops, random_feeds, run

CASES = {
    "upsample-7-linear": (7, 'y = Upsample<mode = "linear", scales = [1.0, 1.0, 2.0, 2.0]>(x)'),
    "upsample-7-nearest": (7, 'y = Upsample<mode = "nearest", scales = [1.0, 1.0, 3.0, 2.0]>(x)'),
    "upsample-9-odd": (9, 'y = Upsample<mode = "nearest">(x, odd)'),
    "resize-10-linear": (10, 'y = Resize<mode = "linear">(x, odd)'),
    "resize-11-half-pixel": (11, 'y = Resize<mode = "linear">(x, roi, odd)'),
    "resize-11-aligned": (
        11,
        'y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">'
        "(x, roi, odd)",
    ),
    "batch-norm-7": (7, "y = BatchNormalization<epsilon = 0.001>(x, two, two, two, two)"),
    "softmax-7": (7, "y = Softmax(x)"),
    "softmax-9-axis": (9, "y = Softmax<axis = 2>(x)"),
    "log-softmax-11": (11, "y = LogSoftmax(x)"),
    "pad-9": (9, "y = Pad<pads = [0, 0, 1, 2, 0, 0, 3, 4], value = 0.5>(x)"),
    "clip-7": (7, "y = Clip<min = -0.5, max = 0.5>(x)"),
    "clip-7-one-side": (7, "y = Clip<max = 0.5>(x)"),
    "slice-9": (9, "y = Slice<axes = [2, 3], starts = [1, 0], ends = [3, 2]>(x)"),
    "squeeze-11": (11, "y = Squeeze<axes = [0]>(x)"),
    "unsqueeze-11": (11, "y = Unsqueeze<axes = [0]>(x)"),
    "reduce-sum-11": (11, "y = ReduceSum<axes = [3], keepdims = 0>(x)"),
    "reduce-mean-9": (9, "y = ReduceMean<axes = [2, 3]>(x)"),
    "dropout-7": (7, "y = Dropout<ratio = 0.5>(x)"),
    "split-11": (11, "y, z = Split<axis = 1>(x)"),
    "max-pool-8": (8, "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)"),
    "average-pool-7": (
        7,
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(x)",
    ),
    "prelu-7": (7, "y = PRelu(x, slopes)"),
    "gemm-7": (7, "f = Flatten(x)  y = Gemm<transB = 1>(f, square, bias)"),
    "transposed-conv-7": (7, "y = ConvTranspose<strides = [2, 2]>(x, kernel)"),
    "top-k-9": (9, "y, i = TopK<k = 2>(x)"),
}
CONSTANTS = """float[4] odd = {1.0, 1.0, 2.3, 1.7}, float[0] roi = {}, float[2] two = {1.0, 2.0},
    float[2, 1, 1] slopes, float[3, 32] square, float[3] bias, float[2, 3, 2, 2] kernel"""


def model(opset: int, body: str) -> onnx.ModelProto:
    text = f"""<ir_version: 4, opset_import: ["" : {opset}]>
    g (float[1, 2, 4, 4] x) => (float y) <{CONSTANTS}> {{ {body} }}"""
    made = model_from_text(text.replace(", float[0] roi = {}", ""))
    made.graph.initializer.append(onnx.helper.make_tensor("roi", onnx.TensorProto.FLOAT, [0], []))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_converted_operator_computes_what_it_did(name: str, tmp_path: Path) -> None:
    opset, body = CASES[name]
    before = model(opset, body)
    path = tmp_path / "net.onnx"
    onnx.save(before, path)

    loaded = load_onnx(path, {})

    assert loaded.graph.opset == 17
    assert loaded.notes == (f"opset {opset} was converted to 17",)
    feeds = random_feeds(before)
    assert_close(run(to_model(loaded.graph), feeds), run(before, feeds), rtol=1e-6, atol=1e-6)


def test_newer_opsets_stay(tmp_path: Path) -> None:
    onnx.save(model(20, "y = Gelu(x)"), tmp_path / "net.onnx")
    loaded = load_onnx(tmp_path / "net.onnx", {})
    assert (loaded.graph.opset, loaded.notes, ops(loaded.graph)) == (20, (), ["Gelu"])


@pytest.mark.parametrize(("opset", "told"), [(6, "6"), (27, "27")])
def test_opsets_out_of_range_are_refused(opset: int, told: str, tmp_path: Path) -> None:
    onnx.save(model(opset, "y = Relu(x)"), tmp_path / "net.onnx")
    with pytest.raises(GraphError, match=f"has opset {told}; 7 to 26 are supported"):
        load_onnx(tmp_path / "net.onnx", {})


def test_a_network_without_the_onnx_opset_is_refused(tmp_path: Path) -> None:
    made = model(17, "y = Relu(x)")
    made.opset_import[0].domain = "elsewhere"
    onnx.save(made, tmp_path / "net.onnx")
    with pytest.raises(GraphError, match="has opset none"):
        load_onnx(tmp_path / "net.onnx", {})


def test_what_cannot_be_converted_says_why(tmp_path: Path) -> None:
    made = model(8, "y = BatchNormalization<spatial = 0>(x, two, two, two, two)")
    onnx.save(made, tmp_path / "net.onnx")
    with pytest.raises(GraphError, match="opset 8 could not be converted to 17") as info:
        load_onnx(tmp_path / "net.onnx", {})
    assert info.value.fix == "export the network again with opset 17"


def test_old_control_flow_is_refused_with_its_reason(tmp_path: Path) -> None:
    text = """<ir_version: 7, opset_import: ["" : 12]> g (bool c, float[2] x) => (float[2] y)
    { y = If (c) < then_branch = t () => (float[2] u) { u = Relu(x) },
                   else_branch = e () => (float[2] v) { v = Neg(x) } > }"""
    onnx.save(model_from_text(text), tmp_path / "net.onnx")
    with pytest.raises(GraphError, match="the inner graphs of If are not converted"):
        load_onnx(tmp_path / "net.onnx", {})
