"""The GitHub workflows: their form, and their own steps run by a shell in a repository."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.workflows import Job, change, commit, environment, git, make_repository, shell

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BUNDLES = yaml.safe_load((ROOT / ".github/workflows/bundles.yml").read_text("utf-8"))

needs_shell = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def _jobs(path: Path) -> list[dict[str, Any]]:  # Any: YAML mappings
    return list(yaml.safe_load(path.read_text("utf-8"))["jobs"].values())


def _steps(path: Path) -> list[dict[str, Any]]:  # Any: YAML mappings
    return [step for job in _jobs(path) for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_what_it_needs_and_no_more_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", True, "permissions", "jobs"} <= set(workflow)  # `on` is true in YAML 1.1
    assert set(workflow["permissions"].values()) == {"read"}
    for job in _jobs(path):
        assert job["runs-on"] == "ubuntu-latest"
        assert job["timeout-minutes"] > 0
    for step in _steps(path):
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v0"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_are_short_stop_at_the_first_error_and_hold_no_expression(path: Path) -> None:
    for script in [step["run"] for step in _steps(path) if "run" in step]:
        lines = script.splitlines()
        assert "${{" not in script  # an expression in a script is a way to inject commands
        assert len(lines) <= 10
        assert len(lines) == 1 or lines[0] == "set -euo pipefail"


def test_modc_is_installed_from_the_checkout_before_it_is_used() -> None:
    runs = [step.get("run", "") for step in BUNDLES["jobs"]["bundles"]["steps"]]
    installed = runs.index("python -m pip install .")
    assert not any("modc " in run for run in runs[:installed])
    assert "uses: actions/setup-python" in (ROOT / ".github/workflows/bundles.yml").read_text()


GH = """#!/bin/sh
# Stands in for GitHub's own command: the artifact of one earlier run if there is $PREVIOUS.
case "$1 $2 $3" in
  "api repos/me/mine/actions/artifacts?name=bundles&per_page=100 --jq")
    if [ -n "$PREVIOUS" ]; then printf 'run=42\\ncommit=%s\\n' "$COMMIT"; fi ;;
  "run download 42") cp -R "$PREVIOUS" previous ;;
  *) exit 1 ;;
esac
"""
BUNDLE = {"mod.json", "mod.onnx", "mod.params", "mod.report.json", "mod.report.html"}


@dataclass
class Repository:
    """A repository with two build files, and what GitHub keeps of its runs."""

    folder: Path
    scratch: Path
    first_commit: str

    @property
    def build_file(self) -> Path:
        return self.folder / "build_configs/first.yaml"

    def find(self, name: str, event: str, base: str, previous: Path | None = None) -> Job:
        """Run the first job on what was committed last.

        Args:
            name: Of the run.
            event: That sets it off.
            base: Commit that a pull request goes to, and that of the previous bundles.
            previous: The previous bundles.
        """
        scratch = self.scratch / name
        scratch.mkdir()
        contexts = {"github.event_name": event, "github.repository": "me/mine"}
        if event == "pull_request":
            contexts["github.event.pull_request.base.sha"] = base
        (scratch / "gh").write_text(GH)
        (scratch / "gh").chmod(0o755)
        given = {
            "PATH": f"{scratch}{os.pathsep}{environment()['PATH']}",
            "PREVIOUS": str(previous or ""),
            "COMMIT": base,
        }
        job = Job(BUNDLES["jobs"]["changes"], self.folder, scratch / "changes", contexts, given)
        assert job.run(), {name: step.log for name, step in job.steps.items()}
        return job

    def run(
        self, name: str, event: str, base: str, previous: Path | None = None
    ) -> tuple[bool, Job]:
        """Run both jobs; gives whether all is well, and the second."""
        shutil.rmtree(self.folder / "deploy_weights", ignore_errors=True)
        shutil.rmtree(self.folder / "previous", ignore_errors=True)
        first = self.find(name, event, base, previous)
        contexts = dict(first.contexts)
        for key, expression in first.definition["outputs"].items():
            output = first.outputs.get(expression.strip("${ }"), "")
            contexts[f"needs.changes.outputs.{key}"] = output
        scratch = self.scratch / name / "bundles"
        job = Job(BUNDLES["jobs"]["bundles"], self.folder, scratch, contexts, first.given)
        return job.run(), job


FOUND = "steps.find.outputs.build_files"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("repository")
    return Repository(folder, tmp_path_factory.mktemp("runs"), make_repository(folder))


@pytest.fixture(scope="module")
def started_by_hand(repository: Repository) -> tuple[bool, Job]:
    return repository.run("by_hand", "workflow_dispatch", "")


@pytest.fixture
def changed(repository: Repository) -> Repository:
    """The repository as it was at first; a test changes it."""
    git(repository.folder, "reset", "--quiet", "--hard", repository.first_commit)
    return repository


@needs_shell
@pytest.mark.slow
def test_started_by_hand_it_builds_everything(started_by_hand: tuple[bool, Job]) -> None:
    succeeds, job = started_by_hand
    assert succeeds, {name: step.log for name, step in job.steps.items()}
    for name in ("first_int8", "second_int8"):
        assert {f"{name}/{file}" for file in BUNDLE} <= job.artifact("bundles")
        assert f"{name}/mod.report.html" in job.artifact("reports")
    assert len(job.artifact("reports")) == 2
    heading, _, *rows = job.summary.splitlines()
    assert heading.startswith("| bundle | dtype | size |")
    assert [row.split(" | ")[0] for row in rows] == [
        r"| first\_int8 (new)",
        r"| second\_int8 (new)",
    ]
    assert "Fetch the previous bundles" not in job.steps
    assert "Keep the bundles that did not change" not in job.steps
    assert "::error" not in "".join(step.log for step in job.steps.values())


@needs_shell
@pytest.mark.slow
def test_a_change_is_built_alone_and_set_off_against_the_previous_bundle(
    changed: Repository, started_by_hand: tuple[bool, Job]
) -> None:
    previous = started_by_hand[1].scratch / "artifacts/bundles"
    change(changed.build_file, "calibrate_mode: kl_divergence", "calibrate_mode: max")
    succeeds, job = changed.run("push", "push", changed.first_commit, previous)
    assert succeeds, {name: step.log for name, step in job.steps.items()}
    _, _, *rows = job.summary.splitlines()
    [row] = rows
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[:2] == [r"first\_int8", "int8"]
    assert re.fullmatch(r"[\d.]+ KiB \([+−-]?[\d.]+ %\)", cells[2])
    assert re.fullmatch(r"[\d.]+ dB \([+−-][\d.]+\)", cells[5])
    assert job.artifact("reports") == {"first_int8/mod.report.html"}
    bundles = job.artifact("bundles")
    assert {f"{name}/mod.json" for name in ("first_int8", "second_int8")} <= bundles
    kept, earlier = (
        (folder / "second_int8/mod.json").read_bytes()
        for folder in (job.scratch / "artifacts/bundles", previous)
    )
    assert kept == earlier


@needs_shell
def test_a_pull_request_brings_what_differs_from_its_base(
    changed: Repository, tmp_path: Path
) -> None:
    change(changed.build_file, "calibrate_mode: kl_divergence", "calibrate_mode: max")
    for name, previous in (("first_request", None), ("later_request", tmp_path)):
        job = changed.find(name, "pull_request", changed.first_commit, previous)
        assert job.outputs[FOUND] == "build_configs/first.yaml"


def test_a_pull_request_does_not_pass_its_bundles_off_as_those_of_a_branch() -> None:
    *_, upload = BUNDLES["jobs"]["bundles"]["steps"]
    assert upload["with"]["name"].startswith("${{ github.event_name == 'pull_request' && ")
    assert upload["with"]["name"].endswith("|| 'bundles' }}")


@needs_shell
@pytest.mark.parametrize(
    ("event", "base", "has_previous"),
    [
        ("push", "0" * 40, False),  # the first run, or all has expired
        ("push", "1" * 40, True),  # a commit that was pushed away
        ("workflow_dispatch", "HEAD", True),
    ],
)
def test_where_there_is_nothing_to_stand_beside_all_build_files_are_found(
    changed: Repository, event: str, base: str, has_previous: bool, tmp_path: Path
) -> None:
    name = f"all_{event}_{base}"
    job = changed.find(name, event, base, tmp_path if has_previous else None)
    found = job.outputs[FOUND].splitlines()
    assert found == ["build_configs/first.yaml", "build_configs/the second 网络.yml"]


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_previous_bundles_are_the_newest_of_the_branch_that_did_not_expire(
    tmp_path: Path,
) -> None:
    def artifact(run: int, branch: str, *, expired: bool = False, fork: bool = False) -> object:
        origin = {"id": run, "head_branch": branch, "head_sha": f"commit{run}"}
        ids = {"repository_id": 1, "head_repository_id": 2 if fork else 1}
        return {"expired": expired, "workflow_run": {**origin, **ids}}

    artifacts = [
        artifact(5, "main", expired=True),
        artifact(4, "main", fork=True),
        artifact(2, "main"),
        artifact(30000000000, "main"),
        artifact(9, "other"),
    ]
    [step] = [one for one in BUNDLES["jobs"]["changes"]["steps"] if one.get("id") == "previous"]
    (tmp_path / "gh").write_text('#!/bin/sh\nprintf %s "$ARTIFACTS" | jq --raw-output "$4"\n')
    (tmp_path / "gh").chmod(0o755)
    outputs = []
    for known in (artifacts, []):
        output = tmp_path / f"output{len(known)}"
        env = environment(
            ARTIFACTS=json.dumps({"artifacts": known}),
            BRANCH="main",
            GH_REPO="me/mine",
            GITHUB_OUTPUT=str(output),
        )
        env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
        done = shell(step["run"], tmp_path, env, "bash")
        assert done.code == 0, done.log
        outputs.append(output.read_text())
    assert outputs == ["run=30000000000\ncommit=commit30000000000\n", ""]


@needs_shell
@pytest.mark.slow
def test_a_broken_build_file_is_annotated_where_it_is_broken(
    changed: Repository, tmp_path: Path
) -> None:
    line = change(changed.build_file, "quantize_per_channel", "quantise_per_channel")
    succeeds, job = changed.run("broken", "push", changed.first_commit, tmp_path)
    assert not succeeds
    assert job.steps["Check"].code == 2
    [command] = re.findall("^::error.*$", job.steps["Check"].log, re.MULTILINE)
    assert command == (
        f"::error file=build_configs/first.yaml,line={line},col=5,title=modc (build file)"
        "::backend.quantize.quantise_per_channel: unknown key; did you mean 'quantize_per_channel'?"
    )
    assert "Compile" not in job.steps
    assert not job.artifact("bundles")
    assert not job.summary


@needs_shell
@pytest.mark.slow
def test_a_missed_gate_fails_is_annotated_and_leaves_a_report_but_no_bundles(
    changed: Repository, tmp_path: Path
) -> None:
    text = changed.build_file.read_text("utf-8")
    change(changed.build_file, text, f"{text}verify:\n  min_sqnr_db: 90\n")
    succeeds, job = changed.run("gate", "push", changed.first_commit, tmp_path)
    assert not succeeds
    assert job.steps["Check"].code == 0
    assert job.steps["Compile"].code == 5
    [command] = re.findall("^::error.*$", job.steps["Compile"].log, re.MULTILINE)
    line = text.count("\n") + 1
    start = f"::error file=build_configs/first.yaml,line={line},col=1,title=modc (verification)::"
    assert command.startswith(start)
    assert "dB is below 90 dB" in command
    assert "%0Afix: " in command
    assert "**1 of 1 missed**" in job.summary
    assert job.artifact("reports") == {"first_int8/mod.report.html"}
    assert not job.artifact("bundles")


@needs_shell
def test_nothing_is_built_where_build_files_were_only_removed(
    changed: Repository, tmp_path: Path
) -> None:
    changed.build_file.unlink()
    commit(changed.folder)
    job = changed.find("removed", "push", changed.first_commit, tmp_path)
    assert job.outputs[FOUND] == ""
    assert BUNDLES["jobs"]["bundles"]["if"] == "needs.changes.outputs.build_files"
