"""`modc npz`: images to the npz files and the list that vamp reads."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import typer

from calibration.dataset import DatasetError, find_files
from compiler.compat.npz import write_npz
from compiler.errors import CalibrationError


def convert(
    dataset: Path,
    target: Path,
    text: Path,
    *,
    suffix: str | None,
    skip: Sequence[str],
    gray: bool,
    quiet: bool,
) -> None:
    """Convert what can be read, and name what cannot.

    Args:
        dataset: Folder of images, searched with its subfolders; or a .txt list of images.
        target: Folder for the npz files.
        text: List to write.
        suffix: What file names end in; None: any image.
        skip: Patterns of file names to leave out, such as labels beside the images.
        gray: One channel instead of three.
        quiet: Print errors only.

    Raises:
        CalibrationError: No image, or one that cannot be read: the others are converted first.
    """
    try:
        found = find_files(dataset, suffix=suffix)
    except DatasetError as error:
        raise CalibrationError(
            error.what, where=error.where, fix="correct --dataset_path, --suffix or what is named"
        ) from error
    images = [
        image
        for image in found
        if not any(fnmatch.fnmatch(image.name, pattern) for pattern in skip)
    ]
    if not images:
        raise CalibrationError(
            f"--skip leaves out all {len(found)} images",
            where=str(dataset),
            fix="give patterns that fewer file names fit",
        )
    folder = dataset if dataset.is_dir() else dataset.parent  # of a list
    result = write_npz(images, folder, target, text, gray=gray)
    if not quiet:
        typer.echo(f"{len(result.written)} npz in {target}, listed in {text}")
    for refused in result.refused:
        typer.echo(f"modc: {refused}", err=True)
    if result.refused:
        raise CalibrationError(
            f"{len(result.refused)} of {len(images)} images cannot be read: "
            "they have no npz and are not in the list",
            where=str(dataset),
            fix="repair or remove them",
        )
