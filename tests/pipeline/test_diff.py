"""Two networks: what is said to differ, and that what is not said does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calibration.ranges import TensorRange, clipped_range
from compiler.config.load import load_config
from compiler.errors import BuildFileError, BundleError, CalibrationError, GraphError
from compiler.graph.convert import to_graph
from compiler.pipeline import compile_model, layer_diff
from compiler.pipeline.build_diff import Change, diff_builds, diff_scales
from compiler.pipeline.diff import diff_networks
from compiler.pipeline.graph_diff import (
    AttributeChange,
    GraphDiff,
    NodeChange,
    NodeGroup,
    WeightChange,
    diff_graphs,
)
from compiler.pipeline.layer_diff import without_factors
from compiler.runner.manifest import FileFact, Source
from tests.support.bundles import MANIFEST, make_bundle
from tests.support.models import model_from_text
from tests.support.project import make_project, two_convolutions

MACS = 8 * 16 * 16 * 27 + 1 * 16 * 16 * 72  # of the project's two convolutions


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project with bundles net_int8, net_max (int8 too) and net_fp16."""
    folder = tmp_path_factory.mktemp("project")
    project = make_project(folder)
    backend = project.document["backend"]
    backend["quantize"] |= {"equalize": False, "bias_correction": False}
    compile_model(load_config(project.write()))
    project.document["name"] = "net_max"
    backend["quantize"]["calibrate_mode"] = "max"
    compile_model(load_config(project.write()))
    del backend["quantize"]
    project.document["name"], backend["dtype"] = "net_fp16", "fp16"
    compile_model(load_config(project.write()))
    return folder


@pytest.fixture
def int8(project: Path) -> Path:
    return project / "deploy" / "net_int8"


def test_a_bundle_beside_its_own_network(project: Path, int8: Path) -> None:
    original = project / "net.onnx"
    seen: list[str] = []
    diff = diff_networks(int8, original, progress=lambda stage, done, total: seen.append(stage))
    assert not diff.identical
    assert (diff.a.kind, diff.a.dtype, diff.b.kind, diff.b.dtype) == (
        *("bundle", "int8"),
        *("ONNX file", "fp32"),
    )
    assert diff.a.macs == diff.b.macs == MACS
    assert diff.b.size == original.stat().st_size
    assert diff.a.inputs == diff.b.inputs
    assert diff.graph is not None
    assert diff.graph.operators["BatchNormalization"] == (0, 1)
    assert diff.graph.operators["DequantizeLinear"] == (6, 0)
    assert diff.graph.only_a == ()
    assert diff.graph.only_b == (NodeGroup("BatchNormalization_n1", ("BatchNormalization",)),)
    first, last = diff.graph.changed
    assert (first.name, last.name) == ("first", "last")
    assert [one.a for one in first.weights] == ["int8[8, 3, 3, 3]", "int32[8]"]
    assert [one.b for one in first.weights] == ["float32[8, 3, 3, 3]", "float32[8]"]
    # The last layer's weights are only rounded: 8 bits give about 6 dB each.
    (rounded,) = last.weights
    assert rounded.sqnr_db is not None
    assert 40 < rounded.sqnr_db < 60
    assert (diff.build, diff.scales) == (None, None)
    assert diff.notes == (f"{int8} was made from {original}",)
    assert diff.run is not None
    (output,) = diff.run.outputs
    assert output.name == "output"
    assert 20 < output.sqnr_db < 60
    (layer,) = diff.run.layers  # the first convolution is part of the Relu's integer kernel
    assert (layer.node, layer.op, layer.figures.name) == ("Relu_r1", "Relu", "r1")
    assert 20 < layer.figures.sqnr_db < 60
    assert layer.rescaled == 0
    assert diff.run.fed == "random values"
    assert diff.run.ratio == diff.run.milliseconds[1] / diff.run.milliseconds[0]
    assert list(dict.fromkeys(seen)) == ["load", "compare", "run", "latency"]


def test_two_bundles_show_what_was_built_otherwise(project: Path, int8: Path) -> None:
    diff = diff_networks(int8, project / "deploy" / "net_max" / "mod", run=False)
    assert diff.build is not None
    assert diff.build.keys == (
        Change("name", "net_int8", "net_max"),
        Change("backend.quantize.calibrate_mode", "kl_divergence", "max"),
    )
    assert (diff.build.versions, diff.build.sources) == ((), ())
    assert {one.key for one in diff.build.files} >= {"mod.onnx", "mod.calib.txt"}
    assert diff.scales is not None
    octaves = [one.octaves for one in diff.scales]
    assert {one.tensor for one in diff.scales} == {"input", "r1", "output"}
    assert all(one is not None for one in octaves)
    assert octaves == sorted(octaves, key=lambda one: -abs(one or 0.0))
    assert {one.b.method for one in diff.scales if one.b is not None} == {"max"}
    assert diff.graph is not None
    assert (diff.graph.only_a, diff.graph.only_b, diff.graph.recounted) == ((), (), ())
    assert diff.run is None
    assert diff.notes == ()


def test_fp16_computes_almost_the_same_in_every_layer(project: Path) -> None:
    diff = diff_networks(project / "net.onnx", project / "deploy" / "net_fp16")
    assert diff.run is not None
    assert {layer.figures.name for layer in diff.run.layers} == {"n1", "r1"}
    sqnr = [layer.figures.sqnr_db for layer in diff.run.layers]
    assert sqnr == sorted(sqnr)
    assert sqnr[0] > 60


def test_what_is_the_same_is_not_run(project: Path, int8: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(int8, tmp_path / "copy")
    diff = diff_networks(int8, copy)
    assert diff.identical
    assert (diff.graph, diff.build, diff.scales, diff.run, diff.notes) == (
        *(None, None, None, None),
        (),
    )
    assert diff_networks(int8, int8 / "mod.onnx").identical
    file = shutil.copy(project / "net.onnx", tmp_path / "copy.onnx")
    assert diff_networks(project / "net.onnx", file).identical


def test_an_image_goes_through_the_preprocessing_of_a_bundle(project: Path, int8: Path) -> None:
    image = project / "calib" / "image_0.png"
    for pair in ((int8, project / "net.onnx"), (project / "net.onnx", int8)):
        diff = diff_networks(*pair, image=image)
        assert diff.run is not None
        assert diff.run.fed == "image_0.png, through the preprocessing of net_int8"
    with pytest.raises(CalibrationError, match="No such file"):
        diff_networks(int8, project / "net.onnx", image=project / "absent.png")


def test_an_image_needs_a_bundle_with_preprocessing(project: Path, tmp_path: Path) -> None:
    onnx.save(two_convolutions(seed=1), tmp_path / "other.onnx")
    with pytest.raises(BuildFileError, match="neither A nor B") as caught:
        diff_networks(project / "net.onnx", tmp_path / "other.onnx", image=tmp_path / "any.png")
    assert caught.value.where == "--image"


def test_other_weights_are_said_and_another_network_too(project: Path, tmp_path: Path) -> None:
    onnx.save(two_convolutions(seed=1), tmp_path / "other.onnx")
    diff = diff_networks(project / "deploy" / "net_fp16", tmp_path / "other.onnx")
    assert f"was not made from {tmp_path / 'other.onnx'}" in diff.notes[0]
    assert diff.run is not None
    assert diff.run.outputs[0].sqnr_db < 10


def test_networks_with_other_inputs_are_not_run(project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    diff = diff_networks(project / "net.onnx", bundle)
    assert diff.run is None
    assert diff.graph is not None
    assert diff.graph.only_b == (NodeGroup("Mul_y", ("Mul",)),)
    assert diff.notes[-1] == (
        "nothing was run: A reads input float32[1, 3, 16, 16], but B reads x float32[1, 3, 4, 6]"
    )


def test_outputs_of_other_shapes_are_not_compared(project: Path, tmp_path: Path) -> None:
    model = two_convolutions()
    model.graph.node[-1].attribute[0].ints[:] = [0, 0, 0, 0]  # no padding
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim[2].dim_value = shape.dim[3].dim_value = 14
    onnx.save(model, tmp_path / "smaller.onnx")
    diff = diff_networks(project / "net.onnx", tmp_path / "smaller.onnx")
    assert diff.a.outputs != diff.b.outputs
    assert diff.run is not None
    assert diff.run.outputs == ()
    assert {layer.figures.max_error for layer in diff.run.layers} == {0.0}


def test_sizes_that_a_file_leaves_open_are_those_of_the_bundle(
    project: Path, int8: Path, tmp_path: Path
) -> None:
    model = two_convolutions()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "open.onnx")
    diff = diff_networks(int8, tmp_path / "open.onnx", run=False)
    assert diff.b.inputs == diff.a.inputs
    with pytest.raises(GraphError, match="is open") as caught:
        diff_networks(project / "net.onnx", tmp_path / "open.onnx")
    assert "name a bundle, or a float ONNX network" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "error"), [("absent", BundleError), ("absent.onnx", GraphError), (".", BundleError)]
)
def test_what_is_not_there_is_an_error(
    int8: Path, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        diff_networks(int8, tmp_path / name)


def test_a_table_that_cannot_be_read_is_a_note(project: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, table="x max 1\n")
    diff = diff_networks(bundle, make_bundle(tmp_path / "other", weight=3.0), run=False)
    assert diff.scales is None
    assert "scales cannot be compared: " in diff.notes[0]
    assert diff.graph is not None
    (change,) = diff.graph.changed
    assert change.weights[0].sqnr_db == pytest.approx(20 * np.log10(2.0), abs=1e-3)


def test_many_tensors_are_fetched_a_few_at_a_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = project / "net.onnx", project / "deploy" / "net_fp16"
    at_once = diff_networks(*pair).run
    monkeypatch.setattr(layer_diff, "CHUNK_BYTES", 1)
    one_by_one = diff_networks(*pair).run
    assert at_once is not None
    assert one_by_one is not None
    assert [one.figures.name for one in one_by_one.layers] == ["n1", "r1"]
    # Returned together or not, the tensors are the same up to the order of float16 sums.
    for one, other in zip(at_once.layers, one_by_one.layers, strict=True):
        assert one.figures.sqnr_db == pytest.approx(other.figures.sqnr_db, abs=3)


def test_equalized_channels_are_compared_without_their_factors(
    project: Path, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = two_convolutions()
    weights = {one.name: one for one in model.graph.initializer}
    factors = np.exp2(np.array([0, 1, 2, 3, 0, -1, -2, -3], np.float32))
    for name, shape in (("gamma", (8,)), ("beta", (8,)), ("w2", (1, 8, 1, 1))):
        values = numpy_helper.to_array(weights[name])
        scaled = values / factors.reshape(shape) if name == "w2" else values * factors
        weights[name].CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), name))
    onnx.save(model, tmp_path / "rescaled.onnx")
    diff = diff_networks(project / "net.onnx", tmp_path / "rescaled.onnx")
    assert diff.run is not None
    assert diff.run.layers[0].figures.sqnr_db < 0
    monkeypatch.setattr("compiler.pipeline.diff._is_equalized", lambda bundle: True)
    diff = diff_networks(project / "net.onnx", tmp_path / "rescaled.onnx")
    assert diff.run is not None
    by_name = {layer.figures.name: layer for layer in diff.run.layers}
    assert {name: one.rescaled for name, one in by_name.items()} == {"c1": 0, "n1": 6, "r1": 6}
    assert all(one.figures.sqnr_db > 100 for one in by_name.values())


@settings(deadline=None, max_examples=30)
@given(
    exponents=st.lists(st.integers(-7, 7), min_size=1, max_size=6),
    rank=st.integers(2, 4),
    seed=st.integers(0, 1000),
)
def test_factors_of_channels_are_found_under_noise(
    exponents: list[int], rank: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    shape = (2, len(exponents), *(5,) * (rank - 2))
    values = random.normal(size=shape) + 2.0
    noise = 1 + 0.05 * random.uniform(-1, 1, shape)
    factors = np.exp2(np.array(exponents)).reshape(1, -1, *(1,) * (rank - 2))
    found, channels = without_factors(values, values * noise * factors)
    assert channels == np.count_nonzero(exponents)
    np.testing.assert_allclose(found, values * noise, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "values", [np.zeros((1, 2, 3)), np.ones(3), np.full((1, 2), np.nan), -np.ones((1, 2, 2))]
)
def test_no_factor_is_made_up(values: NDArray[np.float64]) -> None:
    found, channels = without_factors(np.ones_like(values), values)
    assert channels == 0
    np.testing.assert_array_equal(found, values)


GRAPH = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[4, 4, {kernel}, {kernel}] w, int64[4] pads = {{0, 0, 0, 0}}>
{{ [conv] c = Conv<pads = [{pad}, {pad}, {pad}, {pad}]>(x, w)
   [act] y = {act}({read}) }}"""


def _graphs(**other: object) -> GraphDiff:
    usual: dict[str, object] = {"kernel": 3, "pad": 1, "act": "Relu", "read": "c"}
    return diff_graphs(
        *(to_graph(model_from_text(GRAPH.format(**values))) for values in (usual, usual | other))
    )


def test_equal_graphs_have_no_difference() -> None:
    assert _graphs() == GraphDiff({"Conv": (1, 1), "Relu": (1, 1)}, (), (), ())


def test_another_operator_another_attribute_another_weight() -> None:
    diff = _graphs(act="Tanh", kernel=1, pad=0)
    assert diff.operators == {"Conv": (1, 1), "Relu": (1, 0), "Tanh": (0, 1)}
    assert diff.recounted == ("Relu", "Tanh")
    act, conv = diff.changed
    assert act == NodeChange("act", ("Relu",), ("Tanh",))
    assert conv.attributes == (AttributeChange("pads", [1, 1, 1, 1], [0, 0, 0, 0]),)
    assert conv.weights == (WeightChange("w", "float32[4, 4, 3, 3]", "float32[4, 4, 1, 1]", None),)


def test_a_node_that_reads_another_tensor_is_changed() -> None:
    (change,) = _graphs(read="x").changed
    assert change == NodeChange("act", ("Relu",), ("Relu",), inputs=(("c",), ("x",)))


def test_a_tensor_of_another_element_type_is_the_same_tensor() -> None:
    text = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 4] x) => (float[1, 4] y)
<float s = {{0.1}}, uint8 z = {{0}}> {{ {nodes} [act] y = Relu({read}) }}"""
    plain = to_graph(model_from_text(text.format(nodes="", read="x")))
    for nodes, read in (
        ("p = Sum(x)", "p"),
        ("h = Cast<to = 10>(x) p = Cast<to = 1>(h)", "p"),
        ("p = Sum(x) q = QuantizeLinear(p, s, z) d = DequantizeLinear(q, s, z)", "d"),
    ):
        other = to_graph(model_from_text(text.format(nodes=nodes, read=read)))
        assert diff_graphs(plain, other).changed == ()
    twice = to_graph(model_from_text(text.format(nodes="p = Sum(x, x)", read="p")))
    assert diff_graphs(plain, twice).changed[0].inputs == (("x",), ("p",))


def test_a_new_bias_and_a_bias_that_is_gone() -> None:
    text = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[4, 4, 1, 1] w {more}> {{ [conv] y = Conv(x, w {bias}) }}"""
    with_bias = to_graph(model_from_text(text.format(more=", float[4] b", bias=", b")))
    without = to_graph(model_from_text(text.format(more="", bias="")))
    (added,) = diff_graphs(without, with_bias).changed
    assert added.weights == (WeightChange("b", None, "float32[4]", None),)
    (gone,) = diff_graphs(with_bias, without).changed
    assert gone.weights == (WeightChange("b", "float32[4]", None, None),)


def test_drafted_nodes_count_as_the_node_they_replace() -> None:
    text = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {{ {nodes} }}"""
    plain = to_graph(model_from_text(text.format(nodes="[up] z = Relu(x) [act] y = Tanh(z)")))
    nodes = "[a] t = Relu(x) [b] z = Relu(t) [act] y = Tanh(z)"
    drafted = to_graph(model_from_text(text.format(nodes=nodes)))
    for node, name in zip(drafted.nodes, ("up=>first", "up=>second", "act"), strict=True):
        node.name = name
    drafted.tensors()["z"].name = "up=>result"
    diff = diff_graphs(plain, drafted)
    assert (diff.only_a, diff.only_b) == ((), ())
    assert diff.changed == (NodeChange("up", ("Relu",), ("Relu", "Relu")),)
    assert diff_graphs(drafted, drafted).changed == ()


def test_attributes_that_are_tensors_or_graphs_are_compared_by_value() -> None:
    def graph(value: float, inner: str) -> onnx.ModelProto:
        like = numpy_helper.from_array(np.array([value], np.float32))
        branch = helper.make_graph(
            [helper.make_node(inner, ["x"], ["z"], name="inner")],
            "branch",
            [],
            [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [2])],
        )
        nodes = [
            helper.make_node("ConstantOfShape", ["s"], ["k"], name="fill", value=like),
            helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch),
        ]
        inputs = [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [1]),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        ]
        outputs = [
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [None]),
        ]
        made = helper.make_graph(nodes, "g", inputs, outputs)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])

    diff = diff_graphs(to_graph(graph(1.0, "Relu")), to_graph(graph(2.0, "Tanh")))
    assert [(one.name, one.attributes) for one in diff.changed] == [
        ("fill", (AttributeChange("value", [1.0], [2.0]),)),
        (
            "if",
            (
                AttributeChange("else_branch", [["inner", "Relu"]], [["inner", "Tanh"]]),
                AttributeChange("then_branch", [["inner_1", "Relu"]], [["inner_1", "Tanh"]]),
            ),
        ),
    ]


def _range(name: str, threshold: float, method: str = "max") -> TensorRange:
    return clipped_range(name, method, -4.0, 4.0, threshold)


def test_scales_are_ranked_by_how_far_they_moved() -> None:
    before = [_range("same", 1.0), _range("up", 1.0), _range("gone", 1.0), _range("down", 4.0)]
    after = [
        replace(_range("same", 1.0), minimum=-3.5),  # what was observed does not count
        _range("up", 2.0),
        _range("down", 1.0),
        _range("new", 1.0),
        _range("method", 1.0, "mse"),
    ]
    changes = diff_scales([*before, _range("method", 1.0)], after)
    assert [(one.tensor, one.octaves) for one in changes] == [
        ("down", pytest.approx(-2.0)),
        ("up", pytest.approx(1.0)),
        ("method", 0.0),
        ("gone", None),
        ("new", None),
    ]


def test_builds_differ_by_keys_versions_sources_and_files() -> None:
    build = """\
name: {name}
dataset:
  process_ops:
  - {{type: Resize, size: [4, 6]}}
  - {{type: ToTensor}}
{more}"""
    one = replace(
        MANIFEST,
        build=build.format(name="a", more=""),
        versions={"numpy": "2.0", "onnx": "1.2"},
        files={"mod.onnx": FileFact(1, "1" * 64), "mod.params": FileFact(1, "3" * 64)},
    )
    other = replace(
        MANIFEST,
        build=build.format(name="b", more="verify: {samples: 3}\n").replace("[4, 6]", "[8, 6]"),
        versions={"numpy": "2.1", "onnx": "1.2", "cv2": "5"},
        sources=(
            Source("model", "renamed.onnx", 10, "c" * 64),
            Source("table", "t.txt", 1, "d" * 64),
        ),
        files={"mod.onnx": FileFact(1, "2" * 64), "mod.params": FileFact(1, "3" * 64)},
    )
    diff = diff_builds(one, other)
    assert diff.keys == (
        Change("name", "a", "b"),
        Change("dataset.process_ops[0].size", [4, 6], [8, 6]),
        Change("verify.samples", None, 3),
    )
    assert diff.versions == (Change("numpy", "2.0", "2.1"), Change("cv2", None, "5"))
    assert diff.sources == (Change("table", None, f"t.txt {'d' * 64}"),)
    assert diff.files == (Change("mod.onnx", "1" * 64, "2" * 64),)
