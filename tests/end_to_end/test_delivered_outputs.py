"""Outputs in the form that a build file gives them, from `modc compile` to their readers."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import compiler.compat.vaststreamx as vsx
from compiler import Runner, compile_model, load_config
from compiler.cli.app import main
from compiler.compat.vamp.command import Options, run_vamp
from compiler.errors import BuildFileError
from tests.support.detectors import small_yolo
from tests.support.models import model_from_text
from tests.support.project import Project, make_project
from tests.support.scripts import vdsp_json

# A matrix to pad, masks to transpose, and a matrix of which nothing is said.
NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 16, 16] input) =>
  (float[1, 25, 37] text, float[1, 5, 8, 4] masks, float[1, 6, 4] logits)
<float[3, 925] w1, float[5, 3, 3, 3] w2, float[3, 24] w3, int64[3] matrix = {1, 25, 37},
 int64[3] rows = {1, 6, 4}> {
  mean = GlobalAveragePool(input)
  features = Flatten(mean)
  flat = MatMul(features, w1)
  text = Reshape(flat, matrix)
  masks = Conv<strides = [2, 4], pads = [1, 1, 1, 1]>(input, w2)
  flat3 = MatMul(features, w3)
  logits = Reshape(flat3, rows) }"""
FORMS: dict[str, object] = {"output_layout": ["1:XY"], "real_output_shape": [[32, 48]]}
DELIVERED = [(32, 48), (32, 5), (6, 4)]


def _project(folder: Path, options: dict[str, object], dtype: str = "fp32") -> Project:
    project = make_project(folder, dtype=dtype)
    onnx.save(model_from_text(NETWORK), folder / "net.onnx")
    project.document["backend"]["compile"] = options
    return project


def _image(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, 20, 24), np.uint8)


def _exit_code(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _check_readers(
    delivered: list[NDArray[np.float16]], outputs: list[NDArray[np.float32]]
) -> None:
    """What the published readers of such networks index is what the network gave."""
    text, masks, logits = (output.astype(np.float16) for output in outputs)
    np.testing.assert_array_equal(delivered[0].reshape(1, 32, 48)[:, :25, :37], text)
    np.testing.assert_array_equal(delivered[1].transpose(1, 0).reshape(1, -1, 8, 4), masks)
    np.testing.assert_array_equal(delivered[2][None], logits)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_vamp_hands_out_what_the_build_file_says(dtype: str, tmp_path: Path) -> None:
    build = compile_model(load_config(_project(tmp_path, FORMS, dtype).write()))
    np.savez(tmp_path / "image.npz", input_0=_image(0))
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'image.npz'}\n")
    lines: list[str] = []
    options = Options(build.prefix, datalist=tmp_path / "list.txt", output=tmp_path / "npz")
    run_vamp(options, lines.append)
    with np.load(tmp_path / "npz" / "output_000000.npz") as file:
        delivered = [file[f"output_{index}"] for index in range(3)]
    assert [array.shape for array in delivered] == DELIVERED
    text = "\n".join(lines)
    for shape in ("32,48", "32,5", "6,4"):
        assert f"[{shape}]" in text.replace(" ", "")
    with Runner(build.prefix, threads=1) as runner:
        assert [spec.shape for spec in runner.outputs] == [(1, 25, 37), (1, 5, 8, 4), (1, 6, 4)]
        _check_readers(delivered, list(runner.run(_image(0).transpose(1, 2, 0)).values()))


def test_a_stream_of_vaststreamx_hands_out_the_same(tmp_path: Path) -> None:
    build = compile_model(load_config(_project(tmp_path, FORMS).write()))
    vdsp = vdsp_json(tmp_path, OimageWidth=16, OimageHeight=16, IimageWidth=24, IimageHeight=20)
    network = vsx.Model(str(build.prefix), 1)
    assert network.output_shape == [[1, 25, 37], [1, 5, 8, 4], [1, 6, 4]]
    model = vsx.ModelOperator(network)
    graph = vsx.Graph()
    graph.add_operators(*vsx.Operator.load_ops_from_json_file(str(vdsp)), model)
    stream = vsx.Stream(graph, vsx.StreamBalanceMode.ONCE)
    stream.register_operator_output(model)
    stream.build()
    planes = _image(1)
    image = vsx.create_image(planes, vsx.ImageFormat.RGB_PLANAR, 24, 20, 0)
    stream.run_async([image])
    stream.close_input()
    (asynchronous,) = stream.get_operator_output(model)
    (synchronous,) = stream.run_sync([image])
    for tensors in (asynchronous, synchronous):
        arrays = [vsx.as_numpy(tensor) for tensor in tensors]
        assert [array.shape for array in arrays] == DELIVERED
        with Runner(build.prefix, vdsp_params=vdsp, threads=1) as runner:
            _check_readers(arrays, list(runner.run(planes.transpose(1, 2, 0)).values()))


def test_only_what_is_said_is_recorded(tmp_path: Path) -> None:
    said = compile_model(load_config(_project(tmp_path / "said", FORMS).write()))
    plain = compile_model(load_config(_project(tmp_path / "plain", {"cluster_mode": 0}).write()))
    first, second = (
        json.loads((build.prefix.parent / "mod.json").read_text())["outputs"]
        for build in (said, plain)
    )
    assert [one.pop("delivered", None) for one in first] == [
        {"layout": "kept", "shape": [32, 48]},
        {"layout": "XY", "shape": []},
        None,
    ]
    assert first == second
    assert said.warnings == plain.warnings


def test_an_explicit_matrix_wins_over_the_signature_of_detections(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    onnx.save(small_yolo(), tmp_path / "net.onnx")
    project.document["frontend"]["shape"] = {"images": [1, 3, 32, 32]}
    project.document["dataset"]["process_ops"][1]["size"] = [32, 32]
    params = {"num_classes": 3, "max_obj_per_sample": 12}
    project.document["graph"] = {"extra_ops": {"type": "yolov8_nms", "params": params}}
    np.savez(tmp_path / "image.npz", input_0=_image(0))
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'image.npz'}\n")
    shapes = []
    for layout in ([], ["0:YX", "1:YX", "2:YX"]):
        project.document["backend"]["compile"] = {"output_layout": layout}
        build = compile_model(load_config(project.write()))
        assert build.warnings == ()
        folder = tmp_path / f"npz_{len(layout)}"
        options = Options(build.prefix, datalist=tmp_path / "list.txt", output=folder)
        run_vamp(options, lambda line: None)
        with np.load(folder / "output_000000.npz") as file:
            shapes.append([file[key].shape for key in file.files])
    assert shapes == [[(1, 12, 1), (1, 12, 1), (1, 12, 4)], [(12, 1), (12, 1), (12, 4)]]


def test_entries_for_outputs_that_are_not_there_are_warned_of(tmp_path: Path) -> None:
    layouts, shapes = ["0:YX", "3:YX"], [None, [], None, None, [7]]
    options = {"output_layout": layouts, "real_output_shape": shapes}
    project = _project(tmp_path, options)
    build = compile_model(load_config(project.write()))
    assert [text for text in build.warnings if "names output" in text] == [
        "backend.compile.output_layout names output 3, but the network has 3; ignored",
        "backend.compile.real_output_shape names output 4, but the network has 3; ignored",
    ]


def test_a_shape_that_does_not_fit_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, {"real_output_shape": [[24, 48]]}, "int8")
    stages: list[str] = []
    with pytest.raises(BuildFileError) as refusal:
        compile_model(
            load_config(project.write()), progress=lambda stage, done, total: stages.append(stage)
        )
    assert refusal.value.where == "net_int8: backend.compile.real_output_shape[0]"
    assert "output 'text' [1, 25, 37] cannot be handed out as [24, 48]" in refusal.value.what
    assert "calibrate" not in stages
    assert _exit_code("compile", project.write(), "--quiet") == 2
    assert "real_output_shape[0]" in capsys.readouterr().err
    assert not (tmp_path / "deploy" / "net_int8").exists()


def test_open_sizes_take_a_layout_but_no_shape(tmp_path: Path) -> None:
    network = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, H, 16] input) => (float[1, 5, H, 16] masks)
    <float[5, 3, 1, 1] w> { masks = Conv(input, w) }"""
    project = make_project(tmp_path, dtype="fp32")
    onnx.save(model_from_text(network), tmp_path / "net.onnx")
    del project.document["dataset"]
    project.document["frontend"]["shape"] = {"input": [[1, 3, 8, 16], [1, 3, 32, 16]]}
    project.document["backend"]["compile"] = {"output_layout": ["0:XY"]}
    build = compile_model(load_config(project.write()))
    with Runner(build.prefix, threads=1) as runner:
        (spec,) = runner.outputs
        assert spec.shape == (1, 5, -1, 16)
        assert spec.delivered is not None
        assert spec.delivered.shape_of(spec.shape) == (-1, 5)
        values = np.random.default_rng(0).normal(size=(1, 3, 12, 16)).astype(np.float32)
        output = runner.infer({"input": values})["masks"]
        np.testing.assert_array_equal(
            spec.delivered.arrange(output).T.reshape(output.shape), output
        )
    project.document["backend"]["compile"] = {"real_output_shape": [[512, 8]]}
    with pytest.raises(BuildFileError, match="has open sizes"):
        compile_model(load_config(project.write()))
