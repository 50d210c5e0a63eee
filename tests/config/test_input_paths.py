from pathlib import Path

import pytest

from compiler.config.paths import resolve_input, resolve_output
from compiler.errors import BuildFileError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    here, config = tmp_path / "here", tmp_path / "config"
    here.mkdir()
    config.mkdir()
    monkeypatch.chdir(here)
    return here, config


def test_the_current_folder_comes_before_that_of_the_build_file(
    folders: tuple[Path, Path],
) -> None:
    here, config = folders
    (config / "net.onnx").touch()
    assert resolve_input("net.onnx", config, where="x") == config / "net.onnx"
    (here / "net.onnx").touch()
    assert resolve_input("./net.onnx", config, where="x") == here / "net.onnx"
    assert resolve_input(str(config / "net.onnx"), here, where="x") == config / "net.onnx"


def test_home_and_variables_are_expanded(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, config = folders
    (here / "net.onnx").touch()
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("MODELS", str(here))
    assert resolve_input("~/net.onnx", config, where="x") == here / "net.onnx"
    assert resolve_input("${MODELS}//net.onnx", config, where="x") == here / "net.onnx"
    assert resolve_output("$MODELS/out/") == here / "out"


def test_an_absent_input_names_both_places(folders: tuple[Path, Path]) -> None:
    here, config = folders
    with pytest.raises(BuildFileError) as caught:
        resolve_input("onnx/net.onnx", config, where="frontend.checkpoint")
    error = caught.value
    assert error.where == "frontend.checkpoint"
    assert f"no {here / 'onnx/net.onnx'} nor {config / 'onnx/net.onnx'}" in error.what
    assert "correct the path" in error.fix


def test_a_placeholder_is_called_one(folders: tuple[Path, Path]) -> None:
    _, config = folders
    with pytest.raises(BuildFileError) as caught:
        resolve_input("/path/to//net.onnx", config, where="frontend.checkpoint")
    assert caught.value.what == "'/path/to//net.onnx' not found: no /path/to/net.onnx"
    assert caught.value.fix.startswith("replace the placeholder")


def test_outputs_lie_below_the_current_folder(folders: tuple[Path, Path]) -> None:
    here, _ = folders
    assert resolve_output("./deploy_weights/") == here / "deploy_weights"


@pytest.mark.parametrize(
    ("path", "what"),
    [("$NOT_SET/x", r"variable \$NOT_SET is not set"), ("~nobody_here/x", "no such user")],
)
def test_what_cannot_be_expanded_is_an_error(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, path: str, what: str
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(BuildFileError, match=what):
        resolve_input(path, folders[1], where="dataset.path")
