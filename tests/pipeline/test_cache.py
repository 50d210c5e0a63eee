"""The cache of stages: what is found in it, and what never is."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.pipeline import cache as cache_module
from compiler.pipeline import environment
from compiler.pipeline.cache import StageCache, default_folder, key
from compiler.pipeline.cache_entry import ENTRY
from compiler.runner.user_cache import user_folder

ROOT = Path(__file__).resolve().parents[2]
STAGE = "graph"
KEY = "0123456789abcdef" * 4
DAY = 86400


def _write(folder: Path) -> None:
    (folder / "graph.onnx").write_bytes(b"nodes")
    (folder / "graph.params").write_bytes(bytes(1000))


def _write_bytes(count: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "data").write_bytes(bytes(count))

    return write


def _age(place: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(place, (then, then))


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "stages")


@pytest.fixture
def stored(cache: StageCache) -> Path:
    cache.store(STAGE, KEY, _write, "net_int8 of net.onnx")
    place = cache.fetch(STAGE, KEY)
    assert place is not None
    return place


def test_what_was_stored_is_found(stored: Path, cache: StageCache) -> None:
    assert (stored / "graph.onnx").read_bytes() == b"nodes"
    assert (stored / "graph.params").read_bytes() == bytes(1000)
    assert StageCache(cache.folder).fetch(STAGE, KEY) == stored


def test_another_key_or_stage_finds_nothing(stored: Path, cache: StageCache) -> None:
    del stored
    assert cache.fetch(STAGE, KEY[::-1]) is None
    assert cache.fetch("observe", KEY) is None


def test_a_result_that_is_there_is_not_written_again(stored: Path, cache: StageCache) -> None:
    cache.store(STAGE, KEY, _write_bytes(5), "something else")
    assert not (stored / "data").exists()
    assert [one.description for one in cache.entries()] == ["net_int8 of net.onnx"]


def test_without_a_folder_nothing_is_kept() -> None:
    off = StageCache(None)
    off.store(STAGE, KEY, _write, "never written")
    assert off.fetch(STAGE, KEY) is None
    assert off.load(STAGE, KEY, lambda folder: folder) is None
    assert off.entries() == ()
    assert off.prune(everything=True) == 0


def _truncate(place: Path) -> None:
    os.truncate(place / "graph.params", 999)


def _flip(place: Path) -> None:
    data = bytearray((place / "graph.params").read_bytes())
    data[500] ^= 1
    (place / "graph.params").write_bytes(data)


def _link(place: Path) -> None:
    (place / "graph.params").rename(place.parent / "elsewhere")
    (place / "graph.params").symlink_to(place.parent / "elsewhere")


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        facts = json.loads((place / ENTRY).read_text())
        (place / ENTRY).write_text(json.dumps(facts | changes))

    return edit


def _replace(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    place.write_text("a file in the place of the entry")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated file": _truncate,
    "flipped bit": _flip,
    "missing file": lambda place: (place / "graph.onnx").unlink(),
    "extra file": lambda place: (place / "more").write_text(""),
    "extra folder": lambda place: (place / "more").mkdir(),
    "link": _link,
    "no entry.json": lambda place: (place / ENTRY).unlink(),
    "empty entry.json": lambda place: (place / ENTRY).write_text(""),
    "text that is no text": lambda place: (place / ENTRY).write_bytes(b"\xff\xfe\x00"),
    "nested without end": lambda place: (place / ENTRY).write_text("[" * 100_000),
    "a list": lambda place: (place / ENTRY).write_text("[]"),
    "another key": _edit(key=KEY[::-1]),
    "another stage": _edit(stage="observe"),
    "another format": _edit(format=0),
    "files that are no list": _edit(files=3),
    "files without facts": _edit(files={"graph.onnx": None, "graph.params": None}),
    "no folder": _replace,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_not_whole_is_reported_removed_and_made_anew(
    kind: str, stored: Path, cache: StageCache, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGE[kind](stored)
    cache.entries()  # lists what is damaged without a word
    assert not caplog.records
    assert cache.fetch(STAGE, KEY) is None
    (record,) = caplog.records
    assert record.name.startswith("compiler.")
    assert f"{stored} is not used and removed" in record.getMessage()
    assert not os.path.lexists(stored)
    cache.store(STAGE, KEY, _write, "again")
    assert cache.fetch(STAGE, KEY) == stored


def test_an_entry_in_the_place_of_another_is_not_trusted(stored: Path, cache: StageCache) -> None:
    place = stored.with_name(KEY[::-1])
    stored.rename(place)
    assert cache.fetch(STAGE, KEY[::-1]) is None
    assert not place.exists()


def test_load_gives_what_was_read(stored: Path, cache: StageCache) -> None:
    assert cache.load(STAGE, KEY, lambda folder: (folder / "graph.onnx").read_text()) == "nodes"
    assert cache.load(STAGE, KEY[::-1], lambda folder: folder) is None
    assert stored.exists()


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_what_cannot_be_read_counts_as_absent(
    kind: type[Exception], stored: Path, cache: StageCache, caplog: pytest.LogCaptureFixture
) -> None:
    def read(folder: Path) -> None:
        raise kind(f"{folder.name} makes no sense")

    assert cache.load(STAGE, KEY, read) is None
    assert "makes no sense" in caplog.text
    assert not stored.exists()


def test_an_entry_that_another_process_removes_while_it_is_read_is_no_news(
    stored: Path, cache: StageCache, caplog: pytest.LogCaptureFixture
) -> None:
    def read(folder: Path) -> bytes:
        StageCache(cache.folder).prune(everything=True)
        return (folder / "graph.onnx").read_bytes()

    assert cache.load(STAGE, KEY, read) is None
    assert not caplog.records
    assert not stored.exists()


def test_a_folder_that_cannot_be_written_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = StageCache(tmp_path / "file" / "stages")
    for stage in ("graph", "observe"):
        assert cache.fetch(stage, KEY) is None
        cache.store(stage, KEY, _write, "in vain")
    (record,) = caplog.records
    assert "cannot be written (Not a directory)" in record.getMessage()
    assert "MODC_CACHE" in record.getMessage()
    assert cache.entries() == ()


def test_a_full_disk_leaves_nothing_behind(
    cache: StageCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def write(folder: Path) -> None:
        (folder / "part").write_text("half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache.store(STAGE, KEY, write, "too large")
    assert os.strerror(errno.ENOSPC) in caplog.text
    assert [path.name for path in tmp_path.rglob("*")] == ["stages", STAGE]


def test_a_mistake_of_the_stage_is_not_hidden(cache: StageCache, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inner: not a file"):
        cache.store(STAGE, KEY, lambda folder: (folder / "inner").mkdir(), "two floors")
    assert [path.name for path in tmp_path.rglob("*")] == ["stages", STAGE]


def test_the_faster_process_wins(cache: StageCache, caplog: pytest.LogCaptureFixture) -> None:
    def write(folder: Path) -> None:
        StageCache(cache.folder).store(STAGE, KEY, _write, "the faster one")
        _write(folder)

    cache.store(STAGE, KEY, write, "the slower one")
    assert [one.description for one in cache.entries()] == ["the faster one"]
    assert cache.fetch(STAGE, KEY) is not None
    assert not caplog.records


def test_entries_tell_what_they_are(stored: Path, cache: StageCache) -> None:
    (one,) = cache.entries()
    assert (one.stage, one.key, one.description) == (STAGE, KEY, "net_int8 of net.onnx")
    assert one.size == 5 + 1000 + (stored / ENTRY).stat().st_size
    _age(stored / ENTRY, 3)
    (later,) = cache.entries()
    assert later.created == one.created
    assert 2.9 < (one.used - later.used).total_seconds() / DAY < 3.1
    cache.fetch(STAGE, KEY)
    (fresh,) = cache.entries()
    assert fresh.used >= one.used


@pytest.mark.parametrize("created", ["soon", 7, "0001-01-01T00:00:00+14:00"])
def test_damaged_entries_are_listed_as_such(
    created: object, stored: Path, cache: StageCache
) -> None:
    _edit(created=created)(stored)
    (one,) = cache.entries()
    assert (one.description, one.created) == ("damaged", one.used)


def _fill(cache: StageCache, count: int, size: int) -> list[str]:
    """Entries that were last used 1, 2, … days ago."""
    keys = [f"{number:064x}" for number in range(count)]
    for number, name in enumerate(keys):
        cache.store(STAGE, name, _write_bytes(size), f"entry {number}")
        assert cache.folder is not None
        _age(cache.folder / STAGE / name / ENTRY, number + 1)
    return keys


def _keys(cache: StageCache) -> list[str]:
    return [one.key for one in cache.entries()]


def test_pruning_by_size_removes_what_was_not_used_for_longest(cache: StageCache) -> None:
    keys = _fill(cache, 4, 100_000)
    cache.fetch(STAGE, keys[3])
    before = sum(one.size for one in cache.entries())
    freed = cache.prune(max_bytes=250_000)
    assert _keys(cache) == [keys[0], keys[3]]
    assert freed == before - sum(one.size for one in cache.entries())
    assert cache.prune(max_bytes=250_000) == 0


def test_pruning_by_age_and_of_everything(cache: StageCache) -> None:
    keys = _fill(cache, 4, 100)
    cache.prune(older_than_days=2.5)
    assert _keys(cache) == keys[:2]
    assert cache.prune() == 0
    assert cache.prune(everything=True) > 0
    assert _keys(cache) == []


def test_storing_keeps_to_the_limit(tmp_path: Path) -> None:
    cache = StageCache(tmp_path, limit=250_000)
    keys = _fill(cache, 4, 100_000)
    assert _keys(cache) == [keys[0], keys[3]]  # each was aged as soon as it was stored


def test_pruning_spares_what_is_not_the_caches_own(cache: StageCache, stored: Path) -> None:
    assert cache.folder is not None
    others = [cache.folder / "notes.txt", cache.folder / STAGE / "notes.txt"]
    for path in others:
        path.write_text("mine")
        _age(path, 400)
    cache.prune(everything=True)
    assert all(path.exists() for path in others)
    assert not stored.exists()


def test_leftovers_go_after_a_day_and_running_writes_stay(cache: StageCache, stored: Path) -> None:
    old, new = (stored.with_name(f".{KEY}.{digit * 32}") for digit in "ab")
    for folder in (old, new):
        folder.mkdir()
        (folder / "graph.onnx").write_text("half")
    _age(old, 1.1)
    cache.prune(everything=True)
    assert not old.exists()
    assert new.exists()
    assert cache.fetch(STAGE, KEY) is None


def test_an_entry_that_cannot_be_removed_stays_and_counts_as_kept(
    cache: StageCache, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(self), str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    assert cache.prune(everything=True) == 0
    assert stored.exists()


ROUNDS = 30
WRITER = """
import sys
from pathlib import Path
from compiler.pipeline.cache import StageCache

def write(folder):
    (folder / "one").write_bytes(b"1" * 100_000)
    print("writing", flush=True)
    (folder / "two").write_bytes(b"2" * 100_000)

cache = StageCache(Path(sys.argv[1]))
for number in range(1_000_000):
    cache.store("graph", f"{number:064x}", write, "until killed")
"""


def test_a_kill_at_any_moment_leaves_nothing_that_is_trusted_and_wrong(tmp_path: Path) -> None:
    moments = np.random.default_rng(0).uniform(0, 0.02, 5)
    for moment in moments:
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
    cache = StageCache(tmp_path)
    for one in cache.entries():
        place = cache.fetch(one.stage, one.key)
        assert place is not None
        assert (place / "two").read_bytes() == b"2" * 100_000
    hidden = list(tmp_path.glob("*/.*"))
    for path in hidden:
        _age(path, 2)
    cache.prune()
    assert not list(tmp_path.glob("*/.*"))


def _use(folder: Path, seed: int) -> None:
    """Store, load and prune the same few entries as other processes do."""
    random = np.random.default_rng(seed)
    cache = StageCache(folder)
    for _ in range(ROUNDS):
        number = int(random.integers(3))
        name = f"{number:064x}"
        found = cache.load(STAGE, name, lambda place: (place / "data").read_bytes())
        if found is None:
            cache.store(STAGE, name, _write_bytes(10_000 + number), f"entry {number}")
        elif found != bytes(10_000 + number):
            raise AssertionError(f"entry {number} is of another stage")
        if random.random() < 0.2:
            cache.prune(everything=True)
        cache.entries()


def test_processes_can_share_the_cache(cache: StageCache) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_use, args=(cache.folder, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert cache.folder is not None
    assert not list(cache.folder.glob("*/.*"))
    assert all(cache.fetch(one.stage, one.key) for one in cache.entries())


FACTS = {"mode": "kl_divergence", "fraction": 0.1 + 0.2, "names": ["a", "b"], "more": {"x": None}}


def test_a_key_is_64_hex_digits_and_does_not_depend_on_order() -> None:
    assert len(bytes.fromhex(key(STAGE, FACTS))) == 32
    assert key(STAGE, dict(reversed(FACTS.items()))) == key(STAGE, FACTS)


@pytest.mark.parametrize(
    "other",
    [
        {**FACTS, "fraction": 0.3},
        {**FACTS, "names": ["b", "a"]},
        {**FACTS, "more": {"x": 0}},
        {**FACTS, "more": {}},
    ],
)
def test_any_other_fact_gives_another_key(other: dict[str, object]) -> None:
    assert key(STAGE, other) != key(STAGE, FACTS)


def test_integers_floats_text_and_truth_differ() -> None:
    values: list[object] = [1, 1.0, "1", True, [1], None]
    assert len({key(STAGE, {"value": value}) for value in values}) == len(values)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_keys_are_equal_exactly_where_the_facts_are(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(STAGE, {"facts": one}) == key(STAGE, {"facts": other})) == same


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.float32(1), TypeError),
        (Path("net.onnx"), TypeError),
        ({1: "one"}, TypeError),
        ([{"inner": {None: 1}}], TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
    ],
)
def test_facts_that_json_cannot_hold_are_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        key(STAGE, {"value": value})


def test_the_stage_versions_code_processor_and_format_are_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = [key(STAGE, FACTS), key("observe", FACTS)]
    for target, name, value in [
        (onnxruntime, "__version__", "0.0.1"),
        (np, "__version__", "0.0.1"),
        (cache_module, "FORMAT", -1),
        (cache_module, "cpu_features", lambda: ["ABACUS"]),
        (cache_module, "code_digest", lambda: "0"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            seen.append(key(STAGE, FACTS))
    assert len(set(seen)) == len(seen)
    assert key(STAGE, FACTS) == seen[0]


def test_the_code_is_known_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text("x = 1")
    monkeypatch.setattr("compiler.__file__", str(tmp_path / "__init__.py"))
    environment.code_digest.cache_clear()
    try:
        before = environment.code_digest()
        environment.code_digest.cache_clear()
        (tmp_path / "module.py").write_text("x = 2")
        assert environment.code_digest() != before
    finally:
        environment.code_digest.cache_clear()


def test_the_folder_is_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache" / "modc" / "stages"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_folder() == tmp_path / ".cache" / "modc" / "stages"
    monkeypatch.chdir(tmp_path)
    for choice in ("here", "~/here", str(tmp_path / "here")):
        monkeypatch.setenv("MODC_CACHE", choice)
        assert default_folder() == tmp_path / "here"
    for choice in ("", "off"):
        monkeypatch.setenv("MODC_CACHE", choice)
        assert default_folder() is None


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MODC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() is None
    with pytest.raises(RuntimeError):
        user_folder()


def test_a_hit_is_told_in_the_log(
    stored: Path, cache: StageCache, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "compiler"):
        cache.fetch(STAGE, KEY)
    assert caplog.messages == [f"cache: graph taken from {stored}"]
