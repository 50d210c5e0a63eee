"""`modc check`: what compile would complain about, for one or several build files."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from compiler.cli.annotate import annotate
from compiler.cli.tables import print_table
from compiler.pipeline.check import Check, check_build
from compiler.report.check import check_facts, check_table, finding_lines, ops_table


def check_all(
    build_files: Sequence[Path],
    *,
    overrides: Sequence[str],
    dtype: str | None,
    lenient: bool,
    strict: bool,
    allow_custom_code: bool,
    images: int,
    lint: bool,
    ops: bool,
    annotations: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check each file and print what was found; see `compiler.cli.building.check`.

    Returns:
        The worst, that is the highest, exit code.
    """
    checks: list[Check] = []
    for path in build_files:
        check = check_build(
            path,
            overrides=overrides,
            dtype=dtype,
            lenient=lenient,
            strict=strict,
            allow_custom_code=allow_custom_code,
            images=images,
            lint=lint,
            earlier=checks,
        )
        checks.append(check)
        annotate(annotations, check.file, check.findings)
        if as_json:
            typer.echo(json.dumps(check_facts(check)))
    if not as_json:
        _print(checks, ops=ops, quiet=quiet)
    return max(check.exit_code for check in checks)


def _print(checks: Sequence[Check], *, ops: bool, quiet: bool) -> None:
    if not quiet:
        print_table(check_table(checks))
    for line in finding_lines(checks, errors_only=quiet):
        typer.echo(line)
    for check in checks if ops else ():
        print_table(ops_table(check))
