"""Build file in, bundle out: through `compile_model` and `Runner` alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from compiler import Build, Runner, compile_model, load_config
from compiler.errors import (
    BuildFileError,
    CalibrationError,
    GraphError,
    MissingRequirementError,
)
from tests.support.project import Project, make_project, two_convolutions

HASHED = ("mod.json", "mod.onnx", "mod.params", "mod.calib.txt", "mod.report.json")


def _build(project: Project, **options: object) -> Build:
    return compile_model(load_config(project.write()), **options)  # type: ignore[arg-type]


def _bytes(build: Build) -> dict[str, bytes]:
    folder = build.prefix.parent
    return {name: (folder / name).read_bytes() for name in HASHED if (folder / name).exists()}


def _original(folder: Path, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    output: np.ndarray = session.run(None, {"input": image})[0]
    return output


@pytest.mark.parametrize(("dtype", "least_sqnr"), [("fp32", 100), ("fp16", 50), ("int8", 20)])
def test_a_bundle_computes_what_the_network_computes(
    dtype: str, least_sqnr: float, tmp_path: Path
) -> None:
    project = make_project(tmp_path, dtype=dtype)
    build = _build(project)
    image = np.random.default_rng(1).random((1, 3, 16, 16), np.float32)
    expected = _original(tmp_path, image)

    with Runner(build.prefix) as runner:
        actual = runner.run(image)["output"]

    error = ((expected - actual) ** 2).sum()
    assert 10 * np.log10((expected**2).sum() / max(error, 1e-20)) > least_sqnr
    assert build.verification.sqnr_db > least_sqnr
    assert build.digest is not None


def test_int8_runs_every_convolution_on_integers_and_reports_each_layer(tmp_path: Path) -> None:
    build = _build(make_project(tmp_path))
    assert build.integer_layers == (2, 2)
    assert [layer.name for layer in build.verification.layers] == ["input", "r1", "output"]
    assert build.warnings == ()


def test_two_builds_are_byte_identical_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    first = _bytes(_build(make_project(tmp_path / "a")))
    project = make_project(tmp_path / "b")
    calib = project.folder / "calib"
    shutil.move(calib, tmp_path / "moved")
    calib.mkdir()
    for path in sorted((tmp_path / "moved").iterdir(), reverse=True):
        shutil.copy(path, calib / path.name)
    second = _bytes(_build(project))
    for name in HASHED[1:]:
        assert first[name] == second[name], name
    again = _bytes(_build(project))
    assert again == second


def test_a_table_gives_the_same_network_without_calibration_data(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"] = {"equalize": False, "bias_correction": False}
    first = _bytes(_build(project))
    table = tmp_path / "table.txt"
    table.write_bytes(first["mod.calib.txt"])
    shutil.rmtree(tmp_path / "calib")
    build = _build(project, calibration_table=table)
    assert build.verification.origin == "random inputs"
    second = _bytes(build)
    assert second["mod.onnx"] == first["mod.onnx"]
    assert second["mod.params"] == first["mod.params"]
    assert "calibrate" not in build.seconds


def test_a_table_gives_the_same_network_with_calibration_data(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    first = _bytes(_build(project))
    table = tmp_path / "table.txt"
    table.write_bytes(first["mod.calib.txt"])
    second = _bytes(_build(project, calibration_table=table))
    assert {name: second[name] for name in ("mod.onnx", "mod.params", "mod.calib.txt")} == {
        name: first[name] for name in ("mod.onnx", "mod.params", "mod.calib.txt")
    }


@pytest.mark.parametrize("with_data", [True, False])
def test_a_table_of_auto_keeps_the_same_heads_in_float(with_data: bool, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"] = {
        "calibrate_mode": "auto",
        "equalize": False,
        "bias_correction": False,
    }
    first = _build(project)
    assert any("layer last stays float" in note for note in first.notes)
    files = _bytes(first)
    table = tmp_path / "table.txt"
    table.write_bytes(files["mod.calib.txt"])
    if not with_data:
        shutil.rmtree(tmp_path / "calib")
    second = _build(project, calibration_table=table)
    assert any("layer last stays float" in note for note in second.notes)
    assert not any("auto chose" in note for note in second.notes)
    again = _bytes(second)
    assert all(again[name] == files[name] for name in ("mod.onnx", "mod.params", "mod.calib.txt"))


def test_a_table_of_equalized_channels_needs_calibration_data(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    table = tmp_path / "table.txt"
    table.write_bytes(_bytes(_build(project))["mod.calib.txt"])
    shutil.rmtree(tmp_path / "calib")
    with pytest.raises(CalibrationError, match="equalized channels, which needs calibration data"):
        _build(project, calibration_table=table)


@pytest.fixture
def uneven(tmp_path: Path) -> Project:
    """Channels of r1 from 2^-5 to 2^5 times as large, and the images differ."""
    project = make_project(tmp_path / "uneven")
    model = two_convolutions()
    spread = np.exp2(np.linspace(-5, 5, 8)).astype(np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in ("gamma", "beta"):
            values = onnx.numpy_helper.to_array(tensor) * spread
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, project.folder / "net.onnx")
    return project


@pytest.mark.parametrize("equalize", [False, True])
def test_a_table_decides_whether_channels_are_equalized(
    equalize: bool, uneven: Project, tmp_path: Path
) -> None:
    uneven.document["backend"]["quantize"]["equalize"] = equalize
    first = _bytes(_build(uneven))
    assert first["mod.calib.txt"].startswith(b"# For equalized channels") == equalize
    table = tmp_path / "table.txt"
    table.write_bytes(first["mod.calib.txt"])
    uneven.document["backend"]["quantize"]["equalize"] = not equalize
    second = _bytes(_build(uneven, calibration_table=table))
    assert second["mod.params"] == first["mod.params"]
    assert second["mod.calib.txt"] == first["mod.calib.txt"]


def test_a_table_of_channels_equalized_on_other_data_is_refused(
    uneven: Project, tmp_path: Path
) -> None:
    table = tmp_path / "table.txt"
    table.write_bytes(_bytes(_build(uneven))["mod.calib.txt"])
    for path in (uneven.folder / "calib").iterdir():
        Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(path)
    with pytest.raises(CalibrationError, match="equalized on other calibration data"):
        _build(uneven, calibration_table=table)


@pytest.mark.parametrize("mode", ["max", "auto"])
def test_a_weight_that_is_not_finite_is_told_with_its_layer(mode: str, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    model = two_convolutions()
    (weight,) = (one for one in model.graph.initializer if one.name == "w2")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0, 0, 0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    onnx.save(model, tmp_path / "net.onnx")
    project.document["backend"]["quantize"]["calibrate_mode"] = mode
    with pytest.raises(GraphError, match="layer 'last': weight holds NaN or infinity"):
        _build(project)


def test_an_edited_threshold_changes_the_network(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    first = _bytes(_build(project))
    lines = first["mod.calib.txt"].decode().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("r1"))
    cells = lines[row].split()
    cells[4:] = [str(float(cells[4]) / 2), "-", "-"]
    lines[row] = " ".join(cells)
    table = tmp_path / "table.txt"
    table.write_text("\n".join(lines) + "\n")
    assert _bytes(_build(project, calibration_table=table))["mod.onnx"] != first["mod.onnx"]


def test_a_table_without_a_tensor_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    table = tmp_path / "table.txt"
    lines = _bytes(_build(project))["mod.calib.txt"].decode().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("r1")) + "\n")
    with pytest.raises(CalibrationError, match=r"no line for 1 of 3 tensors: r1"):
        _build(project, calibration_table=table)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\xff\xfe\x00", "table"), (b"r1 x", "1")]
)
def test_an_unusable_table_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(CalibrationError, match=message):
        _build(make_project(tmp_path / "project"), calibration_table=table)


@pytest.mark.parametrize("mode", ["kl_divergence", "percentile", "max", "mse"])
def test_every_calibrate_mode_stays_close(mode: str, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["calibrate_mode"] = mode
    build = _build(project)
    assert build.verification.sqnr_db > 20
    table = (build.prefix.parent / "mod.calib.txt").read_text()
    assert mode in table


def test_verification_uses_files_that_calibration_did_not(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=6)
    build = _build(project)
    assert (build.verification.samples, build.verification.origin) == (2, "held-out samples")
    project.document["dataset"]["sampler"]["get_data_num"] = 9
    build = _build(project)
    assert (build.verification.samples, build.verification.origin) == (6, "calibration samples")
    assert build.notes == ("9 files asked for, 6 found",)
    del project.document["dataset"]
    project.document["backend"] = {"type": "onnxruntime", "dtype": "fp16"}
    build = _build(project)
    assert (build.verification.samples, build.verification.origin) == (2, "random inputs")


def test_a_missed_gate_writes_nothing_unless_kept(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["verify"] = {"min_sqnr_db": 199, "min_cosine": 0.5}
    build = _build(project)
    assert build.digest is None
    assert not build.prefix.parent.exists()
    assert len(build.broken_gates) == 1
    assert "no bundle was written" in str(build.accuracy_error())
    kept = _build(project, keep=True)
    assert kept.digest is not None
    assert "the bundle was written (--keep)" in str(kept.accuracy_error())


def _add_masks(project: Project, value: int = 255) -> None:
    masks = project.folder / "masks"
    masks.mkdir()
    for image in sorted((project.folder / "calib").iterdir()):
        mask = np.zeros((20, 20), np.uint8)
        mask[5:15] = value
        Image.fromarray(mask).save(masks / image.name)
    project.document["verify"] = {
        "images": str(project.folder / "calib"),
        "masks": str(masks),
        "metric": "foreground_iou",
        "max_drop": 5,
    }


def test_the_task_metric_stands_side_by_side(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project)
    task = _build(project).verification.task
    assert task is not None
    assert task.images == 6
    assert 0 < task.fp32 < 100
    assert abs(task.drop) < 5


def test_mean_iou_counts_classes(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project, value=1)
    project.document["verify"] |= {"metric": "mean_iou", "classes": 2}
    task = _build(project).verification.task
    assert task is not None
    assert 0 < task.compiled < 100


def test_masks_without_foreground_are_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project, value=0)
    weights = two_convolutions()
    for tensor in weights.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 8, 3, 3), np.float32), "w2"))
    onnx.save(weights, tmp_path / "net.onnx")
    with pytest.raises(CalibrationError, match="in every image there is no foreground"):
        _build(project)


def test_a_mask_value_that_is_no_class_names_its_file(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project, value=7)
    project.document["verify"] |= {"metric": "mean_iou", "classes": 2}
    with pytest.raises(CalibrationError, match=r"image_0\.png: value 7 of the mask is not a class"):
        _build(project)


def test_unusable_images_are_skipped_and_counted_on_request(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["dataset"]["on_error"] = "skip"
    project.document["dataset"]["sampler"]["get_data_num"] = 6
    for name in ("image_1.png", "image_3.png"):
        (tmp_path / "calib" / name).write_bytes(b"broken")
    build = _build(project)
    assert build.warnings == (
        "2 file(s) skipped because they cannot be used: image_1.png, image_3.png",
    )
    for image in (tmp_path / "calib").iterdir():
        image.write_bytes(b"broken")
    with pytest.raises(CalibrationError, match="none of the calibration files"):
        _build(project)


def test_arrays_calibrate_a_network_without_preprocessing(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for index in range(3):
        values = np.random.default_rng(index).random((1, 3, 16, 16), np.float32)
        np.savez(arrays / f"{index}.npz", input=values)
    project.document["dataset"] = {"path": str(arrays), "sampler": {"get_data_num": 2}}
    assert _build(project).verification.sqnr_db > 20
    np.savez(arrays / "1.npz", wrong=np.zeros(3))
    np.savez(arrays / "0.npz", wrong=np.zeros(3))
    np.savez(arrays / "2.npz", wrong=np.zeros((1, 3, 16, 16), np.float64))
    with pytest.raises(CalibrationError, match="shape"):
        _build(project)


def test_intermediate_graphs_and_log_are_kept_on_request(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["workspace"] |= {"enable_ir": True, "save_log": True}
    _build(project)
    kept = sorted(path.name for path in (tmp_path / "deploy" / "net_int8.ir").iterdir())
    assert kept == ["observed.onnx", "observed.params", "original.onnx", "original.params"]
    assert "nodes" in (tmp_path / "deploy" / "net_int8.log").read_text()


def test_what_differs_from_run_to_run_stays_out_of_the_hashed_files(tmp_path: Path) -> None:
    build = _build(make_project(tmp_path))
    facts = json.loads((build.prefix.parent / "mod.build.json").read_text())
    assert facts["seconds"].keys() == build.seconds.keys() - {"bundle"}
    assert facts["latency_ms"]["fp32"] > 0
    manifest = json.loads((build.prefix.parent / "mod.json").read_text())
    assert "mod.build.json" not in manifest["files"]
    assert {source["role"] for source in manifest["sources"]} == {"build", "model", "data"}


def test_non_finite_activations_are_left_out_with_a_warning(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    model = two_convolutions()
    model.graph.node[-1].output[0] = "c2"
    model.graph.node.extend(
        [
            onnx.helper.make_node("Sqrt", ["c2"], ["root"]),  # NaN where c2 is negative
            onnx.helper.make_node("Conv", ["root", "w3"], ["output"]),
        ]
    )
    weight = np.full((1, 1, 1, 1), 0.5, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w3"))
    onnx.save(model, tmp_path / "net.onnx")
    build = _build(project)
    assert any("'root': " in one and "NaN or infinite" in one for one in build.warnings)


def test_weights_per_tensor_stay_close(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["quantize_per_channel"] = False
    assert _build(project).verification.sqnr_db > 15


def test_a_network_that_stays_float_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["exclude_layers"] = ["*"]
    build = _build(project)
    assert build.integer_layers == (0, 0)
    assert any("no layer runs on integers" in warning for warning in build.warnings)
    assert build.verification.sqnr_db > 100


def test_a_poor_network_gives_a_warning(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    table = tmp_path / "table.txt"
    lines = _bytes(_build(project))["mod.calib.txt"].decode().splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith(("r1", "output"))]
    for row in rows:
        cells = lines[row].split()
        cells[4:] = [str(float(cells[4]) / 50), "-", "-"]
        lines[row] = " ".join(cells)
    table.write_text("\n".join(lines) + "\n")
    build = _build(project, calibration_table=table)
    assert any("SQNR is" in warning for warning in build.warnings)


def test_a_table_is_only_for_int8(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    with pytest.raises(BuildFileError, match="a calibration table is for int8"):
        _build(project, calibration_table=tmp_path / "table.txt")


def test_a_zero_point_that_contradicts_relu_names_the_table(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    lines = _bytes(_build(project))["mod.calib.txt"].decode().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("r1"))
    cells = lines[row].split()
    cells[1], cells[6] = "manual", "7"
    lines[row] = " ".join(cells)
    table = tmp_path / "table.txt"
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(CalibrationError, match="r1"):
        _build(project, calibration_table=table)


def test_what_the_engine_cannot_run_is_a_graph_error(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    model = two_convolutions()
    values = np.ones((1, 1, 16, 16))
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "wide"))
    weight = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1)), "wide_weight")
    model.graph.initializer.append(weight)
    model.graph.node[-1].output[0] = "c2"
    model.graph.node.extend(
        [
            onnx.helper.make_node("Cast", ["c2"], ["d"], to=onnx.TensorProto.DOUBLE),
            onnx.helper.make_node("Conv", ["d", "wide_weight"], ["e"]),
            onnx.helper.make_node("Cast", ["e"], ["output"], to=onnx.TensorProto.FLOAT),
        ]
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(GraphError, match="ONNX Runtime cannot load it"):
        _build(project)


def test_classes_that_the_network_does_not_have_are_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project, value=1)
    model = two_convolutions()
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            values = np.ones((3, 8, 3, 3), np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(model, tmp_path / "net.onnx")
    project.document["verify"] |= {"metric": "mean_iou", "classes": 2}
    with pytest.raises(BuildFileError, match="the network has 3 classes, the build file says 2"):
        _build(project)


def test_bf16_is_a_float32_graph_for_cpus_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path, dtype="bf16")
    monkeypatch.setattr("compiler.runner.cpu.has_bfloat16", lambda *_: False)
    with pytest.raises(MissingRequirementError, match="bf16 on Arm CPUs"):
        _build(project)
    monkeypatch.setattr("compiler.runner.cpu.has_bfloat16", lambda *_: True)
    build = _build(project)
    assert build.verification.sqnr_db > 20  # other CPUs ignore the option
    manifest = json.loads(_bytes(build)["mod.json"])
    assert manifest["quantization"]["dtype"] == "bf16"
