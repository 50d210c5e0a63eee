"""What a check finds, kind by kind, and that it foresees what a build does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from compiler import compile_model, load_config
from compiler.config.model import BuildConfig
from compiler.errors import ModcError
from compiler.pipeline.check import Check, check_build
from compiler.pipeline.check_findings import Finding
from compiler.pipeline.lint_preprocessing import Finding as Other
from compiler.pipeline.lint_preprocessing import Lint
from tests.support.models import model_from_text
from tests.support.open_networks import HEAD, NETWORKS
from tests.support.project import Project, make_project

NETWORK_FILES = Path(__file__).resolve().parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(autouse=True)
def _cpu_with_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_cpu("avx2 ssse3 avx512_vnni", tmp_path, monkeypatch)


def _set_cpu(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"flags : {flags}\n")
    monkeypatch.setattr("compiler.runner.cpu.CPUINFO", cpuinfo)


def _check(
    project: Project, *, lenient: bool = False, strict: bool = False, custom_code: bool = False
) -> Check:
    return check_build(
        project.write(),
        lenient=lenient,
        strict=strict,
        allow_custom_code=custom_code,
        lint=False,
    )


def _only(check: Check, *parts: str) -> Finding:
    """The one error or warning of the parts."""
    [found] = [one for one in check.findings if one.level != "note" and one.part in parts]
    return found


def _compile_error(project: Project) -> ModcError:
    with pytest.raises(ModcError) as caught:
        compile_model(load_config(project.build_file))
    return caught.value


def _line_of(project: Project, text: str) -> int:
    lines = project.build_file.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def _set_weight(project: Project, name: str, value: float, count: int = 1) -> None:
    model = onnx.load(project.folder / "net.onnx")
    [tensor] = [one for one in model.graph.initializer if one.name == name]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[:count] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, project.folder / "net.onnx")


def _use_mixed(project: Project) -> None:
    project.document["backend"]["quantize"]["skip_conv_layers"] = ["first"]


def _use_argmax(project: Project) -> None:
    model = model_from_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, 16, 16] input) => (float[1, 4, 16, 16] output)
        <float[4, 3, 3, 3] w>
        { output = Conv<pads = [1, 1, 1, 1]>(input, w) }"""
    )
    onnx.save(model, project.folder / "net.onnx")
    project.document["graph"] = {"extra_ops": {"type": "argmax"}}


def _change_nothing(project: Project) -> None:
    del project


@pytest.mark.parametrize("change", [_change_nothing, _use_mixed, _use_argmax])
@pytest.mark.parametrize("dtype", ["int8", "fp16", "bf16", "fp32"])
def test_the_ops_are_those_of_the_build(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    change: Callable[[Project], None],
) -> None:
    if dtype == "bf16":
        monkeypatch.setattr("compiler.runner.cpu.cpu_features", lambda: {"asimd", "bf16"})
    project = make_project(tmp_path, dtype="int8")
    change(project)
    check = check_build(project.write(), dtype=dtype, lint=False)
    assert check.count("error") == 0
    _assert_foreseen(check, project.build_file, dtype, [])


@pytest.mark.skipif(not (SHARED / "models").exists(), reason=f"{SHARED} is absent")
@pytest.mark.parametrize(
    ("network", "dtype", "overrides"),
    [
        ("prisma_nchw", "int8", ()),
        ("prisma_nchw", "fp16", ()),
        ("unet_camvid_192x256", "int8", ("backend.quantize.exclude_layers=['*conv*']",)),
    ],
)
def test_the_ops_of_real_networks_are_those_of_the_build(
    tmp_path: Path, network: str, dtype: str, overrides: tuple[str, ...]
) -> None:
    few = ["dataset.sampler.get_data_num=4", "verify={samples: 1}", *overrides]
    few.append("backend.quantize.calibrate_mode=max")
    few.append(f"workspace.path={tmp_path}")
    path = NETWORK_FILES / f"{network}.yaml"
    check = check_build(path, overrides=few, dtype=dtype, lint=False)
    assert check.count("error") == 0
    _assert_foreseen(check, path, dtype, few)


def _assert_foreseen(check: Check, path: Path, dtype: str, overrides: list[str]) -> None:
    build = compile_model(load_config(path, dtype=dtype, overrides=overrides))
    report = json.loads(build.prefix.with_name("mod.report.json").read_text())
    assert check.forecast is not None
    wanted = ("node", "op", "dtype", "reason", "shape", "macs", "parameter_bytes")
    foreseen = [{name: getattr(op, name) for name in wanted} for op in check.forecast.ops]
    built = [{name: layer[name] for name in wanted} for layer in report["layers"]]
    assert [{**op, "shape": list(op["shape"])} for op in foreseen] == built
    assert check.forecast.before.bytes == build.size.fp32
    assert check.forecast.after.bytes == pytest.approx(build.size.compiled, rel=0.02)
    assert check.forecast.before.macs == report["graph"]["before"]["macs"]
    assert check.forecast.after.macs == report["graph"]["after"]["macs"]


def test_a_good_build_file_gives_nothing_but_notes(tmp_path: Path) -> None:
    check = _check(make_project(tmp_path))
    assert (check.verdict, check.exit_code, check.name, check.dtype) == (
        "fine",
        0,
        "net_int8",
        "int8",
    )
    assert {finding.level for finding in check.findings} <= {"note"}
    assert check.forecast is not None
    assert (check.forecast.integer, len(check.forecast.ops)) == (3, 3)
    assert not (tmp_path / "deploy").exists()


def test_every_problem_of_the_text_is_a_finding_with_its_place(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["dtyp"] = "int8"
    project.document["extra"] = 1
    check = _check(project)
    problems = [one for one in check.findings if one.level == "error"]
    assert [(one.where, one.code) for one in problems] == [("backend.dtyp", 2), ("extra", 2)]
    assert problems[1].file == str(project.build_file)
    assert problems[1].line == _line_of(project, "extra: 1")
    assert check.forecast is not None, "unknown keys do not hide the network"


def test_a_text_that_is_no_yaml_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "build.yaml"
    path.write_text("name: [")
    check = check_build(path)
    error, note = check.findings
    assert (error.code, error.line, check.exit_code, check.name) == (2, 1, 2, "")
    assert "could not be looked at" in note.what


def test_a_build_file_that_is_not_there_is_one_finding(tmp_path: Path) -> None:
    check = check_build(tmp_path / "gone.yaml")
    assert check.exit_code == 2
    assert check.findings[0].what == "file not found"


def test_lenient_takes_unknown_keys_for_warnings(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["extra"] = 1
    check = _check(project, lenient=True)
    assert (check.verdict, check.exit_code) == ("warnings", 0)
    assert _only(check, "build file").what.startswith("extra: ")


def test_strict_lets_every_warning_fail(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    del project.document["name"]
    assert _check(project).exit_code == 0
    check = _check(project, strict=True)
    assert check.exit_code == 2
    assert "'build' is used" in _only(check, "build file").what
    assert check.name == "build", "the rest was looked at"


def test_strict_fails_where_only_the_graph_warns(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["exclude_layers"] = ["nothing*"]
    check = _check(project, strict=True)
    assert (check.count("error"), check.exit_code) == (0, 2)


def test_overrides_and_dtype_are_those_of_compile(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    path = project.write()
    assert check_build(path, dtype="fp16", lint=False).name == "net_fp16"
    check = check_build(path, overrides=["backend.nothing=1"], lint=False)
    assert _only(check, "build file").place == "--set backend.nothing=1"


def test_an_absent_checkpoint_does_not_hide_an_empty_data_folder(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["frontend"]["checkpoint"] = "gone.onnx"
    shutil.rmtree(tmp_path / "calib")
    (tmp_path / "calib").mkdir()
    check = _check(project)
    network, data = _only(check, "network"), _only(check, "data")
    assert (network.code, network.where) == (2, "frontend.checkpoint")
    assert network.line == _line_of(project, "checkpoint:")
    assert (data.code, data.line) == (4, _line_of(project, "path: "))
    assert "no files at all" in data.what
    assert any("not looked at" in one.what for one in check.findings if one.part == "graph")
    assert check.exit_code == 4


def test_images_are_decoded_by_the_declared_shape_where_there_is_no_network(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "net.onnx").unlink()
    (tmp_path / "calib" / "image_0.png").write_bytes(b"nothing")
    found = _only(_check(project), "data")
    assert (found.code, Path(found.where).name) == (4, "image_0.png")


def test_a_damaged_checkpoint_is_an_error_of_the_network(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"no network")
    found = _only(_check(project), "network")
    assert (found.code, found.where) == (3, str(tmp_path / "net.onnx"))


def test_another_format_is_an_error_at_its_key(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["frontend"]["type"] = "keras"
    found = _only(_check(project), "network")
    assert (found.code, found.where) == (3, "frontend.type")
    assert found.line == _line_of(project, "type: keras")
    assert "tf2onnx" in found.fix


def test_a_shape_that_the_network_refuses_is_an_error(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    project.document["frontend"]["shape"] = {"other": [1, 3, 16, 16]}
    found = _only(_check(project), "network")
    assert found.code == 3
    assert "names 'other'" in found.what


def test_ranges_of_shapes_are_tried_at_their_smallest(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    text = HEAD.format(batch=1) + NETWORKS["convolutions, pools and nearest upsampling"]
    onnx.save(model_from_text(text), tmp_path / "net.onnx")
    for smallest, expected in ((8, 0), (3, 3)):  # 3 is no multiple of 2: the Concat fails
        shape = [[1, 3, smallest, smallest], [1, 3, 32, 32]]
        project.document["frontend"]["shape"] = {"x": shape}
        check = _check(project)
        assert check.exit_code == expected
    found = _only(check, "network")
    assert "does not run at its smallest size" in found.what
    assert (found.where, found.line) == ("frontend.shape", _line_of(project, "shape:"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_end_as_in_an_int8_build(tmp_path: Path, value: float) -> None:
    project = make_project(tmp_path)
    _set_weight(project, "w1", value)
    check = _check(project)
    found = _only(check, "network")
    assert (found.level, found.what) == ("warning", "'w1': 1 of 216 values are NaN or infinite")
    assert check.exit_code == _compile_error(project).exit_code == 4


def test_weights_that_are_not_finite_warn_in_a_float_build(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    _set_weight(project, "w2", np.nan)
    check = _check(project)
    assert (check.exit_code, _only(check, "network").level) == (0, "warning")
    assert _only(check, "graph").what == "output 'output' has values that are NaN or infinite"


def test_weights_that_are_not_finite_warn_where_an_int8_build_leaves_them_float(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["optimize"]["keep_float"] = True  # all of so small a network
    _set_weight(project, "w1", np.nan)
    check = _check(project)
    assert (check.exit_code, _only(check, "network").level) == (0, "warning")


def test_weights_beyond_float16_are_named(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    _set_weight(project, "w2", 1e5)
    del project.document["dataset"]  # or the layer would stay float32
    [found] = [one for one in _check(project).findings if "clamped" in one.what]
    assert (found.part, found.level) == ("graph", "warning")
    assert found.what.startswith("initializers clamped to ±65504")
    assert "'w2' (1)" in found.what


def test_weights_that_vanish_in_float16_are_counted(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    _set_weight(project, "w2", 1e-8, count=20)
    found = _only(_check(project), "graph")
    assert "of 296 initializer values are below 6.1e-05" in found.what


def test_an_op_near_the_range_of_float16_stays_float32_for_that_reason(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    _set_weight(project, "w1", 1e4, count=216)
    check = _check(project)
    assert check.forecast is not None
    first = next(op for op in check.forecast.ops if op.node == "first")
    assert first.dtype == "float32"
    assert first.reason


def test_a_data_folder_that_is_missing_is_an_error_for_int8_only(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["dataset"]["path"] = "nowhere"
    found = _only(_check(project), "data")
    assert (found.code, found.where) == (4, "dataset.path")
    check = check_build(project.build_file, dtype="fp32", lint=False)
    assert check.exit_code == 0
    assert any("random inputs stand in" in one.what for one in check.findings)


def test_files_that_cannot_be_decoded_are_all_named(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    for number in (0, 3):
        (tmp_path / "calib" / f"image_{number}.png").write_bytes(b"no image")
    check = _check(project)
    errors = [one for one in check.findings if one.level == "error"]
    assert [Path(one.where).name for one in errors] == ["image_0.png", "image_3.png"]
    assert {one.code for one in errors} == {4}
    assert check.forecast is not None


def test_files_that_may_be_skipped_warn_unless_none_is_left(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["dataset"]["on_error"] = "skip"
    (tmp_path / "calib" / "image_0.png").write_bytes(b"no image")
    check = _check(project)
    assert (check.exit_code, _only(check, "data").level) == (0, "warning")
    for path in (tmp_path / "calib").iterdir():
        path.write_bytes(b"no image")
    assert _check(project).exit_code == _compile_error(project).exit_code == 4


def test_files_are_sampled_evenly_and_the_note_says_how_many(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=12)
    project.document["dataset"]["sampler"]["get_data_num"] = 12
    torn = tmp_path / "calib" / "image_1.png"  # second of the sorted names
    torn.write_bytes(torn.read_bytes()[:-600])
    check = check_build(project.write(), images=3, lint=False)
    assert check.exit_code == 0
    assert any(one.what == "3 of 12 files were decoded" for one in check.findings)
    assert check_build(project.build_file, images=12, lint=False).exit_code == 4


@pytest.mark.parametrize(("on_error", "level"), [("fail", "error"), ("skip", "warning")])
def test_files_that_are_no_images_are_found_without_decoding_all(
    tmp_path: Path, on_error: str, level: str
) -> None:
    project = make_project(tmp_path, images=12)
    project.document["dataset"]["on_error"] = on_error
    project.document["dataset"]["sampler"]["get_data_num"] = 12
    (tmp_path / "calib" / "image_1.png").write_bytes(b"")  # second of the sorted names
    (tmp_path / "calib" / "image_8.png").write_bytes(b"no image")
    check = check_build(project.write(), images=2, lint=False)
    found = _only(check, "data")
    assert (found.level, Path(found.where).name) == (level, "image_1.png")
    assert found.what == "image file is empty (nor can 1 other file be used)"
    if on_error == "fail":
        assert check.exit_code == _compile_error(project).exit_code == 4
    (tmp_path / "calib" / "image_1.png").unlink()
    found = _only(check_build(project.build_file, images=2, lint=False), "data")
    assert found.what == "not an image in a known format"


def test_fewer_files_than_asked_for_are_noted(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=2)
    notes = [one.what for one in _check(project).findings if one.part == "data"]
    assert "4 files asked for, 2 found" in notes


def test_code_of_the_user_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    module = tmp_path / "own.py"
    module.write_text(
        "import numpy as np\ndef load(path):\n    return np.zeros((3, 16, 16), np.float32)\n"
    )
    project.document["dataset"]["process_ops"] = [
        {"type": "CustomFunc", "module_path": str(module), "func_name": "load"}
    ]
    found = _only(_check(project), "data")
    assert (found.code, found.where) == (4, "dataset.process_ops")
    assert "--allow-custom-code" in found.what
    assert _check(project, custom_code=True).count("error") == 0


def _add_masks(project: Project, value: int) -> Path:
    images, masks = project.folder / "images", project.folder / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (16, 16), (90, 20, 200)).save(images / f"{name}.png")
        Image.new("L", (16, 16), value).save(masks / f"{name}.png")
    project.document["verify"] = {
        "images": str(images),
        "masks": str(masks),
        "metric": "mean_iou",
        "classes": 2,
    }
    return masks


def test_images_without_mask_are_an_error_and_masks_without_image_a_note(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    masks = _add_masks(project, 1)
    shutil.copy(masks / "a.png", masks / "c.png")
    check = _check(project)
    assert check.exit_code == 0
    assert any("1 mask(s) have no image: c.png" in one.what for one in check.findings)
    (masks / "b.png").unlink()
    found = _only(_check(project), "verification")
    assert (found.code, found.what) == (4, "1 image(s) have no mask: b.png")
    (tmp_path / "net.onnx").unlink()
    assert _only(_check(project), "verification") == found, "it needs no network"


def test_mask_values_that_are_no_class_are_an_error(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    _add_masks(project, 7)
    found = [one for one in _check(project).findings if one.part == "verification"]
    assert [(one.level, one.code) for one in found] == [("error", 4)] * 2
    assert "value 7 of the mask is not a class of 0 … 1" in found[0].what


def test_an_accuracy_metric_without_masks_is_an_error_at_its_key(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["accuracy"] = {"metric": "fg_iou", "max_drop": 1}
    check = _check(project)
    found = _only(check, "verification")
    assert (found.code, found.where) == (2, "backend.quantize.accuracy.data")
    assert found.line == _line_of(project, "accuracy:")
    assert check.exit_code == _compile_error(project).exit_code


def test_an_absent_engine_is_an_error_and_the_graph_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    project = make_project(tmp_path)
    project.document["backend"]["type"] = "openvino"
    check = _check(project)
    assert _only(check, "engine").code == check.exit_code == 7
    assert check.forecast is not None


def test_a_precision_that_this_cpu_lacks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.runner.cpu.cpu_features", lambda: {"avx2"})
    check = check_build(make_project(tmp_path).write(), dtype="bf16", lint=False)
    assert _only(check, "engine").code == 7
    assert check.forecast is not None
    assert {op.dtype for op in check.forecast.ops} == {"bfloat16", "float32"}


def test_a_cpu_without_vnni_is_warned_of_as_in_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_cpu("avx2 ssse3", tmp_path, monkeypatch)
    project = make_project(tmp_path)
    found = _only(_check(project), "engine")
    assert found.what in compile_model(load_config(project.build_file)).warnings
    project.document["backend"]["quantize"]["reduce_range"] = True
    assert _check(project).verdict == "fine"


def test_constants_that_nobody_measured_are_an_error_and_the_graph_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = make_project(tmp_path)
    project.document["backend"]["optimize"]["machine"] = "tuned"
    check = _check(project)
    assert (_only(check, "engine").code, check.exit_code) == (7, 7)
    assert check.forecast is not None


def test_lists_that_name_nothing_warn_at_their_key(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["skip_conv_layers"] = ["fist", 9]
    check = _check(project)
    warnings = [one for one in check.findings if one.level == "warning"]
    assert [one.what for one in warnings] == [
        "skip_conv_layers: no layer is named 'fist'; closest: first, last",
        "skip_conv_layers: there is no layer 9; the network has 2, numbered from 0",
    ]
    assert {one.line for one in warnings} == {_line_of(project, "skip_conv_layers:")}


def test_extra_ops_that_do_not_suit_warn_and_fail_if_strict(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["graph"] = {"extra_ops": {"type": "argmax"}}
    found = _only(_check(project), "network")
    assert found.level == "warning"
    assert "one channel" in found.what
    assert found.line == _line_of(project, "extra_ops:")
    check = _check(project, strict=True)
    assert (_only(check, "network").code, check.exit_code) == (2, 2)


def test_a_network_that_is_not_worth_integers_warns(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["optimize"]["keep_float"] = True
    check = _check(project)
    assert "no layer runs on integers" in _only(check, "graph").what
    assert check.forecast is not None
    assert check.forecast.integer == 0
    assert all("faster" in op.reason for op in check.forecast.ops if op.op == "Conv")


def test_what_only_the_build_decides_is_noted(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"] |= {
        "calibrate_mode": "auto",
        "accuracy": {"metric": "sqnr", "max_drop": 1},
    }
    notes = " ".join(one.what for one in _check(project).findings if one.part == "graph")
    assert "calibrate_mode auto may keep" in notes
    assert "quantize.accuracy may keep" in notes


def test_a_workspace_that_cannot_be_a_folder_is_an_error(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["workspace"]["path"] = str(tmp_path / "net.onnx")
    check = _check(project)
    assert (_only(check, "bundle").code, check.exit_code) == (6, 6)
    assert _compile_error(project).exit_code == 6


def test_a_delivered_shape_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["compile"] = {"real_output_shape": [[1, 7, 7]]}
    check = _check(project)
    assert _only(check, "bundle").code == 2
    assert check.exit_code == _compile_error(project).exit_code


def test_a_failure_that_nobody_foresaw_is_a_finding_and_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr("compiler.pipeline.check.find_build_samples", fail)
    check = _check(make_project(tmp_path))
    found = _only(check, "data")
    assert (found.code, found.what) == (1, "RuntimeError: unexpected")
    assert check.forecast is not None


def test_a_file_that_the_system_refuses_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("compiler.pipeline.check.find_build_samples", refuse)
    assert _only(_check(make_project(tmp_path)), "data").what == (
        "the system refuses: Permission denied"
    )


def test_arrays_are_checked_as_well(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    shutil.rmtree(tmp_path / "calib")
    (tmp_path / "calib").mkdir()
    for number in range(3):
        np.savez(tmp_path / "calib" / f"{number}.npz", input=np.zeros((1, 3, 16, 16), np.float32))
    np.savez(tmp_path / "calib" / "3.npz", input=np.zeros((1, 3, 8, 8), np.float32))
    project.document["dataset"] = {"path": str(tmp_path / "calib")}
    found = _only(_check(project), "data")
    assert (found.code, Path(found.where).name) == (4, "3.npz")
    (tmp_path / "calib" / "1.npz").write_bytes(b"")
    found = _only(check_build(project.build_file, images=1, lint=False), "data")
    assert (found.code, Path(found.where).name) == (4, "1.npz")


def test_a_network_that_overflows_on_its_samples_ends_as_in_a_build(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    shutil.rmtree(tmp_path / "calib")
    (tmp_path / "calib").mkdir()
    for number in range(6):
        values = np.full((1, 3, 16, 16), np.nan, np.float32)
        np.savez(tmp_path / "calib" / f"{number}.npz", input=values)
    project.document["dataset"] = {"path": str(tmp_path / "calib")}
    check = _check(project)
    errors = [one for one in check.findings if one.level == "error"]
    assert "no finite value" in errors[0].what
    assert check.exit_code == _compile_error(project).exit_code == 4
    assert check.forecast is not None, "made-up ranges stand in"


def test_another_preprocessing_is_advised_where_masks_confirm_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def lint(config: BuildConfig, *, images: int, allow_custom_code: bool) -> Lint:
        asked.append((config.verify.masks, images, allow_custom_code))
        other = Other("BGR order", "it wants BGR", 0.9, 0.1, None, None, "add CvtColor")
        return Lint((other,) if len(asked) < 3 else (), (), "", "", 0, ())

    monkeypatch.setattr("compiler.pipeline.lint_preprocessing.lint_preprocessing", lint)
    project = make_project(tmp_path)
    found = _only(check_build(project.write()), "preprocessing")
    assert (found.level, found.what, found.fix) == ("warning", "it wants BGR", "add CvtColor")
    assert found.line == _line_of(project, "process_ops:")
    masks = _add_masks(project, 1)
    assert check_build(project.write()).verdict == "fine", "the masks tell otherwise"
    assert asked == [(None, 4, False), (None, 4, False), (str(masks), 4, False)]
    assert check_build(project.build_file, lint=False).verdict == "fine"
    assert len(asked) == 3


def test_preprocessing_of_a_slow_network_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.pipeline.check.LINT_SECONDS", 0.0)
    notes = [one.what for one in check_build(make_project(tmp_path).write()).findings]
    assert any("no other was tried" in note for note in notes)
