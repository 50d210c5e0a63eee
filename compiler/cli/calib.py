"""`modc calib`: look at calibration data, and write what a build makes of it."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.config.load import read_build_file
from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError
from compiler.page.calibration import render_calibration
from compiler.pipeline.calibration_set import Inspection
from compiler.pipeline.dump_calibration import dump_calibration
from compiler.pipeline.inspect_calibration import inspect_build, inspect_folder, make_thumbnails
from compiler.report.calib import inspection_facts, inspection_tables, verdict


def inspect(
    path: Path,
    *,
    overrides: tuple[str, ...],
    html: Path | None,
    network: bool,
    limit: int,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> bool:
    """Inspect calibration data and print what was found; see `compiler.cli.calibrating`.

    Returns:
        Whether it is free of faults.

    Raises:
        ModcError: The build file, its network or its data cannot be used.
    """
    silent = quiet or as_json
    if html is not None:
        _check_page(html)
    with progress(quiet=silent) as report:
        if _is_data(path):
            if overrides:
                raise BuildFileError(
                    f"--set needs a build file; {path} is data",
                    where="--set",
                    fix="give the build file, or leave out --set",
                )
            found = inspect_folder(path, progress=report)
        else:
            _check_there(path)
            found = inspect_build(
                _read(path, overrides, quiet=silent),
                network=network,
                allow_custom_code=allow_custom_code,
                progress=report,
            )
    if html is not None:
        _write_page(found, html)
    if as_json:
        typer.echo(json.dumps(inspection_facts(found)))
    elif not quiet:
        for note in found.notes:
            typer.echo(f"note: {note}", err=True)
        for table in inspection_tables(found, limit):
            print_table(table)
        typer.echo(verdict(found))
        if html is not None:
            typer.echo(f"wrote {html}")
    return not found.faults


def dump(
    path: Path,
    folder: Path,
    *,
    overrides: tuple[str, ...],
    arrays: bool,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write calibration tensors as pictures; see `compiler.cli.calibrating`.

    Raises:
        ModcError: The build file or its data cannot be used, or the folder is not empty.
    """
    silent = quiet or as_json
    config = _read(path, overrides, quiet=silent)
    with progress(quiet=silent) as report:
        written = dump_calibration(
            config, folder, arrays=arrays, allow_custom_code=allow_custom_code, progress=report
        )
    if as_json:
        facts = {
            "folder": str(written.folder),
            "pictures": written.pictures,
            "stretched": written.stretched,
            "arrays": written.arrays,
            "skipped": list(written.skipped),
        }
        typer.echo(json.dumps(facts))
    if silent:
        return
    for name in written.skipped:
        typer.echo(f"warning: {name} cannot be used and was left out", err=True)
    typer.echo(f"{written.folder}: {written.pictures} pictures, {written.arrays} files of arrays")
    if written.stretched:
        typer.echo(
            f"note: {written.stretched} pictures are stretched from each channel's smallest value "
            "to its largest, because normalization alone did not make their values",
            err=True,
        )


def _is_data(path: Path) -> bool:
    """Whether this is a folder or a list of images, not a build file."""
    return path.is_dir() or path.suffix.lower() == ".txt"


def _check_there(path: Path) -> None:
    """Refuse what may have been meant as a folder; of absent YAML files their reader tells more."""
    if path.suffix.lower() not in (".yaml", ".yml") and not path.exists():
        raise BuildFileError(
            "there is neither a build file nor a folder of this name",
            where=str(path),
            fix="give a build file, a folder of images, or a .txt file with one path per line",
        )


def _read(path: Path, overrides: tuple[str, ...], *, quiet: bool) -> BuildConfig:
    file = read_build_file(path, overrides=overrides)
    if not quiet:
        for note in file.notes:
            typer.echo(str(note), err=True)
    return file.config


def _check_page(page: Path) -> None:
    """Refuse before the work what could not be written after it."""
    with _writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        if page.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(page if page.exists() else page.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _write_page(found: Inspection, page: Path) -> None:
    text = render_calibration(inspection_facts(found), make_thumbnails(found))
    with _writing(page):
        page.write_text(text, encoding="utf-8")


@contextmanager
def _writing(page: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BuildFileError(
            f"cannot be written: {error.strerror or error}",
            where=str(page),
            fix="give --html a file in a folder that can be written",
        ) from error
