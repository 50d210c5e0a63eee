"""Finding a bundle by any of its names, and refusing one that is not whole."""

import threading
from pathlib import Path

import pytest

from compiler.errors import BundleError
from compiler.runner.read import folder_aside, read_bundle, use_bundle
from tests.support.bundles import make_bundle


@pytest.mark.parametrize("name", ["net/mod", "net", "net/", "net/mod.json"])
def test_a_bundle_is_found_by_prefix_folder_or_manifest(tmp_path: Path, name: str) -> None:
    folder = make_bundle(tmp_path)
    bundle = read_bundle(f"{tmp_path}/{name}")
    assert bundle.prefix == folder / "mod"
    assert bundle.folder == folder
    assert bundle.model == folder / "mod.onnx"
    assert bundle.manifest.name == "net"


def test_a_wrong_prefix_lists_the_bundles_near_by(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    (tmp_path / ".net.new").mkdir()
    (tmp_path / ".net.new" / "mod.json").touch()
    for wrong in ("nett/mod", "nett", "", "deep/down/mod"):
        with pytest.raises(BundleError, match="bundle not found") as caught:
            read_bundle(tmp_path / wrong)
        assert caught.value.fix == f"name one of these: {tmp_path / 'net' / 'mod'}"


def test_a_folder_that_may_not_be_entered_is_a_bundle_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    folder = make_bundle(tmp_path)
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(BundleError, match="cannot be read: Permission denied") as caught:
        read_bundle(folder)
    assert caught.value.where == str(folder)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "mod.json").touch()
    with pytest.raises(BundleError) as caught:
        read_bundle(tmp_path / "other")
    assert caught.value.fix.endswith("09/mod and 2 more")


def test_an_empty_workspace_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(tmp_path / "net" / "mod")
    assert (
        caught.value.fix == f"build one first (modc compile); there is no bundle below {tmp_path}"
    )


@pytest.mark.parametrize("name", ["mod.onnx", "mod.params", "mod.calib.txt"])
def test_an_edited_file_is_named(tmp_path: Path, name: str) -> None:
    file = make_bundle(tmp_path) / name
    contents = file.read_bytes()
    file.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    with pytest.raises(BundleError, match="edited: its contents do not match the hash") as caught:
        read_bundle(tmp_path / "net")
    assert caught.value.where == str(file)
    assert ("--calibration-table" in caught.value.fix) == (name == "mod.calib.txt")
    assert read_bundle(tmp_path / "net", check=False).manifest.name == "net"


@pytest.mark.parametrize("check", [True, False])
def test_a_torn_file_is_named_with_both_sizes(tmp_path: Path, check: bool) -> None:
    file = make_bundle(tmp_path) / "mod.params"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(BundleError, match=r"torn or edited: 7 bytes instead of 12") as caught:
        read_bundle(tmp_path / "net", check=check)
    assert caught.value.where == str(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = make_bundle(tmp_path) / "mod.params"
    file.unlink()
    with pytest.raises(BundleError, match="cannot be read: No such file") as caught:
        read_bundle(tmp_path / "net")
    assert caught.value.where == str(file)


def test_files_that_differ_from_run_to_run_may_change(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    before = read_bundle(folder).digest
    (folder / "mod.build.json").write_text('{"seconds": 3}')
    assert read_bundle(folder).digest == before


def test_a_graph_that_the_manifest_does_not_vouch_for_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    (folder / "mod.json").rename(folder / "other.json")
    (folder / "mod.onnx").rename(folder / "other.onnx")
    with pytest.raises(BundleError, match="its hash is not in the manifest"):
        read_bundle(folder / "other")


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    (folder / "mod.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(folder)


def test_a_bundle_set_aside_in_the_middle_of_a_swap_is_found(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    folder.rename(folder_aside(folder))
    for name in ("net/mod", "net", "net/mod.json"):
        assert read_bundle(tmp_path / name).folder == tmp_path / ".net.old"


def test_use_starts_again_when_the_bundle_was_replaced_meanwhile(tmp_path: Path) -> None:
    make_bundle(tmp_path, 1.0)
    seen = []

    def use(weight: object) -> object:
        seen.append(weight)
        if len(seen) == 1:
            make_bundle(tmp_path, 2.0)
            raise ValueError("half of the old bundle, half of the new one")
        if len(seen) == 2:
            make_bundle(tmp_path, 3.0)
        return weight

    result = use_bundle(tmp_path / "net", lambda b: use(b.manifest.verification["weight"]))
    assert seen == [1.0, 2.0, 3.0]
    assert result == 3.0


def test_a_bundle_that_never_rests_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(BundleError, match="replaced 20 times while it was read"):
        use_bundle(tmp_path / "net", lambda bundle: make_bundle(tmp_path))


def test_an_error_of_the_user_is_not_retried(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    calls = []

    def fail(bundle: object) -> None:
        calls.append(bundle)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        use_bundle(tmp_path / "net", fail)
    assert len(calls) == 1


@pytest.mark.parametrize("exchange", [True, False])
def test_every_reading_during_rebuilds_is_of_one_whole_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("compiler.bundle.swap._exchange", lambda one, other: False)
    make_bundle(tmp_path)
    done = threading.Event()

    def rebuild() -> None:
        for weight in range(40):
            make_bundle(tmp_path, float(weight))
        done.set()

    writer = threading.Thread(target=rebuild)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(read_bundle(tmp_path / "net" / "mod").manifest.verification["weight"])
    writer.join()
    assert len(seen) > 3
    assert read_bundle(tmp_path / "net").manifest.verification["weight"] == 39.0
