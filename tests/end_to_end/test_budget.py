"""`quantize.accuracy`: layers stay in float until the budget holds."""

import json
from pathlib import Path

import pytest
import yaml

from compiler import Build, compile_model, load_config
from compiler.cli.app import main
from tests.support.project import Project, make_project


def _project(folder: Path, **accuracy: object) -> Project:
    project = make_project(folder)
    project.document["backend"]["quantize"] = {"calibrate_mode": "max", "accuracy": accuracy}
    return project


def _build(project: Project, *, force: bool = True) -> Build:
    return compile_model(load_config(project.write()), force=force)


def test_a_budget_that_holds_keeps_nothing_in_float(tmp_path: Path) -> None:
    build = _build(_project(tmp_path, metric="sqnr", max_drop=50))
    assert build.search is not None
    assert (build.search.layers, build.search.reached) == (frozenset(), True)
    assert build.digest is not None


def test_layers_stay_in_float_until_the_budget_holds(tmp_path: Path) -> None:
    plain = _build(make_project(tmp_path / "plain"))
    drop = 100 * 10 ** (-plain.verification.sqnr_db / 10)
    build = _build(_project(tmp_path / "kept", metric="sqnr", max_drop=drop / 4))
    assert build.search is not None
    assert build.search.layers
    assert build.search.drop <= drop / 4
    assert build.verification.sqnr_db > plain.verification.sqnr_db
    assert any("quantize.accuracy" in line for line in build.notes)
    report = json.loads(build.prefix.with_suffix(".report.json").read_text())
    assert report["search"]["float_layers"] == sorted(build.search.layers)


def test_a_budget_that_nothing_holds_writes_no_bundle(tmp_path: Path) -> None:
    """Even all in float, the network computes in another order than the original."""
    build = _build(_project(tmp_path, metric="sqnr", max_drop=0))
    assert build.search is not None
    assert (build.search.reached, build.digest) == (False, None)
    (gate,) = build.broken_gates
    assert gate.startswith("sqnr would fall by 0.00 points, 0 are allowed: the budget is missed")


def test_a_slower_network_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "compiler.pipeline.budget.why_too_slow", lambda int8, floating: "int8 takes longer"
    )
    project = _project(tmp_path, metric="sqnr", max_drop=50)
    refused = _build(project, force=False)
    assert refused.digest is None
    assert refused.broken_gates == ("int8 takes longer (--force writes it all the same)",)
    assert _build(project, force=True).digest is not None


def test_a_second_search_takes_its_trials_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    project = _project(tmp_path / "project", metric="sqnr", max_drop=0.001)
    first = _build(project)
    assert first.search is not None
    trials = {path.parent.name for path in (tmp_path / "cache").rglob("trial.json")}
    assert trials
    second = _build(project)
    assert second.search is not None
    assert [trial.points for _, trial in second.search.trials] == [
        trial.points for _, trial in first.search.trials
    ]
    assert {path.parent.name for path in (tmp_path / "cache").rglob("trial.json")} == trials


def test_the_command_prints_lines_to_paste(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, metric="sqnr", max_drop=0.001)
    main_exits(["compile", str(project.write()), "--force", "--keep"])
    printed = capsys.readouterr().out
    assert "sets tried" in printed
    assert "exclude_layers:" in printed


def test_lines_to_paste_hold_the_layers_that_are_excluded_already(tmp_path: Path) -> None:
    project = _project(tmp_path, metric="sqnr", max_drop=0.001)
    project.document["backend"]["quantize"]["exclude_layers"] = ["last"]
    build = _build(project)
    assert build.search is not None
    assert build.search.layers == {"first"}
    pasted = yaml.safe_load(build.search.patch)
    assert pasted == {"backend": {"quantize": {"exclude_layers": ["last", "first"]}}}


def test_masks_that_are_missing_are_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, metric="miou", max_drop=0.3)
    assert main_exits(["compile", str(project.write())]) == 2
    assert "miou needs images with masks" in capsys.readouterr().err


def main_exits(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)
