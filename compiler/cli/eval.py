"""`modc eval`: the metric of the task for several networks side by side."""

import json
from pathlib import Path
from typing import Literal

import typer

from compiler.cli.failures import print_error
from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.errors import AccuracyError, BundleError, CalibrationError
from compiler.pipeline.evaluation.answer import answer
from compiler.pipeline.evaluation.question import Question
from compiler.report.evaluation import (
    evaluation_csv,
    evaluation_facts,
    evaluation_lines,
    evaluation_tables,
    missed_gates,
)


def evaluate(
    question: Question,
    *,
    confusion: bool,
    csv_file: Path | None,
    skip_errors: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Evaluate and print what was found; see `compiler.cli.examining.evaluate`.

    Returns:
        Exit code: 0; that of AccuracyError if a network loses more than it may; else that of
        CalibrationError if images failed, unless these are to be skipped.

    Raises:
        ModcError: As `compiler.pipeline.evaluation.answer`, or the CSV cannot be written.
    """
    if csv_file is not None:
        _write(csv_file, "", mode="a")  # or a wrong path would be told of after everything has run
    with progress(quiet=quiet or as_json) as report:
        found = answer(question, report)
    missed = missed_gates(found, question.max_drop)
    for failure in found.failures:
        print_error(failure.error, as_json=False)
    if as_json:
        typer.echo(json.dumps(evaluation_facts(found, missed)))
    elif not quiet:
        for table in evaluation_tables(found, confusion=confusion):
            print_table(table)
        for line in evaluation_lines(found):
            typer.echo(line)
    for one in missed:
        error = AccuracyError(one.what, where=one.network, fix=one.fix)
        print_error(error, as_json=False)
    if csv_file is not None:
        _write(csv_file, evaluation_csv(found), mode="w")
    if missed:
        return AccuracyError.exit_code
    return CalibrationError.exit_code if found.failures and not skip_errors else 0


def _write(file: Path, text: str, *, mode: Literal["a", "w"]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open(mode, encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise BundleError(
            f"cannot be written: {error.strerror or error}",
            where=str(file),
            fix="give --csv a path that can be written",
        ) from error
