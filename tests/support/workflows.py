"""Runs CI jobs with a shell, as far as the jobs of this repository need it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.project import make_project

Yaml = Mapping[str, Any]  # Any: a YAML mapping

_EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
_NAME = re.compile(r"'[^']*'|\b[a-z_]+(?:\.[a-z_]+)+")
_LINES = re.compile(r"^(\w+)<<(\w+)\n(.*?)\n?^\2\n", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)


def environment(**extra: str) -> dict[str, str]:
    """This process's variables without those of a CI service, the tested modc first in PATH."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GIT"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**own, "PATH": path, **extra}


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit everything; gives the commit's name."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "change")
    return git(folder, "rev-parse", "HEAD")


@dataclass
class Step:
    """How a step ended: exit code, and standard output and error together."""

    code: int
    log: str = ""


@dataclass
class Job:
    """A job of GitHub Actions.

    Args:
        definition: Of the job.
        folder: The checkout.
        scratch: For the runner's files and the artifacts.
        contexts: What expressions find, such as {"github.event_name": "push"}; else "".
        given: Variables of the runner.
        steps: By name, those that ran.
        outputs: Of steps, such as {"steps.find.outputs.build_files": "a.yaml"}.

    Installing modc and actions other than upload-artifact are left out.
    """

    definition: Yaml
    folder: Path
    scratch: Path
    contexts: Mapping[str, str]
    given: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What the steps wrote to $GITHUB_STEP_SUMMARY."""
        path = self.scratch / "summary"
        return path.read_text("utf-8") if path.exists() else ""

    def artifact(self, name: str) -> set[str]:
        """Files that were uploaded under a name."""
        root = self.scratch / "artifacts" / name
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def run(self) -> bool:
        """Run step by step; tells whether the job succeeds."""
        self.scratch.mkdir(parents=True)
        succeeds = True
        outcomes: dict[str, str] = {}
        for step in self.definition["steps"]:
            contexts = {**self.contexts, **self.outputs, **outcomes}
            wanted = str(step.get("if", "success"))
            known = f"steps.{step.get('id')}.outcome"
            if not _holds(wanted, contexts, succeeds=succeeds):
                outcomes[known] = "skipped"
                continue
            code = self._step(step, contexts)
            outcomes[known] = "failure" if code else "success"
            succeeds = succeeds and (code == 0 or bool(step.get("continue-on-error")))
        return succeeds

    def _step(self, step: Yaml, contexts: Mapping[str, str]) -> int:
        if step.get("uses", "").startswith("actions/upload-artifact@"):
            return self._upload(_filled(step["with"]["name"], contexts), step["with"])
        if "uses" in step or "pip install" in step["run"]:
            return 0
        files = {name: self.scratch / name for name in ("summary", "output")}
        files["output"].unlink(missing_ok=True)
        named = {**self.definition.get("env", {}), **step.get("env", {})}
        env = environment(
            GITHUB_STEP_SUMMARY=str(files["summary"]),
            GITHUB_OUTPUT=str(files["output"]),
            **self.given,
            **{name: _filled(text, contexts) for name, text in named.items()},
        )
        bash = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
        done = shell(step["run"], self.folder, env, *bash)
        self.steps[step["name"]] = done
        if files["output"].exists():
            text = files["output"].read_text("utf-8")
            found = [(name, lines) for name, _, lines in _LINES.findall(text)]
            for name, value in (*found, *_LINE.findall(_LINES.sub("", text))):
                self.outputs[f"steps.{step['id']}.outputs.{name}"] = value
        return done.code

    def _upload(self, name: str, options: Yaml) -> int:
        """Visible files only; below the first wildcard, or the folder itself."""
        pattern = options["path"]
        root = self.folder / pattern.partition("*")[0]
        found = [path for path in self.folder.glob(pattern) if not path.name.startswith(".")]
        for path in found:
            target = self.scratch / "artifacts" / name / path.relative_to(root)
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns(".*"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        return int(not found and options.get("if-no-files-found") == "error")


def shell(script: str, folder: Path, env: Mapping[str, str], *command: str) -> Step:
    """Run a script as a CI service does."""
    done = subprocess.run(
        [*command, "-c", script],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Step(done.returncode, done.stdout)


def _holds(condition: str, contexts: Mapping[str, str], *, succeeds: bool) -> bool:
    match = _EXPRESSION.fullmatch(condition)
    text = match[1] if match else condition
    if text == "success":
        return succeeds
    if "cancelled()" not in text and not succeeds:
        return False
    return bool(_value(text, contexts))


def _filled(text: str, contexts: Mapping[str, str]) -> str:
    return _EXPRESSION.sub(lambda match: str(_value(match[1], contexts)), text)


def _value(expression: str, contexts: Mapping[str, str]) -> object:
    """An expression of GitHub Actions: names, texts in quotes, comparisons, && and ||."""

    def name(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith("'") else repr(contexts.get(match[0], ""))

    python = _NAME.sub(name, expression.replace("!cancelled()", "True"))
    return eval(python.replace("&&", "and").replace("||", "or"), {})


def make_repository(folder: Path) -> str:
    """Two build files of one small network, committed; gives the commit's name.

    One has a name that shells and git treat in their own ways.
    """
    project = make_project(folder / "build_configs")
    project.document["frontend"]["checkpoint"] = "net.onnx"
    project.document["dataset"]["path"] = "calib"
    del project.document["workspace"]
    for name, file in (("first", "first.yaml"), ("second", "the second 网络.yml")):
        project.document["name"] = f"{name}_int8"
        text = yaml.safe_dump(project.document, sort_keys=False)
        (folder / "build_configs" / file).write_text(text, "utf-8")
    (folder / ".gitignore").write_text("deploy_weights/\n")
    git(folder, "init", "--quiet")
    return commit(folder)


def change(build_file: Path, old: str, new: str) -> int:
    """Replace the one place of a text, and commit; gives its line."""
    text = build_file.read_text("utf-8")
    before, *rest = text.split(old)
    if len(rest) != 1:
        raise ValueError(f"'{old}' stands {len(rest)} times in {build_file}")
    build_file.write_text(before + new + rest[0], "utf-8")
    commit(build_file.parent)
    return before.count("\n") + 1
