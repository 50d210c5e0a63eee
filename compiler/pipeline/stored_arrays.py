"""Arrays and histograms by tensor name, in one file: what calibration leaves for later builds.

Names are any text, so the file numbers the arrays and holds the list of names itself.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import Histogram

_NAMES: Final = "names"
_NUMBERS: Final = "biufc"  # kinds of NumPy's own: others come back as bytes, or not at all

Arrays = Mapping[str, NDArray[Any]]  # Any: whatever element types the network has
_Members = dict[str, Any]  # Any: arrays, which `savez` declares beside an option


def save_arrays(arrays: Arrays, path: Path) -> None:
    """Write arrays of any shape and of any type of number that NumPy has itself.

    Raises:
        ValueError: An array has another type, such as bfloat16 or text.
        OSError: The file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in _NUMBERS:
            raise ValueError(f"'{name}' has element type {array.dtype}, which cannot be stored")
    members: _Members = {str(number): array for number, array in enumerate(arrays.values())}
    with path.open("wb") as file:
        np.savez(file, **members | {_NAMES: _encode(arrays)})


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `save_arrays` has written, in the same order.

    Raises:
        ValueError: The file is not one of them.
        OSError: The file cannot be read.
    """
    members = _load(path)
    names = _decode(members)
    if set(members) != {_NAMES, *map(str, range(len(names)))}:
        raise ValueError(f"{path.name} has other arrays than names")
    return {name: members[str(number)] for number, name in enumerate(names)}


def save_histograms(histograms: Mapping[str, Histogram], path: Path) -> None:
    """Write histograms without loss.

    They are stacked and compressed: 100 of them take 0.5 MB instead of 6.5 MB, 60 ms to write and
    10 ms to read; one by one they would take twice as long to read.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [histogram.to_arrays() for histogram in histograms.values()]
    parts = rows[0] if rows else ()
    members: _Members = {part: np.stack([row[part] for row in rows]) for part in parts}
    with path.open("wb") as file:
        np.savez_compressed(file, **members | {_NAMES: _encode(histograms)})


def load_histograms(path: Path) -> dict[str, Histogram]:
    """The histograms that `save_histograms` has written, in the same order.

    Raises:
        ValueError: The file is not one of them.
        OSError: The file cannot be read.
    """
    parts = _load(path)
    names = _decode(parts)
    del parts[_NAMES]
    if any(len(part) != len(names) for part in parts.values()):
        raise ValueError(f"{path.name} has other histograms than names")
    return {
        name: Histogram.from_arrays({part: stacked[row] for part, stacked in parts.items()})
        for row, name in enumerate(names)
    }


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path):
            pass  # else NumPy would take the file for something else
        with np.load(path, allow_pickle=False) as members:
            return dict(members)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name}: {error}") from error


def _encode(names: Mapping[str, object]) -> NDArray[np.uint8]:
    """As JSON: NumPy's own text would drop NUL at the end of a name."""
    return np.frombuffer(json.dumps(list(names)).encode(), np.uint8)


def _decode(members: Mapping[str, NDArray[Any]]) -> list[str]:
    if _NAMES not in members:
        raise ValueError("the file has no list of names")
    names: list[str] = json.loads(members[_NAMES].tobytes())
    return names
