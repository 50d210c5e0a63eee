"""`modc compile`: one or several build files, one summary each."""

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.table import Table

from compiler.cli.annotate import annotate
from compiler.cli.failures import print_error
from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.config.load import BuildFile, read_build_file
from compiler.errors import AccuracyError, ModcError
from compiler.pipeline import Build, compile_model, layers_of
from compiler.pipeline.error_findings import find_causes
from compiler.report.json import build_facts
from compiler.report.text import closing_table, pass_lines, search_text, summary_table


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides the build files; see `compiler.cli.building.compile_`."""

    overrides: tuple[str, ...] = ()
    dtype: str | None = None
    calibration_table: Path | None = None
    keep: bool = False
    force: bool = False
    explain: bool = False
    allow_custom_code: bool = False
    lenient: bool = False
    strict: bool = False
    annotations: str | None = None
    as_json: bool = False
    quiet: bool = False


def compile_all(build_files: Sequence[Path], options: Options) -> int:
    """Compile each file; a failure does not stop the others.

    Returns:
        The worst, that is the highest, exit code.
    """
    outcomes = []
    for path in build_files:
        try:
            build = _compile(path, options)
        except Exception as error:
            _annotate(path, error, options)
            if len(build_files) == 1 and not isinstance(error, ModcError):
                raise
            outcomes.append((str(path), *_tell(error, options)))
        else:
            annotate(options.annotations, str(path), ())
            outcomes.append((str(path), str(build.prefix), 0))
    if len(outcomes) > 1 and not options.quiet:
        print_table(closing_table(outcomes), err=options.as_json)
    return max(code for _, _, code in outcomes)


def list_layers(build_files: Sequence[Path], options: Options) -> None:
    """Print the index, name and kind of every layer that the skip lists can name."""
    for path in build_files:
        table = Table(title=str(path), title_justify="left")
        for heading in ("exclude_layers", "skip_conv_layers", "skip_matmul_layers", "type", "name"):
            table.add_column(heading)
        for layer in layers_of(_read(path, options).config):
            number = str(layer.kind_index)
            conv, matmul = (number if layer.kind == kind else "" for kind in ("conv", "matmul"))
            table.add_row(str(layer.index), conv, matmul, layer.op, layer.node)
        print_table(table)


def _compile(path: Path, options: Options) -> Build:
    file = _read(path, options)
    if not options.quiet:
        for note in file.notes:
            typer.echo(str(note), err=True)
    with progress(quiet=options.quiet or options.as_json) as report:
        build = compile_model(
            file.config,
            calibration_table=options.calibration_table,
            keep=options.keep,
            force=options.force,
            allow_custom_code=options.allow_custom_code,
            strict=options.strict,
            progress=report,
        )
    _print(build, options)
    if build.broken_gates:
        raise build.accuracy_error()
    return build


def _annotate(path: Path, error: Exception, options: Options) -> None:
    if options.annotations:
        causes = find_causes(
            str(path),
            error,
            overrides=options.overrides,
            dtype=options.dtype,
            lenient=options.lenient,
            strict=options.strict,
        )
        annotate(options.annotations, str(path), causes)


def _tell(error: Exception, options: Options) -> tuple[str, int]:
    """Print what ended a build, and sum it up in a line and its exit code."""
    if isinstance(error, AccuracyError):  # the build itself has been printed
        print_error(error, as_json=False)
        return error.what, error.exit_code
    if isinstance(error, ModcError):
        print_error(error, as_json=options.as_json)
        return error.what.splitlines()[0], error.exit_code
    traceback.print_exception(error)
    return "internal error, please report it", 1


def _read(path: Path, options: Options) -> BuildFile:
    return read_build_file(
        path,
        overrides=options.overrides,
        dtype=options.dtype,
        lenient=options.lenient,
        strict=options.strict,
    )


def _print(build: Build, options: Options) -> None:
    if not options.quiet:
        for note in build.notes:
            typer.echo(f"note: {note}", err=True)
        for warning in build.warnings:
            typer.echo(f"warning: {warning}", err=True)
    if options.explain:
        lines = [*pass_lines(build.passes), *build.decisions]
        typer.echo("\n".join(lines), err=options.as_json)
    if options.as_json:
        typer.echo(json.dumps(build_facts(build)))
    elif not options.quiet:
        print_table(summary_table(build))
        if build.search is not None:
            typer.echo(search_text(build.search))
        if build.digest:
            typer.echo(f"bundle {build.prefix}")
            if build.page:
                typer.echo(f"page {build.page}")
            typer.echo(f"mod.json sha256 {build.digest}")
