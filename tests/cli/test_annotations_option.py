"""`--annotations` of check and compile."""

import json
from pathlib import Path

import pytest

from compiler.cli.app import main
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path)
    project.document["workspace"]["path"] = "deploy"
    return project


def _modc(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)


def _line(path: str, key: str) -> int:
    lines = Path(path).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(key))


def test_every_problem_of_a_refused_file_is_told_by_both_commands(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.document["backend"]["dtipe"] = "int8"
    project.document["dataset"]["sampler"]["get_data_num"] = 0
    project.write()
    for command in ("check", "compile"):
        assert _modc(command, "build.yaml", "--annotations", "github", "--json") == 2
        out, err = capsys.readouterr()
        assert all(json.loads(line) for line in out.splitlines())
        found = [line for line in err.splitlines() if line.startswith("::")]
        assert [line.partition(",title")[0] for line in found] == [
            f"::error file=build.yaml,line={_line('build.yaml', 'dtipe')},col=3",
            f"::error file=build.yaml,line={_line('build.yaml', 'get_data_num')},col=19",
        ]


@pytest.mark.parametrize(
    ("section", "key", "value", "code"),
    [
        ("frontend", "checkpoint", "gone.onnx", 2),
        ("frontend", "checkpoint", "no_network.onnx", 3),
        ("dataset", "path", "empty", 4),
    ],
)
def test_what_ends_a_build_stands_at_its_key(
    project: Project,
    section: str,
    key: str,
    value: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("empty").mkdir()
    Path("no_network.onnx").write_bytes(b"no network")
    project.document[section][key] = value
    project.write()
    assert _modc("compile", "build.yaml", "--annotations", "github", "--quiet") == code
    [found] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::")]
    assert found.startswith(f"::error file=build.yaml,line={_line('build.yaml', f'{key}:')},")


def test_an_internal_error_is_told_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("five is four")

    monkeypatch.setattr("compiler.cli.compile.compile_model", broken)
    project.write()
    assert _modc("compile", "build.yaml", "build.yaml", "--annotations", "github", "-q") == 1
    found = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::")]
    assert len(found) == 2
    assert "RuntimeError: five is four" in found[0]


def test_the_report_for_gitlab_is_added_to(project: Project) -> None:
    report = Path("gl-code-quality-report.json")
    project.write()
    assert _modc("check", "build.yaml", "--annotations", "gitlab", "--no-lint", "-q") == 0
    assert json.loads(report.read_text()) == []
    project.document["extra"] = 1
    project.write()
    for count, command in enumerate((["check", "--no-lint"], ["compile"]), 1):
        assert _modc(*command, "build.yaml", "--annotations", "gitlab", "-q") == 2
        assert len(json.loads(report.read_text())) == count


def test_another_file_in_the_place_of_the_report_is_left_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Path("gl-code-quality-report.json")
    project.write()
    for text in ("no JSON", "{}"):
        report.write_text(text)
        assert _modc("check", "build.yaml", "--annotations", "gitlab", "--no-lint", "-q") == 2
        assert "this is no Code Quality report" in capsys.readouterr().err
        assert report.read_text() == text
