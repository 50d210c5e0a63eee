from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.errors import GraphError
from compiler.frontend.load_onnx import LoadedModel, load_onnx
from compiler.graph.convert import check_graph, to_model
from compiler.graph.open_sizes import OpenSize
from tests.support.models import SHARED, assert_close, model_from_text, ops, run

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float["None", 3, h, w] image) => (float["None", 8, h, w] mask) <float[8, 3, 5, 5] w1, float[8] b>
{ c = Conv<pads = [2, 2, 2, 2]>(image, w1, b)
  mask = Relu(c) }"""
SHAPES = {"image": [1, 3, 8, 8]}


def network() -> onnx.ModelProto:
    return model_from_text(NETWORK.replace('"None"', "None"))


def write(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save_model(model, path)
    return path


def load(text: str, folder: Path, shapes: dict[str, list[int]] | None = None) -> LoadedModel:
    return load_onnx(write(model_from_text(text), folder), shapes or {})


def test_a_network_is_loaded_with_static_shapes(tmp_path: Path) -> None:
    path = write(network(), tmp_path)
    loaded = load_onnx(path, SHAPES)
    assert loaded.graph.inputs[0].shape == [1, 3, 8, 8]
    assert loaded.graph.outputs[0].shape == [1, 8, 8, 8]
    assert [node.name for node in loaded.graph.nodes] == ["Conv_c", "Relu_mask"]
    assert (loaded.notes, loaded.sources) == ((), (path,))
    feeds = {"image": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    assert_close(run(to_model(loaded.graph), feeds), run(network(), feeds), rtol=0, atol=0)


# Files


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="No such file") as caught:
        load_onnx(tmp_path / "absent.onnx", {})
    assert caught.value.where.endswith("absent.onnx")
    assert "frontend.checkpoint" in caught.value.fix


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read"):
        load_onnx(tmp_path, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the model file is empty"),
        (b"\xff" * 100, r"not an ONNX model, or a damaged one \(100 bytes\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "no opset in its 2 bytes"),
        (
            helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(),
            "no outputs in its",
        ),
    ],
)
def test_what_is_not_a_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(GraphError, match=message):
        load_onnx(path, {})


def test_a_file_cut_in_half_is_refused(tmp_path: Path) -> None:
    path = write(network(), tmp_path)
    path.write_bytes(path.read_bytes()[:1200])
    with pytest.raises(GraphError, match="damaged"):
        load_onnx(path, SHAPES)


def test_a_truncated_weight_is_named(tmp_path: Path) -> None:
    model = network()
    model.graph.initializer[0].raw_data = b"\0" * 100
    with pytest.raises(GraphError, match=r"weight 'w1' of shape \[8, 3, 5, 5\] is truncated"):
        load_onnx(write(model, tmp_path), SHAPES)


def test_an_unsupported_weight_type_is_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.initializer[1].data_type = onnx.TensorProto.BFLOAT16
    with pytest.raises(GraphError, match="weight 'b' has element type BFLOAT16"):
        load_onnx(write(model, tmp_path), SHAPES)


# External data


def external(folder: Path) -> Path:
    path = folder / "net.onnx"
    onnx.save_model(
        network(), path, save_as_external_data=True, location="net.data", size_threshold=0
    )
    return path


def rewrite_entry(path: Path, key: str, value: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())


def test_external_data_is_read_and_listed(tmp_path: Path) -> None:
    path = external(tmp_path)
    loaded = load_onnx(path, SHAPES)
    assert loaded.sources == (path, tmp_path / "net.data")
    feeds = {"image": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    assert_close(run(to_model(loaded.graph), feeds), run(network(), feeds), rtol=0, atol=0)


def test_external_data_of_constant_nodes_is_read(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)
    { c = Constant<value = float[2] {3.0, 4.0}>() y = Mul(x, c) }"""
    model = model_from_text(text)
    (tmp_path / "c.data").write_bytes(np.array([0, 5, 6], "<f4").tobytes())
    tensor = model.graph.node[0].attribute[0].t
    del tensor.float_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "c.data", "offset": "4"}.items():
        tensor.external_data.add(key=key, value=value)
    loaded = load_onnx(write(model, tmp_path), {})
    np.testing.assert_array_equal(loaded.graph.tensors()["c"].values, [5, 6])


@pytest.mark.parametrize("location", ["../net.data", "/etc/hostname", "", "a/../../net.data"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "net.data").write_bytes(b"\0" * 10000)
    path = external(tmp_path / "model")
    rewrite_entry(path, "location", location)
    with pytest.raises(GraphError, match="outside the model's folder"):
        load_onnx(path, SHAPES)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = external(tmp_path / "model")
    data = path.with_name("net.data").rename(tmp_path / "net.data")
    path.with_name("net.data").symlink_to(data)
    with pytest.raises(GraphError, match="outside the model's folder"):
        load_onnx(path, SHAPES)


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "net.data").unlink()
    with pytest.raises(GraphError, match=r"'net\.data' of weight 'w1' does not exist"):
        load_onnx(path, SHAPES)


def test_external_data_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "net.data").write_bytes(b"\0" * 1000)
    with pytest.raises(
        GraphError, match=r"'w1' is cut off: needs bytes 0 to 2400, .* 1000"
    ) as info:
        load_onnx(path, SHAPES)
    assert info.value.where.endswith("net.data")


@pytest.mark.parametrize(("key", "value"), [("length", "12"), ("offset", "-4"), ("length", "much")])
def test_entries_that_contradict_the_shape_are_refused(
    tmp_path: Path, key: str, value: str
) -> None:
    path = external(tmp_path)
    rewrite_entry(path, key, value)
    with pytest.raises(GraphError, match=r"'w1' of shape .* needs 2400 bytes, its entry says"):
        load_onnx(path, SHAPES)


# Input shapes


def test_an_unknown_input_name_lists_the_real_ones(tmp_path: Path) -> None:
    path = write(network(), tmp_path)
    with pytest.raises(GraphError, match=r"'imag'.*inputs are image \[None, 3, h, w\]") as info:
        load_onnx(path, {"imag": [1, 3, 8, 8]})
    assert info.value.fix == "did you mean 'image'?"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([3, 8, 8], r"image \[3, 8, 8\].* image \[None, 3, h, w\]: 3 dimensions against 4"),
        ([1, 4, 8, 8], "dimension 1 is 4 against 3"),
        ([1, 3, 0, 8], "dimension 2 is 0, must be 1 or more"),
    ],
)
def test_shapes_that_contradict_the_network_name_both(
    tmp_path: Path, shape: list[int], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        load_onnx(write(network(), tmp_path), {"image": shape})


def test_an_open_input_must_be_fixed(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"image \[None, 3, h, w\] is open") as info:
        load_onnx(write(network(), tmp_path), {})
    assert "add image" in info.value.fix


def test_an_input_without_rank_takes_the_given_shape(tmp_path: Path) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    path = write(model, tmp_path)
    assert load_onnx(path, SHAPES).graph.outputs[0].shape == [1, 8, 8, 8]
    with pytest.raises(GraphError, match="is open"):
        load_onnx(path, {})


def test_a_size_with_a_range_keeps_its_name_or_gets_one(tmp_path: Path) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[3].ClearField("dim_param")
    shape = [1, 3, OpenSize(64, 8), OpenSize(64, 8)]
    graph = load_onnx(write(model, tmp_path), {"image": shape}).graph
    assert list(graph.inputs[0].shape) == [1, 3, "h", "image_3"]
    assert list(graph.outputs[0].shape[:2]) == [1, 8]


def test_a_size_that_the_network_fixes_has_no_range(tmp_path: Path) -> None:
    with pytest.raises(
        GraphError, match=r"1\.\.3.*dimension 1 has a range against the fixed size 3"
    ):
        load_onnx(write(network(), tmp_path), {"image": [1, OpenSize(3), 8, 8]})


def test_a_static_input_needs_no_shape(tmp_path: Path) -> None:
    model = network()
    for size, value in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 8, 8), strict=True
    ):
        size.dim_value = value
    assert load_onnx(write(model, tmp_path), {}).graph.outputs[0].shape == [1, 8, 8, 8]


def test_shapes_that_the_operators_refuse_are_reported(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, n] x) => (float[1, n] y) <float[5] b> { y = Add(x, b) }"""
    with pytest.raises(GraphError, match=r"does not accept these input shapes: .*Add"):
        load(text, tmp_path, {"x": [1, 4]})


def test_stale_shapes_inside_the_network_are_ignored(tmp_path: Path) -> None:
    model = network()
    model.graph.value_info.append(
        helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [1, 8, 99, 99])
    )
    loaded = load_onnx(write(model, tmp_path), SHAPES)
    assert loaded.graph.tensors()["c"].shape == [1, 8, 8, 8]


def test_the_type_of_the_network_wins_with_a_note(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (int64[2] ids, float[2] x) => (float[2] y) { c = Cast<to = 1>(ids) y = Add(c, x) }"""
    path = write(model_from_text(text), tmp_path)
    assert load_onnx(path, {}, "fp32").notes == (
        "frontend.dtype is fp32, but input 'ids' is int64: the network decides",
    )
    assert len(load_onnx(path, {}, "int64").notes) == 1


# Old habits and what is refused


def test_weights_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = network()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    loaded = load_onnx(write(model, tmp_path), SHAPES)
    assert [tensor.name for tensor in loaded.graph.inputs] == ["image"]


def test_the_long_name_of_the_onnx_domain_is_understood(tmp_path: Path) -> None:
    model = network()
    model.opset_import[0].domain = model.graph.node[1].domain = "ai.onnx"
    assert ops(load_onnx(write(model, tmp_path), SHAPES).graph) == ["Conv", "Relu"]


def test_functions_are_inlined(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[2] x) => (float[2] y) { y = local.twice(x) }
    <domain: "local", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }"""
    assert ops(load(text, tmp_path).graph) == ["Add"]


def test_operators_of_other_domains_are_named(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1, "ai.onnx.ml" : 3]>
    g (float[2] x) => (float[2] y)
    { a = com.microsoft.FusedGelu(x) b = ai.onnx.ml.Scaler(a) y = Frobnicate(b) }"""
    with pytest.raises(
        GraphError, match=r"ai\.onnx\.Frobnicate, ai\.onnx\.ml\.Scaler, com\.microsoft\.FusedGelu"
    ):
        load(text, tmp_path)


def test_a_quantized_network_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)
    <float s = {0.5}, uint8 z = {0}>
    { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    with pytest.raises(GraphError, match="quantized already") as info:
        load(text, tmp_path)
    assert "float network" in info.value.fix


def test_sparse_weights_are_refused(tmp_path: Path) -> None:
    model = network()
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    with pytest.raises(GraphError, match="sparse weights are not supported: sparse"):
        load_onnx(write(model, tmp_path), SHAPES)


@pytest.mark.parametrize(
    ("kind", "message"), [("double[1]", "is float64"), ("seq(float[1])", "is not a tensor")]
)
def test_inputs_that_are_not_supported_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g ({kind} x) => ({kind} y)
    {{ y = Identity(x) }}"""
    with pytest.raises(GraphError, match=message):
        load(text, tmp_path)


def test_a_network_without_inputs_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g () => (float y)
    { y = Constant<value_float = 1.0>() }"""
    with pytest.raises(GraphError, match="has no inputs"):
        load(text, tmp_path)


def test_a_float16_network_becomes_float32_with_a_note(tmp_path: Path) -> None:
    # 15360 is the bit pattern of 1.0
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float16[1, 4] x) => (float16[1, 4] y)
    <float[4, 4] w, int64[1] n = {4}>
    { h = Cast<to = 10>(w) a = MatMul(x, h)
      s = ConstantOfShape<value = float16[1] {15360}>(n)
      b = Add(a, s) c = Cast<to = 1>(b) d = Relu(c) y = Cast<to = 10>(d) }"""
    model = model_from_text(text)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    half = numpy_helper.to_array(weight).astype(np.float16)
    weight.CopyFrom(numpy_helper.from_array(half, "w"))
    loaded = load_onnx(write(model, tmp_path), {}, "fp32")

    assert "float16 tensors became float32" in loaded.notes[0]
    assert len(loaded.notes) == 1
    x = np.array([[1, -2, 0.5, 3]], np.float16)
    (actual,) = run(to_model(loaded.graph), {"x": x.astype(np.float32)})
    (expected,) = run(model, {"x": x})
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-3)  # float16 rounding


# The shared networks

SHARED_NETWORKS = {
    "unet3p_human_128": ("input", [1, 3, 128, 128], 137),
    "unet_camvid_192x256": ("input", [1, 3, 192, 256], 67),
    "prisma_nchw": ("input_3", [1, 3, 256, 256], 176),
    "SINet": ("data", [1, 3, 320, 320], 243),
}


@pytest.mark.parametrize("name", SHARED_NETWORKS)
def test_shared_networks_load_and_compute_the_same(name: str) -> None:
    path = SHARED / "models" / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the shared networks are not beside the repository")
    key, shape, nodes = SHARED_NETWORKS[name]
    loaded = load_onnx(path, {key: shape}, "fp32")
    assert len(loaded.graph.nodes) == nodes
    assert loaded.graph.opset == 17
    assert len({node.name for node in loaded.graph.nodes}) == nodes
    check_graph(loaded.graph)
    feeds = {key: np.random.default_rng(0).random(shape, dtype=np.float32)}
    (actual,), (expected,) = run(to_model(loaded.graph), feeds), run(onnx.load(path), feeds)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.ptp(expected))
