"""`modc debug`: why an int8 bundle loses accuracy, and what to paste into its build file."""

import json
from pathlib import Path

import typer

from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.pipeline.debug import debug_bundle
from compiler.report.debug import debug_facts, debug_lines, debug_tables


def debug(
    prefix: str,
    *,
    config: Path | None,
    limit: int,
    images: int,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Debug a bundle and print what was found; see `compiler.cli.examining.debug`.

    Raises:
        ModcError: The bundle, its build file or its data cannot be used.
    """
    with progress(quiet=quiet or as_json) as report:
        found = debug_bundle(
            prefix,
            config=config,
            limit=limit,
            images=images,
            allow_custom_code=allow_custom_code,
            progress=report,
        )
    if as_json:
        typer.echo(json.dumps(debug_facts(found)))
        return
    if not quiet:
        for note in found.notes:
            typer.echo(f"note: {note}", err=True)
    for table in debug_tables(found):
        print_table(table)
    for line in debug_lines(found):
        typer.echo(line)
