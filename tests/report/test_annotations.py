"""Findings as GitHub and GitLab read them."""

from compiler.pipeline.check_findings import Finding
from compiler.report.annotations import code_quality, github_commands

ERROR = Finding(
    "error",
    "data",
    "50 % of 'a::b' are\r\nno images",
    where="dataset.path",
    fix="correct it",
    code=4,
    file="build configs/a,b:c.yaml",
    line=24,
    column=3,
)


def test_what_github_gives_a_meaning_is_escaped() -> None:
    [command] = github_commands([ERROR], "build configs/a,b:c.yaml")
    assert command == (
        "::error file=build configs/a%2Cb%3Ac.yaml,line=24,col=3,title=modc (data)"
        "::dataset.path: 50 %25 of 'a::b' are%0D%0Ano images%0Afix: correct it"
    )


def test_errors_and_warnings_are_shown_and_notes_are_not() -> None:
    levels = [Finding(level, "graph", "it is so") for level in ("error", "warning", "note")]
    commands = list(github_commands(levels, "a.yaml"))
    assert [command.split()[0] for command in commands] == ["::error", "::warning"]
    assert [entry["severity"] for entry in code_quality(levels, "a.yaml")] == ["major", "minor"]


def test_a_finding_about_an_option_stands_at_the_build_file_and_names_the_option() -> None:
    finding = Finding("error", "build file", "unknown key", "backnd", file="--set backnd=1", line=1)
    [command] = github_commands([finding], "a.yaml")
    assert command == (
        "::error file=a.yaml,title=modc (build file)::--set backnd=1: backnd: unknown key"
    )
    [entry] = code_quality([finding], "a.yaml")
    assert entry["location"] == {"path": "a.yaml", "lines": {"begin": 1}}


def test_a_code_quality_entry_is_the_same_wherever_its_line_moves() -> None:
    [entry] = code_quality([ERROR], ERROR.file)
    assert entry["location"] == {"path": ERROR.file, "lines": {"begin": 24}}
    assert entry["description"].endswith("\nfix: correct it")
    moved = Finding("error", ERROR.part, ERROR.what, ERROR.where, file=ERROR.file, line=99)
    other = Finding("error", ERROR.part, "something else", ERROR.where, file=ERROR.file, line=24)
    [same], [different] = code_quality([moved], ERROR.file), code_quality([other], ERROR.file)
    assert same["fingerprint"] == entry["fingerprint"] != different["fingerprint"]
