"""`modc check` as users, CI jobs and pre-commit call it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from compiler.cli.app import main
from tests.support.project import Project, make_project

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
CONFIG_GOLDEN = ROOT / "tests" / "config" / "golden"
WILD = ROOT.parent / "shared" / "compat" / "wild_yaml_shapes.json"


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A good project in the current folder, on a CPU with VNNI, in no time."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx2 ssse3 avx512_vnni\n")
    monkeypatch.setattr("compiler.runner.cpu.CPUINFO", cpuinfo)
    monkeypatch.setattr("compiler.pipeline.check.time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.chdir(tmp_path)
    made = make_project(tmp_path)
    made.document["frontend"]["checkpoint"] = "net.onnx"
    made.document["dataset"]["path"] = "calib"
    return made


def _break(project: Project) -> None:
    project.document["extra"] = 1
    project.document["backend"]["quantize"] |= {
        "exclude_layers": ["fist"],
        "calibrate_mode": "auto",
    }
    project.document["graph"] = {"extra_ops": {"type": "argmax"}}
    project.document["verify"] = {"images": "no", "masks": "no", "metric": "foreground_iou"}
    (project.folder / "calib" / "image_2.png").write_bytes(b"no image")


def test_two_build_files_that_write_one_bundle_are_told_of(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write()
    other = project.folder / "other.yaml"
    other.write_text(project.build_file.read_text())
    assert _modc("check", "build.yaml", "build.yaml", "other.yaml", "--no-lint") == 0
    out = capsys.readouterr().out
    assert re.findall(
        r"(.*):\d+:\d+: warning: its bundle takes the place of that of (.*)", out
    ) == [("other.yaml", "build.yaml")]
    project.document["name"] = "another"
    project.write()
    assert _modc("check", "build.yaml", "other.yaml", "--no-lint") == 0
    assert "takes the place" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["good", "bad"])
def test_what_is_printed_is_golden(
    project: Project, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "bad":
        _break(project)
    project.write()
    code = _modc("check", "build.yaml", "--ops", "--no-lint")
    out, err = capsys.readouterr()
    text = "".join(f"{line.rstrip()}\n" for line in out.splitlines())
    text = text.replace(str(project.folder), "<folder>")
    assert text == (GOLDEN / f"check_{name}.txt").read_text(encoding="utf-8")
    assert (code, err) == ({"good": 0, "bad": 4}[name], "")


def test_many_files_share_one_table_and_the_worst_exit_code(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = project.write()
    bad = tmp_path / "bad.yaml"
    project.document["frontend"]["checkpoint"] = "gone.onnx"
    bad.write_text(yaml.safe_dump(project.document))
    assert _modc("check", bad, "absent.yaml", good, "--no-lint") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "3 build files"
    assert sum("int8" in line and " 0 " in line for line in lines[2:5]) == 2
    assert any(line.startswith("absent.yaml: error: file not found") for line in lines)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_narrow_terminal_cuts_nothing_off_the_table(
    project: Project,
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    project.write()
    assert _modc("check", "build.yaml", "--no-lint") == 0
    out = capsys.readouterr().out
    assert ("┃" in out) == (width == 160)
    for words in ("build.yaml", "warnings", "seconds", "0.0016 → 0.0028"):
        assert words in out
    assert "…" not in out


def test_json_is_one_object_per_file(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("check", project.write(), "absent.yaml", "--json", "--no-lint") == 2
    good, absent = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["verdict"], good["exit_code"], good["errors"], good["warnings"]) == (
        "fine",
        0,
        0,
        0,
    )
    assert [op["dtype"] for op in good["forecast"]["ops"]] == ["int8"] * 3
    assert good["forecast"]["after"]["macs"] == 16 * 16 * (8 * 27 + 72)
    assert (absent["verdict"], absent["exit_code"], absent["forecast"]) == ("errors", 2, None)
    [error, _] = absent["findings"]
    assert (error["level"], error["part"], error["code"]) == ("error", "build file", 2)
    assert error["file"] == "absent.yaml"


def test_quiet_prints_what_fails_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.document["backend"]["quantize"]["exclude_layers"] = ["fist"]
    path = project.write()
    assert _modc("check", path, "--quiet", "--no-lint") == 0
    assert capsys.readouterr() == ("", "")
    assert _modc("check", path, "--quiet", "--strict", "--no-lint") == 2
    assert "no layer is named 'fist'" in capsys.readouterr().out


def test_options_of_compile_mean_the_same(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.document["extra"] = 1
    path = project.write()
    options = ("--no-lint", "--lenient", "--dtype", "fp16", "--set", "name=other_int8", "--json")
    assert _modc("check", path, *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["dtype"]) == ("other_fp16", "fp16")


@pytest.mark.parametrize("path", sorted(CONFIG_GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_files_that_compile_refuses_are_refused_with_its_code(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("check", path) >= 2
    out, err = capsys.readouterr()
    assert f"{path}:" in out.replace("\n", "")
    assert err == ""


@pytest.mark.skipif(not WILD.exists(), reason=f"{WILD} is absent")
def test_public_build_files_without_their_networks_and_data_give_findings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = json.loads(WILD.read_text(encoding="utf-8"))
    paths = []
    for number, entry in enumerate(one for one in entries if "yaml" in one):
        paths.append(Path(f"{number}.yaml"))
        paths[-1].write_text(yaml.safe_dump(entry["yaml"], sort_keys=False), encoding="utf-8")
    assert _modc("check", *paths, "--json") == 4
    out, err = capsys.readouterr()
    checks = [json.loads(line) for line in out.splitlines()]
    assert len(checks) == len(paths)
    assert {check["exit_code"] for check in checks} <= {2, 3, 4}
    known = [check for check in checks if check["name"]]
    assert len(known) >= len(checks) - 2
    assert all(finding["line"] for check in known for finding in check["findings"])
    assert err == ""


def test_the_pre_commit_hook_checks_the_files_it_is_given(project: Project) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["id"], hook["language"]) == ("modc-check", "python")
    folder = project.folder / "build_configs"
    folder.mkdir()
    project.document["frontend"]["checkpoint"] = str(project.folder / "net.onnx")
    (folder / "good.yaml").write_text(yaml.safe_dump(project.document))
    project.document["extra"] = 1
    (folder / "bad.yaml").write_text(yaml.safe_dump(project.document))
    changed = ["build_configs/good.yaml", "build_configs/bad.yaml", "mkdocs.yml"]
    files = [name for name in changed if re.search(hook["files"], name)]
    assert files == changed[:2]
    command = [*shlex.split(hook["entry"]), *hook["args"]]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    runs = [
        subprocess.run([*command, *names], capture_output=True, text=True, check=False)
        for names in (files[:1], files)
    ]
    assert [run.returncode for run in runs] == [0, 2]
    assert runs[0].stdout == ""
    assert runs[1].stdout.startswith("build_configs/bad.yaml:")
    assert "extra: unknown key" in runs[1].stdout
