"""The commands together. Each is arguments, one call, print; errors become exit codes in `main`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler import __version__
from compiler.cli import building, examining, running
from compiler.cli.failures import print_error
from compiler.errors import ModcError

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


for part in (building, running, examining):
    app.add_typer(part.commands)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `modc` and `vamc`; the only place that turns an error into an exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _show_log()
    try:
        app(arguments, prog_name=_called_as())
    except ModcError as error:
        print_error(error, as_json="--json" in arguments)
        raise SystemExit(error.exit_code) from None


def compile_main() -> None:
    """Entry point of `compile`: exactly `modc compile`."""
    main(["compile", *sys.argv[1:]])


def _called_as() -> str:
    """Name that usage and shell completion show: the script that was started."""
    name = Path(sys.argv[0]).name
    return name if name in {"modc", "vamc"} else "modc"


def _show_log() -> None:
    """Of the log, commands show that a build waits, or goes on without the cache; no more."""
    logging.getLogger("compiler").addHandler(logging.NullHandler())
    for name in ("compiler.bundle", "compiler.pipeline.cache"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setLevel(logging.WARNING)
            logger.addHandler(handler)
