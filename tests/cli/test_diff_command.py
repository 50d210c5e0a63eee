"""`modc diff` as users type it."""

import json
import shutil
from pathlib import Path

import pytest

from compiler.cli.app import main
from tests.support.project import make_project


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project with bundles net_int8 and net_fp16."""
    folder = tmp_path_factory.mktemp("project")
    project = make_project(folder)
    assert _modc("compile", project.write(), "--quiet") == 0
    assert _modc("compile", project.write(), "--dtype", "fp16", "--quiet") == 0
    return folder


@pytest.fixture
def bundle(project: Path) -> Path:
    return project / "deploy" / "net_int8" / "mod"


def test_diff_prints_tables_notes_and_a_verdict(
    project: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("diff", bundle, project / "net.onnx", "--limit", "1") == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert ["form", "int8", "bundle", "fp32", "ONNX", "file"] in rows
    assert ["MMAC", "0.07", "0.07", "1.00"] in rows
    assert ["BatchNormalization", "0", "1", "+1"] in rows
    assert ["BatchNormalization_n1", "-", "BatchNormalization", "only", "in", "B"] in rows
    assert "1 more" in out
    assert "output, on random values" in out
    assert out.splitlines()[-1].startswith("B differs from A: nodes changed: 2, ")
    assert f"note: {bundle} was made from {project / 'net.onnx'}" in err
    assert err.startswith("load\n")


def test_bundles_of_two_precisions(
    project: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project / "deploy" / "net_fp16"
    image = project / "calib" / "image_5.png"
    assert _modc("diff", bundle, other, "--image", image) == 0
    out = capsys.readouterr().out
    assert ["backend.dtype", "int8", "fp16"] in [line.split() for line in out.splitlines()]
    assert "output, on image_5.png, through the preprocessing of net_int8" in out
    assert "scales" not in out


def test_identical_bundles_are_one_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(bundle.parent, tmp_path / "copy")
    assert _modc("diff", bundle, copy, "--exit-code") == 0
    assert capsys.readouterr().out == f"{bundle} and {copy} are identical\n"


def test_the_exit_code_tells_a_script_whether_they_differ(
    project: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = bundle, project / "net.onnx"
    assert _modc("diff", *pair, "--no-run", "--exit-code", "--quiet") == 1
    assert capsys.readouterr() == ("", "")


def test_diff_as_json_is_one_object(
    project: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("diff", bundle, project / "deploy" / "net_fp16", "--no-run", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["identical"] is False
    assert facts["run"] is None
    assert {"key": "backend.dtype", "a": "int8", "b": "fp16"} in facts["build"]["keys"]
    assert err == ""


def test_mistakes_are_one_error_without_traceback(
    project: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_text("no network")
    absent = ("--image", str(tmp_path / "nothing.png"))
    cases: tuple[tuple[int, Path, tuple[str, ...]], ...] = (
        (6, tmp_path / "nothing", ()),
        (3, tmp_path / "nothing.onnx", ()),
        (3, broken, ()),
        (4, project / "net.onnx", absent),
        (2, project / "net.onnx", ("--no-run", *absent)),
    )
    for code, b, options in cases:
        assert _modc("diff", bundle, b, *options) == code
        err = capsys.readouterr().err
        assert err.count("fix: ") == 1
        assert "Traceback" not in err
    assert _modc("diff", bundle) == 2
