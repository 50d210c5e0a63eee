"""`modc diff`: what differs between two networks."""

import json
from pathlib import Path

import typer

from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.errors import BuildFileError
from compiler.pipeline.diff import diff_networks
from compiler.report.diff import diff_facts, diff_tables, verdict


def diff(
    a: str,
    b: str,
    *,
    image: Path | None,
    run: bool,
    limit: int,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> bool:
    """Compare two networks and print what was found; see `compiler.cli.examining.diff`.

    Returns:
        Whether they are identical.

    Raises:
        ModcError: A bundle, an ONNX file or the image cannot be used.
    """
    if image is not None and not run:
        raise BuildFileError(
            "an image given, but nothing is to be run",
            where="--image",
            fix="leave out --image or --no-run",
        )
    with progress(quiet=quiet or as_json) as report:
        found = diff_networks(
            a, b, image=image, run=run, allow_custom_code=allow_custom_code, progress=report
        )
    if as_json:
        typer.echo(json.dumps(diff_facts(found)))
    elif not quiet:
        for note in found.notes:
            typer.echo(f"note: {note}", err=True)
        for table in diff_tables(found, limit):
            print_table(table)
        typer.echo(verdict(found))
    return found.identical
