"""The outputs of a `vamp` run and the inputs that they were made from.

Output i belongs to line i of the datalist, counted from 0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compiler.compat.vamp.datalist import Entry
from compiler.errors import CalibrationError

_NUMBERED: Final = re.compile(r"output_(\d{6,})")


@dataclass(frozen=True, slots=True)
class Pair:
    """An output and the image that it was made from."""

    entry: Entry
    file: Path


def pair_outputs(outputs: Sequence[Path], entries: Sequence[Entry]) -> list[Pair]:
    """Outputs with their lines.

    Args:
        outputs: Folders, whose npz files stand for all lines in sorted order; or files named
            output_<number>.npz, each of which stands for the line of that number.
        entries: Lines of the datalist.

    Raises:
        CalibrationError: A folder with another number of files than there are lines, or a file
            that no line belongs to.
    """
    pairs = []
    for path in outputs:
        if path.is_dir():
            files = sorted(path.glob("*.npz"))
            if len(files) != len(entries):
                raise CalibrationError(
                    f"{len(files)} npz files, {len(entries)} lines in {entries[0].datalist}",
                    where=str(path),
                    fix="give the datalist of the run that wrote them",
                )
            pairs += [Pair(entry, file) for entry, file in zip(entries, files, strict=True)]
            continue
        number = _NUMBERED.fullmatch(path.stem)
        if number is None or int(number[1]) >= len(entries):
            raise CalibrationError(
                f"no line of {entries[0].datalist} belongs to it",
                where=str(path),
                fix="give a folder, or files named output_<number>.npz, counted from 0",
            )
        pairs.append(Pair(entries[int(number[1])], path))
    return pairs
