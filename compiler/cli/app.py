"""The commands together. Each is arguments, one call, print."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler import __version__
from compiler.cli import building, calibrating, examining, running
from compiler.cli.entry import start

app = typer.Typer(
    name="modc",
    help="Compile a network that a build file describes into one verified bundle.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


for part in (building, calibrating, running, examining):
    app.add_typer(part.commands)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `modc` and `vamc`."""
    start(app, sys.argv[1:] if arguments is None else arguments, name=_called_as())


def compile_main() -> None:
    """Entry point of `compile`: exactly `modc compile`."""
    main(["compile", *sys.argv[1:]])


def _called_as() -> str:
    """Name that usage and shell completion show: the script that was started."""
    name = Path(sys.argv[0]).name
    return name if name in {"modc", "vamc"} else "modc"
