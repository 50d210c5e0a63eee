"""`modc profile`: where the time of a bundle goes."""

import json
from pathlib import Path

import typer

from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.pipeline.profile import profile_bundle
from compiler.report.profile import profile_facts, profile_tables


def profile(
    prefix: str,
    *,
    original: Path | None,
    image: Path | None,
    threads: int | None,
    runs: int,
    limit: int,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Profile a bundle and print what was found; see `compiler.cli.examining.profile`.

    Raises:
        ModcError: The bundle, the original network or the image cannot be used.
    """
    with progress(quiet=quiet or as_json) as report:
        found = profile_bundle(
            prefix,
            original=original,
            image=image,
            threads=threads,
            runs=runs,
            allow_custom_code=allow_custom_code,
            progress=report,
        )
    if not quiet:
        for note in found.notes:
            typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(profile_facts(found)))
        return
    for table in profile_tables(found, limit):
        print_table(table)
