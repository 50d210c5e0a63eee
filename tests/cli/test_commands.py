"""The commands as users type them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from compiler import Runner
from compiler.cli.app import compile_main, main
from tests.support.project import make_project, two_convolutions


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def test_compile_prints_one_table_and_the_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("compile", make_project(tmp_path).write()) == 0
    out, err = capsys.readouterr()
    for word in ("net_int8 (int8)", "size", "latency", "cosine similarity", "SQNR", "2 of 2"):
        assert word in out
    prefix = tmp_path / "deploy" / "net_int8" / "mod"
    assert f"bundle {prefix}" in out
    assert f"page {prefix.with_name('mod.report.html')}" in out
    with Runner(prefix) as runner:
        assert f"mod.json sha256 {runner.bundle.digest}" in out
    assert "calibrate 4/4" in err


def test_compile_is_modc_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compile", str(make_project(tmp_path).write()), "--quiet"])
    with pytest.raises(SystemExit) as exit_:
        compile_main()
    assert exit_.value.code == 0
    assert capsys.readouterr() == ("", "")


def test_build_is_the_older_name_of_compile(tmp_path: Path) -> None:
    assert _modc("build", make_project(tmp_path).write(), "--quiet") == 0
    assert (tmp_path / "deploy" / "net_int8" / "mod.json").exists()


def test_json_is_one_object_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("compile", make_project(tmp_path).write(), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == "net_int8"
    assert facts["sqnr_db"] > 20
    assert facts["integer_layers"] == [2, 2]
    assert facts["page"] == str(tmp_path / "deploy" / "net_int8" / "mod.report.html")


def test_a_json_error_is_an_object_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path)
    project.document["dataset"]["path"] = "nowhere"
    assert _modc("compile", project.write(), "--json") == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 4
    assert "nowhere" in error["what"]


def test_explain_tells_what_passes_did_and_what_stays_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["skip_conv_layers"] = [0]
    assert _modc("compile", project.write(), "--explain") == 0
    out = capsys.readouterr().out
    assert "fuse_batch_norm: 1 changed" in out
    assert "Conv first stays float: named by skip_conv_layers: 0" in out


def test_declined_rewrites_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, dtype="fp32")
    model = two_convolutions()
    model.graph.node[-1].output[0] = "c2"
    model.graph.node.append(onnx.helper.make_node("Add", ["c2", "n1_mean"], ["output"]))
    model.graph.node.append(
        onnx.helper.make_node("ReduceMean", ["c1"], ["n1_mean"], axes=[1, 2, 3], keepdims=1)
    )
    model.graph.node.sort(
        key=lambda node: ["c1", "n1", "r1", "n1_mean", "c2", "output"].index(node.output[0])
    )
    onnx.save(model, tmp_path / "net.onnx")
    assert _modc("compile", project.write(), "--explain") == 0
    assert "declined: " in capsys.readouterr().out


def test_list_layers_numbers_what_the_skip_lists_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("compile", make_project(tmp_path).write(), "--list-layers") == 0
    out = capsys.readouterr().out
    assert "first" in out
    assert "last" in out
    assert not (tmp_path / "deploy").exists()


def test_dtype_also_renames_the_bundle(tmp_path: Path) -> None:
    assert _modc("compile", make_project(tmp_path).write(), "--quiet", "--dtype", "fp16") == 0
    with Runner(tmp_path / "deploy" / "net_fp16" / "mod") as runner:
        assert runner.manifest.quantization["dtype"] == "fp16"


def test_one_failure_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_project(tmp_path / "good").write()
    bad = make_project(tmp_path / "bad")
    bad.document["dataset"]["path"] = "nowhere"
    assert _modc("compile", bad.write(), tmp_path / "absent.yaml", good) == 4
    out = capsys.readouterr().out
    assert "3 builds" in out
    assert (tmp_path / "good" / "deploy" / "net_int8" / "mod.json").exists()


def test_run_writes_mask_overlay_and_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    assert _modc("compile", project.write(), "--quiet") == 0
    prefix, calib = tmp_path / "deploy" / "net_int8" / "mod", tmp_path / "calib"
    out = tmp_path / "out"
    assert _modc("run", "-m", prefix, calib, calib / "image_0.png", "-o", out) == 0
    assert "7 image(s)" in capsys.readouterr().out
    assert {"image_0.npz", "image_0_2.npz", "image_5_mask.png", "image_5_overlay.png"} <= {
        path.name for path in out.iterdir()
    }
    with Runner(prefix) as runner, np.load(out / "image_0.npz") as arrays:
        expected = runner.run(calib / "image_0.png")["output"]
        np.testing.assert_array_equal(arrays["output_0"], expected)
    with Image.open(out / "image_0_mask.png") as mask:
        assert mask.size == (24, 20)


@pytest.mark.parametrize("what", ["nothing.png", "empty"])
def test_run_without_images_is_an_error(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert _modc("run", "-m", "anywhere", tmp_path / what, "-o", tmp_path / "out") == 4
    assert what in capsys.readouterr().err


def test_verify_names_the_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("compile", make_project(tmp_path).write(), "--quiet") == 0
    assert _modc("verify", tmp_path / "deploy" / "net_int8") == 0
    assert "whole; mod.json sha256" in capsys.readouterr().out


def test_passes_are_listed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("passes") == 0
    out = capsys.readouterr().out
    assert (
        out.index("append_extra_ops")
        < out.index("infer_shapes")
        < out.index("fuse_batch_norm")
        < out.index("cast_float16")
    )


def test_the_schema_accepts_a_build_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    document = yaml.safe_load(make_project(tmp_path).write().read_text())
    jsonschema.validate(document, schema)
    document["backend"]["dtype"] = "int4"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


OLD = """
model: {name: old, checkpoint: net.onnx, inputs: {input: [1, 3, 16, 16]}}
engine:
  type: vacc
  common: {do_quantization: false}
workspace: {work_dir: deploy}
"""


def test_migrate_writes_the_current_dialect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    assert _modc("migrate", tmp_path / "old.yaml") == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["frontend"]["checkpoint"] == "net.onnx"
    assert _modc("migrate", tmp_path / "old.yaml", "-o", tmp_path / "new.yaml") == 0
    assert (tmp_path / "new.yaml").read_text() == text


def test_quant_is_refused_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("quant", "x.yaml") == 2
    assert "backend.dtype: int8" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["modc", "vamc"])
def test_completion_and_usage_bear_the_name_that_was_typed(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{program}"])
    assert _modc("--help") == 0
    assert f"Usage: {program} " in capsys.readouterr().out


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("--version") == 0
    assert capsys.readouterr().out == "modc 0.1.0\n"
    assert _modc("compile") == 2
    assert _modc("compile", "x.yaml", "--unknown") == 2


def test_a_gate_that_is_missed_has_its_own_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    project.document["verify"] = {"min_cosine": 1.0}
    assert _modc("compile", project.write(), "--keep") == 5
    assert "the bundle was written (--keep)" in capsys.readouterr().err


def test_a_missed_gate_announces_no_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    project.document["verify"] = {"min_cosine": 1.0}
    build_file = project.write()
    assert _modc("compile", build_file) == 5
    out, err = capsys.readouterr()
    assert "mod.json" not in out
    assert "no bundle was written" in err
    assert _modc("compile", build_file, "--json") == 5
    facts = json.loads(capsys.readouterr().out)
    assert facts["digest"] is None
    assert len(facts["broken_gates"]) == 1


def test_migrate_to_an_unwritable_place_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    assert _modc("migrate", tmp_path / "old.yaml", "-o", tmp_path / "no" / "new.yaml") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_python_m_is_the_same_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "compiler.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout == "modc 0.1.0\n"


def test_importing_the_package_loads_nothing() -> None:
    script = (
        "import sys, compiler\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'cv2', 'PIL', 'pydantic', 'yaml', 'typer'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not hasattr(compiler, 'nothing')\n"
        "print(sorted(compiler.__all__))\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == str(
        ["Build", "Check", "ModcError", "Runner", "check_build", "compile_model", "load_config"]
    ), done.stderr
