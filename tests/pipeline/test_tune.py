import json
from dataclasses import asdict, fields, replace
from math import isfinite
from pathlib import Path

import pytest

from compiler.cost.machine import BUILT_IN, Machine, write_machine
from compiler.errors import MissingRequirementError
from compiler.pipeline.tune import machine_for, machine_path, measure_machine
from compiler.runner.cpu import cpu_name


def test_every_constant_is_measured_and_the_source_named() -> None:
    seen: list[tuple[str, int, int]] = []
    machine = measure_machine(
        rounds=2, progress=lambda stage, done, total: seen.append((stage, done, total))
    )
    constants = {key: value for key, value in asdict(machine).items() if key != "source"}
    assert all(isfinite(value) and value >= 0 for value in constants.values()), constants
    for name in ("node", "byte", "conv_float", "conv_int8", "matmul_float", "matmul_int8"):
        assert constants[name] > 0, name
    assert machine.source.startswith(cpu_name())
    assert ", onnxruntime 1." in machine.source
    assert seen == [("tune", 0, 2), ("tune", 1, 2), ("tune", 2, 2)]


def test_the_cache_folder_is_that_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert machine_path() == tmp_path / "cache" / "modc" / "machine.json"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert machine_path() == tmp_path / ".cache" / "modc" / "machine.json"


def test_builds_use_the_built_in_constants_or_the_measured_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine_for("builtin") is BUILT_IN
    measured = replace(BUILT_IN, source="here", node=123.0)
    write_machine(measured, machine_path())
    assert machine_for("tuned") == measured
    assert set(json.loads(machine_path().read_text())) == {one.name for one in fields(Machine)}


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"source": "of an older version"}'])
def test_absent_constants_name_the_command(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if text is not None:
        machine_path().parent.mkdir()
        machine_path().write_text(text)
    with pytest.raises(MissingRequirementError) as caught:
        machine_for("tuned")
    assert caught.value.fix == "run: modc tune"
    assert caught.value.where == str(machine_path())
    assert caught.value.exit_code == 7
