"""The folder of results: `output_000000.npz` and so on, and nothing else."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compiler.errors import BuildFileError, BundleError

Write: TypeAlias = Callable[[int, Sequence[NDArray[np.float16]]], None]

_RESULT: Final = re.compile(r"output_\d{6,}\.npz")


@contextmanager
def output_folder(folder: Path) -> Iterator[Write]:
    """A folder that ends up with one file for every result, or, if the run fails, with none.

    Readers sort whatever the folder holds and pair it with the lines of the datalist. So results
    of an earlier run are deleted first, and foreign files refused.

    Yields:
        A function that writes the result of a number: arrays `output_0`, `output_1`, … to
        `output_<six digits>.npz`.

    Raises:
        BuildFileError: The folder holds something else.
        BundleError: A file cannot be written, or another run used the folder at the same time.
    """
    written: list[Path] = []

    def write(index: int, arrays: Sequence[NDArray[np.float16]]) -> None:
        path = folder / f"output_{index:06}.npz"
        written.append(path)
        np.savez(path, **{f"output_{i}": array for i, array in enumerate(arrays)})  # type: ignore[arg-type]  # stub: mistakes keys for options

    try:
        _clear(folder)
        yield write
        _check_undisturbed(folder, written)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BundleError(
                f"results cannot be written: {error.strerror or error}",
                where=str(error.filename or folder),
                fix="give a folder that can be written, on a disk with space left",
            ) from error
        raise


def _check_undisturbed(folder: Path, written: Sequence[Path]) -> None:
    found = {path.name for path in folder.iterdir()}
    if found != {path.name for path in written}:
        raise BundleError(
            f"{len(written)} results were written, and {len(found)} files are there: another "
            "program used it at the same time",
            where=str(folder),
            fix="give every run of vamp a --path_output of its own, and run again",
        )


def _clear(folder: Path) -> None:
    """Make the folder, or delete the results of an earlier run in it.

    Raises:
        BuildFileError: It holds something else.
        OSError: It cannot be made or changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.iterdir())
    foreign = [path.name for path in found if not _RESULT.fullmatch(path.name)]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise BuildFileError(
            f"it holds {', '.join(foreign[:3])}{more}; readers would take that for results",
            where=str(folder),
            fix="give --path_output a folder of its own",
        )
    for path in found:
        path.unlink()
