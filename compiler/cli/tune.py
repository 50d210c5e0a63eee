"""`modc tune`: the constants of the cost model on this machine."""

import json
from dataclasses import asdict
from pathlib import Path

import typer

from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.cost.machine import BUILT_IN, write_machine
from compiler.errors import BuildFileError
from compiler.pipeline.tune import machine_path, measure_machine
from compiler.report.machine import machine_table


def tune(path: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Measure the constants, store them and print them beside the built-in ones.

    Args:
        path: File to write; None is the one in the user's cache, which builds read.
        as_json: Print one JSON object.
        quiet: Print nothing.

    Raises:
        BuildFileError: The file cannot be written.
    """
    target = machine_path() if path is None else path
    with progress(quiet=quiet or as_json) as report:
        machine = measure_machine(progress=report)
    try:
        write_machine(machine, target)
    except OSError as error:
        raise BuildFileError(
            f"cannot be written: {error.strerror}",
            where=str(target),
            fix="give a file that can be written with --path, or set XDG_CACHE_HOME",
        ) from error
    if as_json:
        facts = {"path": str(target), "built_in": asdict(BUILT_IN), "measured": asdict(machine)}
        typer.echo(json.dumps(facts))
    elif not quiet:
        print_table(machine_table(machine))
        typer.echo(f"stored in {target}")
