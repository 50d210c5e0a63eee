"""A bundle is written whole or not at all, one build at a time."""

import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from compiler.bundle.write import new_bundle
from compiler.errors import BundleError
from compiler.runner.read import read_bundle
from tests.support.bundles import BUILD_SHA256, MANIFEST, make_bundle, write_network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["exchange", "two renames"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to put a folder in the place of another."""
    way: str = request.param
    if way == "two renames":
        monkeypatch.setattr("compiler.bundle.swap._exchange", lambda one, other: False)
    return way


def weight_of(prefix: Path) -> object:
    return read_bundle(prefix).manifest.verification["weight"]


def hidden(workspace: Path) -> list[str]:
    return sorted(path.name for path in workspace.iterdir() if path.name.startswith("."))


def test_a_first_build_makes_the_workspace(tmp_path: Path) -> None:
    workspace = tmp_path / "a" / "b"
    folder = make_bundle(workspace)
    assert sorted(path.name for path in folder.iterdir()) == [
        "mod.build.json",
        "mod.calib.txt",
        "mod.json",
        "mod.onnx",
        "mod.params",
    ]
    assert sorted(read_bundle(folder).manifest.files) == ["mod.calib.txt", "mod.onnx", "mod.params"]
    assert hidden(workspace) == [".net.lock"]


def test_two_builds_of_the_same_are_byte_identical(tmp_path: Path) -> None:
    one, other = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "other")
    for name in ("mod.json", "mod.onnx", "mod.params", "mod.calib.txt"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert read_bundle(one).digest == read_bundle(other).digest


def test_commit_returns_the_digest_that_readers_see(tmp_path: Path) -> None:
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 1.0)
        digest = bundle.commit(MANIFEST)
    assert read_bundle(tmp_path / "net").digest == digest


def test_a_rebuild_replaces_the_bundle(tmp_path: Path, swap: str) -> None:
    folder = make_bundle(tmp_path, 1.0)
    (folder / "mod.extra.txt").write_text("of the old build")
    make_bundle(tmp_path, 2.0)
    assert weight_of(folder) == 2.0
    assert not (folder / "mod.extra.txt").exists()
    assert hidden(tmp_path) == [".net.lock"]


@pytest.mark.parametrize("refusing", [[], ["renameat2"], ["renamex_np"]])
def test_systems_that_cannot_exchange_folders_rename_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: list[str]
) -> None:
    library = SimpleNamespace(**{name: lambda *arguments: -1 for name in refusing})
    make_bundle(tmp_path, 1.0)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    make_bundle(tmp_path, 2.0)
    assert weight_of(tmp_path / "net") == 2.0
    assert hidden(tmp_path) == [".net.lock"]


def test_files_of_the_user_stay(tmp_path: Path, swap: str) -> None:
    folder = make_bundle(tmp_path, 1.0)
    (folder / "yolov4.cfg").write_text("[net]")
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "deep" / "a.txt").write_text("mine")
    (folder / "link.cfg").symlink_to("yolov4.cfg")
    (folder / "dangling").symlink_to("nowhere")
    for weight in (2.0, 3.0):
        make_bundle(tmp_path, weight)
    assert weight_of(folder) == 3.0
    assert (folder / "yolov4.cfg").read_text() == "[net]"
    assert (folder / "notes" / "deep" / "a.txt").read_text() == "mine"
    assert (folder / "link.cfg").readlink() == Path("yolov4.cfg")
    assert (folder / "dangling").readlink() == Path("nowhere")


def test_files_of_the_user_are_copied_where_links_are_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(1, "no links here")

    folder = make_bundle(tmp_path, 1.0)
    (folder / "yolov4.cfg").write_text("[net]")
    (folder / "dangling").symlink_to("nowhere")
    monkeypatch.setattr("os.link", refuse)
    make_bundle(tmp_path, 2.0)
    assert (folder / "yolov4.cfg").read_text() == "[net]"
    assert (folder / "dangling").is_symlink()


def test_a_folder_that_holds_only_files_of_the_user_becomes_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "yolov4.cfg").write_text("[net]")
    folder = make_bundle(tmp_path)
    assert weight_of(folder) == 2.0
    assert (folder / "yolov4.cfg").read_text() == "[net]"


def test_a_linked_folder_stays_a_link(tmp_path: Path, swap: str) -> None:
    elsewhere = make_bundle(tmp_path / "elsewhere", 1.0)
    workspace = tmp_path / "deploy"
    workspace.mkdir()
    (workspace / "net").symlink_to(elsewhere)
    make_bundle(workspace, 2.0)
    assert (workspace / "net").is_symlink()
    assert weight_of(workspace / "net") == weight_of(elsewhere) == 2.0


def test_an_exception_leaves_the_old_bundle(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, 1.0)
    with (
        pytest.raises(ZeroDivisionError),
        new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle,
    ):
        write_network(bundle.folder, 1 / 0)
    assert weight_of(folder) == 1.0
    assert hidden(tmp_path) == [".net.lock"]


def test_a_build_that_does_not_commit_leaves_no_trace(tmp_path: Path) -> None:
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
    assert hidden(tmp_path) == [".net.lock"]
    assert not (tmp_path / "net").exists()


def test_a_second_rename_that_fails_puts_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_bundle(tmp_path, 1.0)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == ".net.new":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, target)

    monkeypatch.setattr("compiler.bundle.swap._exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BundleError, match="Permission denied"):
        make_bundle(tmp_path, 2.0)
    assert weight_of(folder) == 1.0


@pytest.mark.parametrize("leftover", [".net.new", ".net.old"])
def test_leftovers_of_a_killed_build_are_swept(tmp_path: Path, leftover: str) -> None:
    folder = make_bundle(tmp_path, 1.0)
    (tmp_path / leftover).mkdir()
    (tmp_path / leftover / "mod.onnx").write_text("half")
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        assert list(bundle.folder.iterdir()) == []
        assert not (tmp_path / ".net.old").exists()
    assert weight_of(folder) == 1.0


def test_a_bundle_that_was_set_aside_comes_back(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, 1.0)
    (folder / "yolov4.cfg").write_text("[net]")
    folder.rename(tmp_path / ".net.old")
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx"):
        assert weight_of(folder) == 1.0
    assert (folder / "yolov4.cfg").read_text() == "[net]"


def test_a_bundle_of_the_same_build_file_is_replaced_without_a_word(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        assert bundle.warnings == ()


def test_a_bundle_of_another_build_file_gives_a_warning_that_names_it(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    with new_bundle(tmp_path, "net", build_file="other.yaml", model="net.onnx") as bundle:
        (warning,) = bundle.warnings
    assert f"another build file, net.yaml (sha256 {BUILD_SHA256})" in warning


def test_files_of_another_compiler_give_a_warning(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mod.json").write_text('{"nodes": []}')
    (tmp_path / "net" / "mod.so").touch()
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        (warning,) = bundle.warnings
    assert "replaces mod.* files whose mod.json this modc cannot read" in warning


def test_a_bundle_of_unknown_source_gives_no_warning(tmp_path: Path) -> None:
    make_bundle(tmp_path, manifest=replace(MANIFEST, sources=()))
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        assert bundle.warnings == ()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".net", "/net"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(BundleError, match="cannot name a folder"),
        new_bundle(tmp_path, name, build_file="net.yaml", model="net.onnx"),
    ):
        pass


def test_a_second_build_of_the_name_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order = []

    def second() -> None:
        make_bundle(tmp_path, 2.0)
        order.append("second")

    with (
        caplog.at_level(logging.WARNING, "compiler.bundle.write"),
        new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle,
    ):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert "another build of" in caplog.text
        write_network(bundle.folder, 1.0)
        bundle.commit(replace(MANIFEST, verification={"weight": 1.0}))
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert weight_of(tmp_path / "net") == 2.0


def test_a_workspace_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "net").touch()
    for workspace in (tmp_path / "file", tmp_path / "file" / "sub", Path("/proc/deploy")):
        with pytest.raises(BundleError, match="the bundle cannot be written") as caught:
            make_bundle(workspace)
        assert "set workspace.path to a folder that can be written" in caught.value.fix
    with pytest.raises(BundleError, match="a file stands where the bundle goes"):
        make_bundle(tmp_path / "deploy")


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    image = tmp_path / "image.png"  # beside the bundle, as in many projects
    with (
        pytest.raises(FileNotFoundError),
        new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx"),
    ):
        image.read_bytes()


FULL_DISK = """
import resource, sys
from pathlib import Path
from compiler.bundle.write import new_bundle
from compiler.errors import BundleError
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    with new_bundle(Path(sys.argv[1]), "net", build_file="net.yaml", model="net.onnx") as bundle:
        (bundle.folder / "mod.params").write_bytes(bytes(1 << 20))
except BundleError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_leaves_the_old_bundle_and_no_leftovers(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, 1.0)
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"{folder}: the bundle cannot be written: File too large" in result.stderr
    assert "free space on its disk" in result.stderr
    assert weight_of(folder) == 1.0
    assert hidden(tmp_path) == [".net.lock"]
