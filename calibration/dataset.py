"""Calibration samples: which files, in which order, and what is in them.

The choice is a function of the file names and the seed alone: names are ranked by a hash of
(seed, name), so that the order in which a file system lists them, the platform and the version of
any random generator play no part, and a new file displaces at most one of the others.
"""

import errno
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm")
ARRAY_SUFFIXES = (".npz", ".npy")
LIST_SUFFIX = ".txt"

Size: TypeAlias = int | tuple[int, int]

_BLOCK = 1 << 20  # bytes read at a time for a file's hash


class DatasetError(ValueError):
    """Calibration data that cannot be used.

    Args:
        what: What is wrong, and what was expected.
        where: The folder, list or file concerned.
        fix: What to do about it, as an instruction.
    """

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(f"{where}: {what}; {fix}")
        self.what = what
        self.where = where
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Sample:
    """One file.

    Args:
        path: Where it is.
        name: Path below the folder, or as its list writes it; forward slashes.
        sha256: Of its content, hexadecimal.
    """

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ArraySample:
    """One sample of a network's inputs.

    Args:
        arrays: By input name, in the shapes and types that the network declares.
        note: How arrays were matched when their names are not those of the inputs.
    """

    arrays: dict[str, NDArray[Any]]  # Any: the types differ from input to input
    note: str | None = None


def find_samples(
    path: Path, *, suffix: str | None, count: int, seed: int = 0, arrays: bool = False
) -> tuple[Sample, ...]:
    """Choose at most `count` files, the same ones on every machine, sorted by name.

    Args:
        path: Folder, searched recursively without hidden names; or a .txt list with one path per
            line, relative to the list's folder (empty lines and # comment lines are skipped).
        suffix: What file names end in, in either case, with or without the dot; None: any image,
            or any .npz and .npy file if `arrays`.
        count: Files wanted, at least 1; fewer are returned if fewer exist.
        seed: Of the choice when more exist.
        arrays: Whether samples are arrays instead of images.

    Raises:
        DatasetError: Nothing to choose from, or a file that cannot be read.
    """
    if count < 1:
        raise DatasetError(
            f"{count} samples asked; must be 1 or more",
            where=str(path),
            fix="set dataset.sampler.get_data_num to the number of samples",
        )
    matching = _matching(path, suffix, arrays=arrays)
    chosen = sorted(matching, key=lambda name: _rank(seed, name))[:count]
    return tuple(_sample(_base(path), name) for name in sorted(chosen))


def find_files(path: Path, *, suffix: str | None, arrays: bool = False) -> tuple[Path, ...]:
    """All files that `find_samples` chooses from, sorted by name; none is opened.

    Raises:
        DatasetError: There are none.
    """
    return tuple(_base(path) / name for name in _matching(path, suffix, arrays=arrays))


def first_samples(samples: Sequence[Sample], count: int, *, seed: int = 0) -> tuple[Sample, ...]:
    """Those of `samples` that `find_samples` would have chosen with a smaller `count`."""
    chosen = sorted(samples, key=lambda sample: _rank(seed, sample.name))[:count]
    return tuple(sorted(chosen, key=lambda sample: sample.name))


def load_arrays(path: Path, inputs: Mapping[str, tuple[Sequence[Size], DTypeLike]]) -> ArraySample:
    """Read one .npz or .npy sample, batch dimension included.

    Arrays are taken by input name; if no name fits and the counts agree, by position
    (`input_0`, `input_1`, …, else the order in the file), which the note says.

    Args:
        path: The file; a .npy file holds the one input's array.
        inputs: Shape and type that the network declares, by input name. A size that is open is
            a pair (smallest, largest).

    Raises:
        DatasetError: A missing or damaged file, missing arrays, another shape, or values that the
            declared type cannot hold.
    """
    stored = _read_arrays(path)
    pairs, note = _match(path, list(stored), list(inputs))
    arrays = {
        name: _cast(path, name, stored[source], *inputs[name]) for name, source in pairs.items()
    }
    return ArraySample(arrays, note)


def _matching(path: Path, suffix: str | None, *, arrays: bool) -> list[str]:
    """Names of the files that end as they should, sorted."""
    names = sorted(set(_names(path)))
    endings = (suffix.lower(),) if suffix else ARRAY_SUFFIXES if arrays else IMAGE_SUFFIXES
    matching = [name for name in names if name.lower().endswith(endings)]
    if not matching:
        raise _no_match(path, names, endings)
    unreadable = [name for name in matching if not _is_text(name)]
    if unreadable:
        raise DatasetError(
            f"the file name {unreadable[0]!a} is not UTF-8",
            where=str(path),
            fix="rename the file: its name is recorded in the bundle",
        )
    return matching


def _base(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _names(path: Path) -> Iterator[str]:
    """Relative posix names of all candidates."""
    try:
        if path.is_dir():
            yield from _walk(path, PurePath(), set())
        elif path.suffix.lower() == LIST_SUFFIX:
            yield from _listed(path)
        elif path.exists():
            raise DatasetError(
                "is one file, not a folder",
                where=str(path),
                fix="give the folder, or a .txt file with one path per line",
            )
        else:
            raise FileNotFoundError(errno.ENOENT, "no such file or folder")
    except OSError as error:
        raise _unreadable(path, error, "set dataset.path to the calibration data") from error


def _walk(root: Path, below: PurePath, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Files below a folder; a folder that links lead to twice is entered once, in name order."""
    folder = root / below
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(root, below / entry.name, seen)
        elif entry.is_file():
            yield (below / entry.name).as_posix()


def _listed(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"list is not text: {error.reason}",
            where=str(path),
            fix="write one path per line, in UTF-8",
        ) from error
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if not (path.parent / entry).is_file():
            raise DatasetError(
                f"'{entry}' is not a file",
                where=f"{path}:{number}",
                fix="correct the line; paths are relative to the list's folder",
            )
        yield PurePath(entry).as_posix()


def _no_match(path: Path, names: Sequence[str], endings: Sequence[str]) -> DatasetError:
    found = Counter(PurePath(name).suffix.lower() or "(no suffix)" for name in names)
    listing = ", ".join(f"{suffix} ({number})" for suffix, number in sorted(found.items()))
    return DatasetError(
        f"no file ends in {' or '.join(endings)}; found: {listing or 'no files at all'}",
        where=str(path),
        fix="set dataset.sampler.suffix to one of those, or dataset.path to another folder",
    )


def _is_text(name: str) -> bool:
    """Whether a name can be written down; one whose bytes are not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _sample(base: Path, name: str) -> Sample:
    path = base / name
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error, "check its permissions, or remove it") from error
    return Sample(path, name, digest.hexdigest())


def _unreadable(path: Path, error: OSError, fix: str) -> DatasetError:
    return DatasetError(
        f"cannot be read: {error.strerror or error}", where=str(error.filename or path), fix=fix
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name in file order; the one array of a .npy file has the name ''."""
    try:
        with path.open("rb") as file:  # numpy leaves a damaged archive open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise _unreadable(path, error, "check the path and its permissions") from error
    except Exception as error:  # zip, zlib and numpy readers raise many classes
        raise DatasetError(
            f"not a readable .npz or .npy file: {error}",
            where=str(path),
            fix="write it again with numpy.savez (numbers only, no Python objects)",
        ) from error


def _match(
    path: Path, stored: Sequence[str], inputs: Sequence[str]
) -> tuple[dict[str, str], str | None]:
    """Stored name for each input, and a note when names did not decide."""
    missing = [name for name in inputs if name not in stored]
    if not missing:
        return {name: name for name in inputs}, None
    if len(missing) < len(inputs) or len(stored) != len(inputs):
        raise DatasetError(
            f"holds the arrays {[name or 'unnamed' for name in stored]}; "
            f"the network's inputs are {list(inputs)}",
            where=str(path),
            fix="name the arrays as the inputs",
        )
    if stored[0] == "":
        return {inputs[0]: ""}, None
    positional = [f"input_{index}" for index in range(len(inputs))]
    order = positional if set(stored) == set(positional) else stored
    pairs = dict(zip(inputs, order, strict=True))
    matches = ", ".join(f"{name} from {source}" for name, source in pairs.items())
    return pairs, f"arrays have other names than the inputs and were matched by order: {matches}"


def _cast(
    path: Path, name: str, array: NDArray[Any], shape: Sequence[Size], dtype: DTypeLike
) -> NDArray[Any]:
    bounds = [(size, size) if isinstance(size, int) else size for size in shape]
    if len(bounds) != array.ndim or not all(
        low <= size <= high for size, (low, high) in zip(array.shape, bounds, strict=True)
    ):
        same = "; as many elements, but nothing is reshaped in silence"
        declared = ", ".join(f"{low}..{high}" if low < high else f"{low}" for low, high in bounds)
        fixed = [size for size in shape if isinstance(size, int)]
        equal = len(fixed) == len(shape) and array.size == math.prod(fixed)
        raise DatasetError(
            f"'{name}' has shape {list(array.shape)}, the network's input [{declared}]"
            f"{same if equal else ''}",
            where=str(path),
            fix="write it in the shape and layout of the input, batch dimension included",
        )
    wanted = np.dtype(dtype)
    if array.dtype.kind not in "biuf" or not _fits(array, wanted):
        raise DatasetError(
            f"'{name}' holds {array.dtype} values that {wanted} cannot hold",
            where=str(path),
            fix=f"write it as {wanted}",
        )
    return array.astype(wanted)


def _fits(array: NDArray[Any], wanted: np.dtype[Any]) -> bool:
    """Whether integers stay equal and floats stay finite."""
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
    if wanted.kind == "f":
        return np.array_equal(np.isfinite(cast), np.isfinite(array))
    return np.array_equal(cast, array)
