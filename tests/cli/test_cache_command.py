"""`modc cache` as users type it."""

import json
import os
import time
from pathlib import Path

import pytest

from compiler.cli.app import main
from compiler.pipeline.cache import StageCache

STORED = {"graph": ("net_int8 of net.onnx", 3 << 20), "observe": ("[bold]odd_int8", 1 << 20)}


def _modc(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageCache:
    """Two entries: of 3 MiB, used 10 days ago, and of 1 MiB, used now."""
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "stages"))
    cache = StageCache(tmp_path / "stages")
    for stage, (description, size) in STORED.items():

        def write(folder: Path, size: int = size) -> None:
            (folder / "data").write_bytes(bytes(size))

        cache.store(stage, stage.encode().hex().ljust(64, "0"), write, description)
    then = time.time() - 10 * 86400 - 60
    (entry,) = (tmp_path / "stages" / "graph").glob("*/entry.json")
    os.utime(entry, (then, then))
    return cache


def _stages(cache: StageCache) -> list[str]:
    return [one.stage for one in cache.entries()]


def test_the_table_tells_what_is_there(
    cache: StageCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("cache") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == ["in", str(cache.folder)]
    assert ["observe", "[bold]odd_int8", "1.00", "now", "now"] in lines
    assert ["graph", "net_int8", "of", "net.onnx", "3.00", "now", "10", "d"] in lines
    assert ["2", "entries", "4.00"] in lines


def test_json_is_one_object(cache: StageCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("cache", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(cache.folder)
    assert facts["bytes"] == sum(one["size"] for one in facts["entries"]) > 4 << 20
    assert {one["stage"]: one["description"] for one in facts["entries"]} == {
        stage: description for stage, (description, _) in STORED.items()
    }
    assert all(len(one["key"]) == 64 for one in facts["entries"])
    assert facts["entries"][0]["used"] < facts["entries"][0]["created"]


@pytest.mark.parametrize(
    ("options", "left", "freed"),
    [
        ((), ["graph", "observe"], "0.00"),
        (("--max-size", "2MiB"), ["observe"], "3.00"),
        (("--max-size", "5 mb"), ["graph", "observe"], "0.00"),
        (("--max-size", "1.5M"), ["observe"], "3.00"),
        (("--max-size", "0"), [], "4.00"),
        (("--older-than", "9.5"), ["observe"], "3.00"),
        (("--older-than", "11"), ["graph", "observe"], "0.00"),
        (("--older-than", "11", "--max-size", "1GiB"), ["graph", "observe"], "0.00"),
        (("--all",), [], "4.00"),
    ],
)
def test_prune_removes_what_was_asked_for(
    options: tuple[str, ...],
    left: list[str],
    freed: str,
    cache: StageCache,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _modc("cache", "prune", *options) == 0
    assert _stages(cache) == left
    assert capsys.readouterr().out == f"freed {freed} MiB\n"


@pytest.mark.parametrize("size", ["much", "-1", "1PiB", "", "nan", "9" * 400])
def test_a_size_that_is_none_removes_nothing(
    size: str, cache: StageCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("cache", "prune", f"--max-size={size}") == 2
    assert "is no size" in capsys.readouterr().err
    assert _stages(cache) == ["graph", "observe"]


def test_a_cache_that_is_off_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODC_CACHE", "off")
    assert _modc("cache") == 0
    assert _modc("cache", "prune", "--all") == 0
    assert capsys.readouterr().out == "the cache is off (MODC_CACHE)\n" * 2
    assert _modc("cache", "--json") == 0
    off: dict[str, object] = {"folder": None, "bytes": 0, "entries": [], "runner": {}}
    assert json.loads(capsys.readouterr().out) == off


def test_an_empty_cache_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "none"))
    assert _modc("cache") == 0
    assert "0 entries" in capsys.readouterr().out
    assert _modc("cache", "prune") == 0
    assert not (tmp_path / "none").exists()


def test_what_the_runner_keeps_is_shown_and_goes_with_everything(
    cache: StageCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache.folder is not None
    kept = cache.folder / "openvino"
    kept.mkdir()
    (kept / "a.blob").write_bytes(bytes(1 << 20))
    (cache.folder / "onnxruntime" / ("0" * 64)).mkdir(parents=True)  # named like an entry
    assert len(cache.entries()) == 2
    assert _modc("cache") == 0
    assert "the runner keeps 1.00 MiB: onnxruntime 0.00, openvino 1.00" in capsys.readouterr().out
    assert _modc("cache", "--json") == 0
    assert json.loads(capsys.readouterr().out)["runner"] == {"onnxruntime": 0, "openvino": 1 << 20}
    assert _modc("cache", "prune", "--all") == 0
    assert "freed 5.0" in capsys.readouterr().out
    assert not kept.exists()
