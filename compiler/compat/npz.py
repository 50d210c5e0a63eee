"""Images as the npz files that `vamp` reads, and the list of them.

Every npz holds `input_0`: the decoded pixels at their own size, uint8 (3, H, W), red first, or
(1, H, W) if gray. The list has the absolute path of each, in order of the images' names. Evaluation
scripts find a label by the name of the npz and of the folder that it is in, so both are those of
the image.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compiler.errors import CalibrationError, ModcError
from compiler.preprocess.decode import decode_image
from compiler.runner.cpu import cpus


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of the images.

    Args:
        written: The npz files, absolute, in order of the images.
        refused: Error of every image that could not be read.
    """

    written: tuple[Path, ...]
    refused: tuple[ModcError, ...]


def write_npz(
    images: Sequence[Path], dataset: Path, target: Path, text: Path, *, gray: bool = False
) -> Converted:
    """Write an npz for every image, and the list of those written.

    Args:
        images: Files, in the order of the list.
        dataset: The folder that they come from.
        target: Folder for `<name>.npz`, or `<folder>/<name>.npz` for images in folders below
            `dataset`; made if it is missing.
        text: The list to write.
        gray: One channel, as OpenCV converts while it decodes, instead of three.

    Raises:
        CalibrationError: Two images would get the same file, a name does not fit into a line of the
            list, or a file cannot be written.
    """
    files = {image: target.absolute() / npz_name(image, dataset) for image in images}
    _check_names(files)
    try:
        for folder in {text.absolute().parent, *(file.parent for file in files.values())}:
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(cpus()) as pool:
            outcomes = list(
                pool.map(lambda image: _convert(image, files[image], gray=gray), images)
            )
        written = tuple(file for file in outcomes if isinstance(file, Path))
        text.write_text("".join(f"{file}\n" for file in written), encoding="utf-8")
    except OSError as error:
        raise CalibrationError(
            f"cannot be written: {error.strerror or error}",
            where=str(error.filename or target),
            fix="give paths that can be written, on a disk with space left",
        ) from error
    return Converted(written, tuple(error for error in outcomes if isinstance(error, ModcError)))


def npz_name(image: Path, dataset: Path) -> Path:
    """Path of an image's npz below the target folder."""
    folder = "" if image.parent == dataset else image.parent.name
    return Path(folder, f"{image.stem}.npz")


def _convert(image: Path, file: Path, *, gray: bool) -> Path | ModcError:
    try:
        pixels = decode_image(image, 0 if gray else 1, None)
    except ModcError as error:
        return error
    planes = pixels[None] if gray else pixels.transpose(2, 0, 1)
    try:
        np.savez(file, input_0=np.ascontiguousarray(planes))
    except OSError:
        file.unlink(missing_ok=True)  # the disk is full: a part of it would look like an npz
        raise
    return file


def _check_names(files: dict[Path, Path]) -> None:
    first: dict[Path, Path] = {}
    for image, file in files.items():
        if {"\n", "\r"} & set(str(file)):
            raise CalibrationError(
                f"{str(file)!r} does not fit into a line of the list",
                where=str(image.parent),
                fix="rename it without line breaks",
            )
        other = first.setdefault(file, image)
        if other != image:
            raise CalibrationError(
                f"{other} and {image} would both become {file.name}",
                where=str(file.parent),
                fix="choose one kind of file with --suffix, or convert the folders one by one",
            )
