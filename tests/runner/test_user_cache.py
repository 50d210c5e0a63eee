"""Kept files: whole or not there, for any number of processes, within a limit."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from compiler.runner.user_cache import KeptFiles, KeptFolders, cache_folder


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "new" / "folder", limit=1000)
    assert kept.read("a") is None
    for contents in (b"", b"first", b"second"):
        kept.write("a", contents)
        assert kept.read("a") == contents
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a"]


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"x" + data[1:], bytes])
def test_a_spoilt_file_is_removed_and_reported(
    spoil: "type[bytes]", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptFiles(tmp_path, limit=1000)
    kept.write("a", b"contents")
    (tmp_path / "a").write_bytes(b"y" + spoil((tmp_path / "a").read_bytes())[1:])
    with caplog.at_level(logging.WARNING):
        assert kept.read("a") is None
    assert "is spoilt, not used and removed" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, limit=3 * 132)
    for age, name in enumerate("cba"):
        kept.write(name, bytes(100))
        os.utime(tmp_path / name, ns=(age, age))
    assert kept.read("c") == bytes(100)  # used now
    kept.write("d", bytes(100))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_no_folder_keeps_nothing() -> None:
    kept = KeptFiles(None, limit=1000)
    kept.write("a", b"contents")
    kept.remove("a")
    assert kept.read("a") is None


def test_a_folder_that_cannot_be_made_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = KeptFiles(tmp_path / "file" / "folder", limit=1000)
    with caplog.at_level(logging.INFO):
        kept.write("a", b"contents")
    assert "cannot be written" in caplog.text
    assert kept.read("a") is None


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    KeptFiles(tmp_path, limit=1000).write("a", b"contents")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path))
    assert cache_folder("a", chosen="b") == tmp_path / "b"
    for off in ("", "off"):
        monkeypatch.setenv("MODC_CACHE", off)
        assert cache_folder("a", chosen="b") is None
    monkeypatch.delenv("MODC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("a", chosen="b") == tmp_path / "xdg" / "modc" / "a"


def fill_with(contents: bytes) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(contents)
        (folder / "b").write_bytes(b"")

    return fill


def test_a_folder_is_found_as_it_was_kept(tmp_path: Path) -> None:
    kept = KeptFolders(tmp_path / "new" / "folder", limit=1000)
    assert kept.find("one") is None
    path = kept.keep("one", fill_with(b"contents"))
    assert path == kept.find("one") == tmp_path / "new" / "folder" / "one"
    assert (path / "a").read_bytes() == b"contents"
    kept.remove("one")
    assert kept.find("one") is None
    assert list(kept.folder.iterdir()) == []


def test_the_first_of_two_that_keep_a_folder_wins(tmp_path: Path) -> None:
    kept = KeptFolders(tmp_path, limit=1000)

    def fill(folder: Path) -> None:
        kept.keep("one", fill_with(b"first"))
        fill_with(b"second")(folder)

    path = kept.keep("one", fill)
    assert path is not None
    assert (path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_filled_is_not_kept(error: BaseException, tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(b"half")
        raise error

    with suppress(KeyboardInterrupt):
        assert KeptFolders(tmp_path, limit=1000).keep("one", fill) is None
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    kept = KeptFolders(tmp_path, limit=4000)
    for age, name in enumerate("cba"):
        kept.keep(name, fill_with(bytes(1000)))
        os.utime(tmp_path / name, ns=(age, age))
    assert kept.find("c") is not None  # used now
    kept.keep("d", fill_with(bytes(1000)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]
    kept.keep("e", fill_with(bytes(5000)))  # larger than the limit: alone
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
