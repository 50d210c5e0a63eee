"""`modc profile` and `modc tune` as users type them."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from compiler.cli import tune
from compiler.cli.app import main
from compiler.cost.machine import BUILT_IN, Machine
from tests.support.project import make_project


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    project = make_project(folder)
    assert _modc("compile", project.write(), "--quiet") == 0
    return folder / "deploy" / "net_int8" / "mod"


def test_profile_prints_the_tables(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("profile", "-m", bundle, "--threads", "1", "--runs", "2", "--limit", "1") == 0
    out, err = capsys.readouterr()
    for words in ("net_int8 (int8), compiled: nodes", "original ms", "QLinearConv", "more"):
        assert words in out
    assert "MMAC of the network           0.07" in out
    assert "profile 3/3" in err


def test_profile_as_json_is_one_object(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("profile", "-m", bundle, "--threads", "1", "--runs", "2", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["compiled"]["macs"] == facts["original"]["macs"] == 73728
    assert {node["op"] for node in facts["compiled"]["nodes"]} >= {"QLinearConv"}
    assert err == ""


def test_profile_says_what_it_assumed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundle.parent.parent.parent
    (folder / "net.onnx").rename(folder / "renamed.onnx")
    try:
        assert _modc("profile", "-m", bundle, "--runs", "1") == 0
        assert "note: the compiled network alone: " in capsys.readouterr().err
        named = ("--original", folder / "renamed.onnx")
        assert _modc("profile", "-m", bundle, "--runs", "1", "--quiet", *named) == 0
        out, err = capsys.readouterr()
        assert "original ms" in out
        assert err == ""
    finally:
        (folder / "renamed.onnx").rename(folder / "net.onnx")


def test_profile_of_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("profile", "-m", tmp_path / "nothing", "--json") == 6
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 6


MEASURED = replace(BUILT_IN, source="Some CPU, onnxruntime 1.31.1", conv_float=0.0125)


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*, progress: object) -> Machine:
        del progress
        return MEASURED

    monkeypatch.setattr(tune, "measure_machine", measure)


@pytest.mark.usefixtures("_measured")
def test_tune_stores_and_prints_the_constants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _modc("tune") == 0
    out = capsys.readouterr().out
    stored = tmp_path / "modc" / "machine.json"
    assert f"stored in {stored}" in out
    (row,) = (line.split() for line in out.splitlines() if line.strip().startswith("conv_float"))
    assert row == ["conv_float", "0.007407", "0.0125", "1.69", "multiply-accumulate"]
    assert json.loads(stored.read_text()) == asdict(MEASURED)


@pytest.mark.usefixtures("_measured")
def test_tune_as_json_or_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "here.json"
    assert _modc("tune", "--path", path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"path": str(path), "built_in": asdict(BUILT_IN), "measured": asdict(MEASURED)}
    assert _modc("tune", "--path", path, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_measured")
def test_tune_needs_a_file_that_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert _modc("tune", "--path", tmp_path / "file" / "machine.json") == 2
    assert "--path" in capsys.readouterr().err


def test_a_build_with_measured_constants_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tuned = ("--set", "backend.optimize.machine=tuned")
    assert _modc("compile", make_project(tmp_path).write(), "--quiet", *tuned) == 7
    assert "run: modc tune" in capsys.readouterr().err
    assert not list(tmp_path.glob("deploy/*/mod*"))
