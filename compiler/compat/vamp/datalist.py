"""The list of inputs: a text file with one npz per line."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compiler.errors import CalibrationError
from compiler.runner.engine import Tensor


@dataclass(frozen=True, slots=True)
class Entry:
    """An input of the list.

    Args:
        datalist: The list.
        line: Its line there, from 1.
        path: The npz, relative to the current folder unless absolute.
    """

    datalist: Path
    line: int
    path: Path

    def __str__(self) -> str:
        return f"{self.datalist} line {self.line}: {self.path}"

    def check(self) -> None:
        """Refuse a file that is missing, empty or cut off; its values are not read.

        Raises:
            CalibrationError: Likewise.
        """
        with _readable(str(self)), zipfile.ZipFile(self.path) as archive:
            if not archive.namelist():
                raise ValueError("no array in it")

    def arrays(self) -> list[Tensor]:
        """The arrays in the order in which they were saved; their names do not matter.

        Raises:
            CalibrationError: The file is missing or damaged, or holds no plain arrays.
        """
        return read_npz(self.path, where=str(self))


def read_datalist(path: Path) -> tuple[Entry, ...]:
    """Inputs in order; empty lines are skipped.

    Every file is looked at, so that a missing or cut-off one is reported before anything runs.

    Raises:
        CalibrationError: The list cannot be read or is empty, or one of its files is unusable.
    """
    entries = list_entries(path)
    for entry in entries:
        entry.check()
    return entries


def list_entries(path: Path) -> tuple[Entry, ...]:
    """Inputs in order, without a look at their files.

    Raises:
        CalibrationError: The list cannot be read or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines cuts at more
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CalibrationError(
            f"datalist cannot be read: {reason}",
            where=str(path),
            fix="give a text file with one npz per line (modc npz writes one)",
        ) from error
    entries = tuple(
        Entry(path, number, Path(line.strip()))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    if not entries:
        raise CalibrationError(
            "no npz is listed", where=str(path), fix="list one npz per line (modc npz does)"
        )
    return entries


def read_npz(path: Path, *, where: str) -> list[Tensor]:
    """Arrays of an npz in the order in which they were saved.

    Args:
        path: The file.
        where: What errors call it.

    Raises:
        CalibrationError: It is missing or damaged, or holds no plain arrays.
    """
    with _readable(where):
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            arrays = [archive[name] for name in archive.files]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise ValueError("it holds files that are no arrays")
        return arrays


@contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CalibrationError(
            "no such file", where=where, fix="correct the path; relative ones start at this folder"
        ) from error
    except Exception as error:  # numpy, zipfile and the decompressors name no common base
        raise CalibrationError(
            f"not a readable npz: {error}", where=where, fix="write it again, or leave it out"
        ) from error
