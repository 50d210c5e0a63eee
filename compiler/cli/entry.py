"""Start a command line: the only place that turns an error into an exit code."""

import logging
from collections.abc import Sequence
from typing import Final

import typer

from compiler.cli.failures import print_error
from compiler.errors import ModcError

_SHOWN: Final = (
    "compiler.bundle",
    "compiler.pipeline.cache",
    "compiler.runner",
    "compiler.compat",
    "compiler.preprocess.vdsp_json",
)
"""Whose warnings a user sees: that a build waits or goes on without the cache, and what is doubtful
about running a bundle."""


def start(app: typer.Typer, arguments: Sequence[str], *, name: str) -> None:
    """Run one command; ends the process unless the command just returns.

    What the system refuses where no command foresees it, such as a look into a folder that is
    locked, is an error as any other.

    Args:
        app: The commands.
        arguments: Without the program's name.
        name: The program's name, for usage and errors.
    """
    _show_log()
    try:
        app(list(arguments), prog_name=name)
    except (ModcError, OSError) as error:
        told = error if isinstance(error, ModcError) else _refusal(error, name)
        print_error(told, as_json="--json" in arguments)
        raise SystemExit(told.exit_code) from None


def _refusal(error: OSError, name: str) -> ModcError:
    return ModcError(
        f"the system refuses: {error.strerror or error}",
        where=str(error.filename or name),
        fix="check the path, its permissions and the space on its disk",
    )


def _show_log() -> None:
    logging.getLogger("compiler").addHandler(logging.NullHandler())
    for name in _SHOWN:
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setLevel(logging.WARNING)
            logger.addHandler(handler)
