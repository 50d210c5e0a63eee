"""What the fresh process answers; here it runs in the process of the test."""

import io
import json
import time
from pathlib import Path

import pytest

from compiler.bench import child
from tests.support.bundles import make_bundle


def _answer(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, object]:
    order = {
        "prefix": str(prefix),
        "engine": "onnxruntime",
        "threads": 1,
        "more_runs": 2,
        "spawned": time.monotonic() - 1.0,
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(order) + "\n"))
    child.main()
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_the_answer_has_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = _answer(make_bundle(tmp_path), monkeypatch, capsys)

    times = answer["milliseconds"]
    assert isinstance(times, dict)
    assert set(times) == {"python", "imports", "check", "open", "first_run"}
    assert times["python"] >= 1000  # since it was spawned
    assert min(times.values()) >= 0


def test_an_error_is_told_in_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = _answer(tmp_path / "nothing", monkeypatch, capsys)

    error = answer["error"]
    assert isinstance(error, list)
    assert error[:3] == ["BundleError", "bundle not found", str(tmp_path / "nothing")]
