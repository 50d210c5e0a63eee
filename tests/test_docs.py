"""Documentation that runs: commands, snippets and links."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def _blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text("utf-8")) if kind == language]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone in which the example was compiled."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "build_configs", folder / "build_configs")
    _run("compile build_configs/official_unet3p.yaml --quiet", folder)
    return folder


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    path = Path(sys.executable).parent / program
    done = subprocess.run([str(path), *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_every_command_of_the_readme_works(page: str, clone: Path) -> None:
    lines = [line for block in _blocks(ROOT / page, "sh") for line in block.splitlines()]
    commands = [line for line in lines if not line.startswith(("make ", "source "))]
    assert len(commands) == 4
    for command in commands:
        _run(command, clone)
    assert len(list((clone / "out").glob("*_overlay.png"))) == 50


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/how_to/python.md"])
def test_every_python_snippet_works(page: str, clone: Path) -> None:
    for snippet in _blocks(ROOT / page, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", snippet],
            cwd=clone,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_both_readmes_have_the_same_commands_and_links() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    for language in ("sh", "python", "text"):
        assert _blocks(english, language) == _blocks(chinese, language)
    links = [LINK.findall(page.read_text("utf-8")) for page in (english, chinese)]
    assert links[0][1:] == links[1][1:]  # the first one leads to the other language


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_the_build_file_of_the_how_to_page_is_valid(tmp_path: Path) -> None:
    from compiler import load_config

    (document, *_) = _blocks(ROOT / "docs/how_to/own_network.md", "yaml")
    (tmp_path / "my_network.yaml").write_text(document)
    config = load_config(tmp_path / "my_network.yaml", strict=True)
    assert config.name == "my_network_int8"
