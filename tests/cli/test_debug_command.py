"""`modc debug` as users type it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compiler.bundle.write import new_bundle
from compiler.cli.app import main
from tests.support.bundles import MANIFEST, write_network
from tests.support.project import Project, make_project


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("project"))
    project.document["backend"]["quantize"]["equalize"] = False
    assert _modc("compile", project.write(), "--quiet") == 0
    return project


@pytest.fixture
def bundle(project: Project) -> Path:
    return project.folder / "deploy" / "net_int8" / "mod"


def test_layers_ways_and_a_verdict_are_printed(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("debug", "-m", bundle, "--images", "2", "--limit", "1") == 0
    out, err = capsys.readouterr()
    for words in ("what each way out gives and takes", "last", "in float with first", "lost"):
        assert words in out
    assert "CPU engines compute it in float" in out
    assert "verify" in err.splitlines()


def test_json_is_one_object_whose_patch_compiles(
    project: Project, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("debug", "-m", bundle.parent, "--images", "2", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert err == ""
    assert facts["points"] < facts["patch"]["points"] <= facts["float_points"] == 100.0
    quantize = yaml.safe_load(facts["patch"]["text"])["backend"]["quantize"]
    patch = [f"--set=backend.quantize.{key}={json.dumps(value)}" for key, value in quantize.items()]
    patched = ("--quiet", "--set=name=patched", *patch)
    assert _modc("compile", project.build_file, *patched) == 0


def test_notes_go_to_standard_error_unless_quiet(
    project: Project, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project.folder / "other.yaml"
    text = project.build_file.read_text().replace("kl_divergence", "max")
    other.write_text(text)
    arguments = ("debug", "-m", bundle, "--config", other, "--images", "1", "--limit", "1")
    assert _modc(*arguments) == 0
    assert "note: the build file makes another network now" in capsys.readouterr().err
    assert _modc(*arguments, "--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "lost" in out


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_float_bundle_is_an_error(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("debug", "-m", _bundle(tmp_path, "{}", dtype)) == 6
    assert f"dtype {dtype} has no layers on integers" in capsys.readouterr().err


def test_a_bundle_without_sensitivity_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("debug", "-m", _bundle(tmp_path, "{}", "int8"), "--json") == 6
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["exit_code"] == 6
    assert "compile it again" in err


def test_what_is_missing_is_one_clear_error(
    project: Project, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("debug", "-m", tmp_path / "nothing") == 6
    assert "bundle not found" in capsys.readouterr().err
    assert _modc("debug", "-m", bundle, "--config", tmp_path / "no.yaml") == 2
    assert "no.yaml" in capsys.readouterr().err
    network, data = project.folder / "net.onnx", project.folder / "calib"
    for missing, code in ((network, 2), (data, 4)):
        missing.rename(missing.with_name("moved"))
        try:
            assert _modc("debug", "-m", bundle) == code
            err = capsys.readouterr().err
            assert err.count("fix:") == 1
            assert "Traceback" not in err
        finally:
            missing.with_name("moved").rename(missing)


def _bundle(folder: Path, report: str, dtype: str) -> Path:
    with new_bundle(folder, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
        (bundle.folder / "mod.report.json").write_text(report)
        bundle.commit(replace(MANIFEST, quantization={"dtype": dtype}))
    return folder / "net" / "mod"
