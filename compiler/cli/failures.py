"""How an error looks to a person and to a program."""

import json

import typer

from compiler.errors import ModcError


def print_error(error: ModcError, *, as_json: bool) -> None:
    """One clear error on standard error, and as a JSON object on standard output if asked for."""
    typer.echo(f"modc: {error}", err=True)
    if as_json:
        facts = {
            "where": error.where,
            "what": error.what,
            "fix": error.fix,
            "exit_code": error.exit_code,
        }
        typer.echo(json.dumps({"error": facts}))
