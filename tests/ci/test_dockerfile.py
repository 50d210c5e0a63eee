"""The Dockerfile, as far as it can be judged without Docker."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]


def _of(name: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


def test_it_has_two_stages_on_the_slim_python_that_the_job_uses() -> None:
    assert _of("FROM") == ["python:3.11-slim AS build", "python:3.11-slim"]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in INSTRUCTIONS} == known
    [*_, last] = [number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM"]
    assert [name for name, _ in INSTRUCTIONS[last:]].count("RUN") == 0  # no layer but the packages


def test_it_runs_modc_without_the_rights_of_root() -> None:
    assert _of("ENTRYPOINT") == ['["modc"]']
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _of("USER")[0])


def test_everything_that_the_package_needs_is_sent_to_docker_and_nothing_else() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = {name for line in _of("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == sent
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {"pyproject.toml", project["project"]["readme"], *packages} <= sent
    assert all((ROOT / name).exists() for name in sent)


def test_the_job_and_the_image_install_the_same_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/bundles.yml").read_text("utf-8"))
    steps = workflow["jobs"]["bundles"]["steps"]
    [python] = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    assert all(stage.startswith(f"python:{python['python-version']}-") for stage in _of("FROM"))
