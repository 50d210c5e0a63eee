"""The GitLab example: its form, and its own lines run by a shell in a repository."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.workflows import Step, change, environment, git, make_repository, shell

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = yaml.safe_load((ROOT / "docs/how_to/ci/gitlab-ci.yml").read_text("utf-8"))
RUNNER = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
QUALITY = PIPELINE["bundles"]["artifacts"]["reports"]["codequality"]

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


@dataclass
class Repository:
    """A repository with two build files."""

    folder: Path
    first_commit: str

    @property
    def build_file(self) -> Path:
        return self.folder / "build_configs/first.yaml"

    def run(self, base: str, *, merge_request: bool = False) -> Step:
        """Run both jobs on what was committed last; gives the script of the second."""
        shutil.rmtree(self.folder / "deploy_weights", ignore_errors=True)
        for name in ("summary.md", QUALITY):
            (self.folder / name).unlink(missing_ok=True)
        sources = {"CI_COMMIT_BEFORE_SHA": "0" * 40 if merge_request else base}
        if merge_request:
            sources["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = base
        env = environment(**sources)
        changes = shell("\n".join(PIPELINE["changes"]["script"]), self.folder, env, "sh", "-e")
        assert changes.code == 0, changes.log
        done = shell("\n".join(PIPELINE["bundles"]["script"]), self.folder, env, *RUNNER)
        env["CI_JOB_STATUS"] = "failed" if done.code else "success"
        shell("\n".join(PIPELINE["bundles"]["after_script"]), self.folder, env, *RUNNER)
        return done

    @property
    def summary(self) -> str:
        return (self.folder / "summary.md").read_text("utf-8")

    @property
    def errors(self) -> list[dict[str, Any]]:  # Any: JSON objects
        """Of the Code Quality report."""
        entries = json.loads((self.folder / QUALITY).read_text("utf-8"))
        return [entry for entry in entries if entry["severity"] == "major"]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path, make_repository(tmp_path))


def test_the_jobs_have_what_they_need() -> None:
    changes, bundles = PIPELINE["changes"], PIPELINE["bundles"]
    assert changes["extends"] == bundles["extends"] == ".on_changes"
    assert changes["artifacts"]["paths"] == ["build_files"]
    assert bundles["needs"] == ["changes"]
    assert bundles["before_script"] == ["python -m pip install ."]
    assert bundles["artifacts"]["when"] == "always"
    assert {"deploy_weights/", "summary.md"} == set(bundles["artifacts"]["paths"])
    policies = [
        rule.get("variables", {}).get("POLICY") for rule in PIPELINE[".on_changes"]["rules"]
    ]
    assert policies == [None, "pull-push", None]  # only the default branch replaces the bundles


@pytest.mark.slow
def test_all_is_built_first_and_then_what_a_merge_request_changes(repository: Repository) -> None:
    done = repository.run("0" * 40)
    assert done.code == 0, done.log
    assert repository.summary.count("(new)") == 2
    kept = {path.parent.name for path in repository.folder.glob("previous/*/mod.json")}
    assert kept == {"first_int8", "second_int8"}
    assert repository.errors == []

    change(repository.build_file, "calibrate_mode: kl_divergence", "calibrate_mode: max")
    done = repository.run(repository.first_commit, merge_request=True)
    assert done.code == 0, done.log
    _, _, *rows = repository.summary.splitlines()
    assert [row.split(" | ")[0] for row in rows] == [r"| first\_int8"]
    assert (repository.folder / "deploy_weights/first_int8/mod.report.html").is_file()


@pytest.mark.slow
def test_problems_are_in_the_code_quality_report(repository: Repository) -> None:
    line = change(repository.build_file, "quantize_per_channel", "quantise_per_channel")
    done = repository.run(repository.first_commit)
    assert done.code == 2
    [entry] = repository.errors
    assert entry["location"] == {"path": "build_configs/first.yaml", "lines": {"begin": line}}
    assert not (repository.folder / "previous").exists()

    git(repository.folder, "reset", "--quiet", "--hard", repository.first_commit)
    text = repository.build_file.read_text("utf-8")
    change(repository.build_file, text, f"{text}verify:\n  min_sqnr_db: 90\n")
    done = repository.run(repository.first_commit)
    assert done.code == 5
    [entry] = repository.errors
    assert entry["location"]["lines"] == {"begin": text.count("\n") + 1}
    assert "is below 90 dB" in entry["description"]
    assert "**1 of 1 missed**" in repository.summary
    assert not (repository.folder / "previous").exists()


def test_nothing_is_built_where_build_files_were_only_removed(repository: Repository) -> None:
    repository.build_file.unlink()
    git(repository.folder, "add", "--all")
    git(repository.folder, "commit", "--quiet", "--message", "remove")
    assert repository.run(repository.first_commit).code == 0
    assert not (repository.folder / "deploy_weights").exists()
