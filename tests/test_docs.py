"""Documentation that is true: commands, options, keys and links. tests/docs runs it."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from compiler import load_config
from compiler.cli.app import app
from compiler.cli.vamp import app as vamp
from compiler.config.schema import reference
from compiler.preprocess.vdsp import read_vdsp

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
PROGRAMS = {"modc": app, "vamc": app, "compile": app, "vamp": vamp}
OWN_NETWORK = ROOT / "docs/how_to/own_network.md"
EXISTING = ROOT / "docs/how_to/existing_documentation.md"
SCRIPTS = "tests/compat/scripts"


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text("utf-8"))
    return [dedent(body) for kind, body in found if kind == language]


def _commands(page: Path) -> Iterator[list[str]]:
    """Commands in shell blocks and between backticks, as words up to a pipe or the like."""
    shell = [line for block in _blocks(page, "sh") for line in block.splitlines()]
    for line in shell + CODE.findall(FENCE.sub("", page.read_text("utf-8"))):
        for command in re.split(r" (?:&&|\||>) ", line):
            if command.partition(" ")[0] in PROGRAMS:
                yield shlex.split(command)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone in which the example was compiled, with the pages' JSON."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("build_configs", SCRIPTS):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "unet3p-vdsp_params.json").write_text(_blocks(EXISTING, "json")[0])
    _run("compile build_configs/official_unet3p.yaml --quiet", folder)
    return folder


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    path = Path(sys.executable).parent / program
    done = subprocess.run([str(path), *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_exists(page: Path) -> None:
    for program, *words in _commands(page):
        command: Any  # typer's own copy of click has no types
        command = typer.main.get_command(PROGRAMS[program])
        if program == "compile":
            words = ["compile", *words]
        while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page}: {words[0]}"
            command, words = command.commands[words[0]], words[1:]
        own = takewhile(lambda word: not word.endswith(".py"), words)  # not those of a script
        known = {option for parameter in command.params for option in parameter.opts}
        given = {word.partition("=")[0] for word in own if word.startswith("-")}
        helps = command.context_settings.get("help_option_names", ["--help"])
        assert given <= {*known, *helps}, f"{page}: {words}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_yaml_snippet_and_override_is_valid(page: Path, tmp_path: Path) -> None:
    (whole, *_) = _blocks(OWN_NETWORK, "yaml")
    path = tmp_path / "my_network.yaml"
    for snippet in _blocks(page, "yaml"):
        merged = _merge(yaml.safe_load(whole), yaml.safe_load(snippet))
        path.write_text(yaml.safe_dump(merged))
        load_config(path, strict=True)
    path.write_text(whole)
    for words in _commands(page):
        overrides = [value for option, value in pairwise(words) if option == "--set"]
        load_config(path, overrides=overrides, strict=True)


def _merge(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:  # Any: YAML
    both = {
        key: _merge(document[key], value)
        for key, value in change.items()
        if isinstance(value, dict) and key in document
    }
    return document | change | both


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_key_that_the_text_names_exists(page: Path) -> None:
    sections: dict[str, set[str]] = {}
    for heading, body in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", reference(), re.M | re.S):
        sections[heading] = set(re.findall(r"^\| `(\w+)` \|", body, re.M))
    assert {"calibrate_mode", "accuracy"} <= sections["backend.quantize"]
    for code in CODE.findall(page.read_text("utf-8")):
        section, dot, key = code.partition(":")[0].rpartition(".")
        for place in (section, f"backend.{section}"):
            if dot and place in sections:
                assert key in sections[place] or f"{place}.{key}" in sections, f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_the_build_file_of_the_how_to_page_is_valid(tmp_path: Path) -> None:
    (document, *_) = _blocks(OWN_NETWORK, "yaml")
    (tmp_path / "my_network.yaml").write_text(document)
    config = load_config(tmp_path / "my_network.yaml", strict=True)
    assert config.name == "my_network_int8"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_json_is_a_vdsp_operator(page: Path, tmp_path: Path) -> None:
    for number, snippet in enumerate(_blocks(page, "json")):
        path = tmp_path / f"{number}.json"
        path.write_text(snippet)
        assert read_vdsp(path).chain((3, 128, 128)).ops


def test_the_warning_that_a_page_shows_is_the_one_that_is_printed(clone: Path) -> None:
    (warning,) = _blocks(EXISTING, "text")
    json = (clone / "unet3p-vdsp_params.json").read_text().replace("RGB2BGR", "NO_CHANGE")
    folder = clone / "other"
    folder.mkdir()
    (folder / "unet3p-vdsp_params.json").write_text(json)
    bundle = clone / "deploy_weights/official_unet3p_int8/mod"
    done = _run(f"vamp -m {bundle} --vdsp_params unet3p-vdsp_params.json --iterations 1", folder)
    assert done.stderr == warning
