"""`modc report`: the page of one bundle, or one that compares several; other forms of the same."""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import typer

from compiler.errors import BundleError, ModcError
from compiler.page.contents import Contents
from compiler.page.render import render_bundle, render_bundles
from compiler.pipeline.page import read_contents
from compiler.report.markdown import Pair, markdown_summary
from compiler.report.model_explorer import node_data
from compiler.runner.manifest import STEM

DEFAULT_PAGE = Path("report.html")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of the bundles; see `compiler.cli.examining.report`.

    Args:
        page: File for the page; None makes none.
        markdown: Whether to print a Markdown table.
        previous: Folder of the bundles that these replace, found by name.
        model_explorer: Folder for node data; None makes none.
    """

    page: Path | None
    markdown: bool
    previous: Path | None
    model_explorer: Path | None


def report(prefixes: Sequence[str], wanted: Wanted, *, as_json: bool) -> None:
    """Write and print what is wanted of the bundles; nothing, unless all of it can be made.

    Raises:
        BundleError: A bundle cannot be read or shown, or a file cannot be written.
    """
    bundles = [read_contents(prefix) for prefix in prefixes]
    try:
        files, summary = _make(bundles, wanted)
    except ModcError:
        raise
    except Exception as error:  # no hash covers the facts of a run: any value may be in there
        raise BundleError(
            f"the facts cannot be shown: {type(error).__name__}: {error}",
            where=", ".join(prefixes),
            fix="build again what was edited (modc compile)",
        ) from error
    for file, text in files.items():
        _write(file, text)
    if as_json:
        typer.echo(json.dumps({"files": [str(file) for file in files], "markdown": summary}))
        return
    if summary is not None:
        typer.echo(summary, nl=False)
    for file in files:
        typer.echo(f"wrote {file}", err=summary is not None)


def _make(bundles: Sequence[Contents], wanted: Wanted) -> tuple[dict[Path, str], str | None]:
    """Files with their texts, and the summary."""
    files: dict[Path, str] = {}
    if wanted.page is not None:
        several = len(bundles) > 1
        files[wanted.page] = render_bundles(bundles) if several else render_bundle(bundles[0])
    if wanted.model_explorer is not None:
        files |= _node_data(bundles, wanted.model_explorer)
    if not wanted.markdown:
        return files, None
    return files, markdown_summary([_pair(one, wanted.previous) for one in bundles])


def _pair(bundle: Contents, folder: Path | None) -> Pair:
    if folder is None:
        return bundle, None
    prefix = folder / str(bundle.manifest["name"]) / STEM
    present = prefix.with_name(f"{STEM}.json").is_file()
    return bundle, read_contents(prefix) if present else None


def _node_data(bundles: Iterable[Contents], folder: Path) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for bundle in bundles:
        for figure, data in node_data(bundle).items():
            file = folder / f"{bundle.manifest['name']}.{figure}.json"
            if file in texts:
                raise BundleError(
                    f"two bundles are called {bundle.manifest['name']}",
                    where="--model-explorer",
                    fix="give each of them a folder of its own",
                )
            texts[file] = json.dumps(data, indent=1) + "\n"
    return texts


def _write(file: Path, text: str) -> None:
    """Replace a file in one step; what is no file, as a pipe, is written to."""
    target = file.resolve()
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")
        else:
            aside.write_text(text, encoding="utf-8")
            aside.replace(target)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise BundleError(
            f"cannot be written: {error.strerror or error}",
            where=str(file),
            fix="name a file in a folder that can be written",
        ) from error
