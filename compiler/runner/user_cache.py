"""Files that modc keeps in the user's cache, and can do without: any may be lost or spoilt."""

import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

KINDS: Final = ("onnxruntime", "openvino", "engines")
"""Folders of what loading a bundle leaves: what engines make of it, and which one is faster."""

_DIGEST_BYTES: Final = 32
_SUMS: Final = "crc32.json"
_CHUNK: Final = 1 << 20
_OWN: Final = 0o700  # nobody else reads or writes there
_LOG = logging.getLogger(__name__)


def user_folder() -> Path:
    """Where modc keeps what it can do without.

    Raises:
        RuntimeError: The user has no home folder.

    Source: XDG Base Directory Specification; a relative $XDG_CACHE_HOME does not count.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "modc"


def cache_folder(name: str, *, chosen: str) -> Path | None:
    """Folder for one kind of kept things; None where the cache is off.

    $MODC_CACHE turns it off by being empty or "off"; a user without a home has none.

    Args:
        name: Of the folder in `user_folder`.
        chosen: Of the folder in $MODC_CACHE, where that is set.
    """
    choice = os.environ.get("MODC_CACHE")
    try:
        if choice is None:
            return user_folder() / name
        return Path(choice).expanduser().absolute() / chosen if choice not in ("", "off") else None
    except RuntimeError:
        return None


def kept_folders() -> list[Path]:
    """The folders of `KINDS` that are there."""
    folders = [cache_folder(name, chosen=name) for name in KINDS]
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def kept_bytes() -> dict[str, int]:
    """Bytes in each folder of `KINDS` that is there."""
    return {folder.name: _size(folder) for folder in kept_folders()}


def forget_kept() -> int:
    """Remove the folders of `KINDS`; returns their bytes.

    Sessions that are open keep what they have mapped.
    """
    freed = sum(kept_bytes().values())
    for folder in kept_folders():
        _remove(folder)
    return freed


class KeptFiles:
    """Small files in a folder that any number of processes may use at the same time.

    Each ends with the SHA-256 of the rest, so that a spoilt one is noticed.

    Args:
        folder: Made when it is first needed; None keeps nothing and finds nothing.
        limit: Bytes that `write` leaves in the folder, or the file just written if that is larger;
            what was not used for longest goes.
    """

    def __init__(self, folder: Path | None, *, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def read(self, name: str) -> bytes | None:
        """Contents of a file; None if there is none, or it is spoilt, which removes it."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError:
            return None
        contents = data[:-_DIGEST_BYTES]
        if sha256(contents).digest() != data[-_DIGEST_BYTES:]:
            _LOG.warning("cache: %s is spoilt, not used and removed", path)
            self.remove(name)
            return None
        with suppress(OSError):  # a cache that is read-only can be read all the same
            os.utime(path)
        return contents

    def write(self, name: str, contents: bytes) -> None:
        """Keep a file, whole or not at all; a folder that cannot be written is logged."""
        if self.folder is None:
            return
        try:
            _make(self.folder)
            descriptor, aside = tempfile.mkstemp(dir=self.folder, prefix=".")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(contents + sha256(contents).digest())
                Path(aside).replace(self.folder / name)
            except OSError:
                Path(aside).unlink(missing_ok=True)
                raise
            _prune(self.folder, self.limit)
        except OSError as error:
            _log_unwritable(self.folder, error)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there and can be removed."""
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / name).unlink()


class KeptFolders:
    """Folders of large files that any number of processes may open, and map, where they are.

    Each lists the CRC-32 of its files, so that a spoilt one is noticed. A stronger sum would not
    protect from those who may write there, as they could replace it, too, and takes longer than
    what is kept saves (212 MiB: 0.03 s; SHA-256: 0.11 s, and much more without its instructions).
    A folder that is removed stays whole for those who have its files mapped.

    Args:
        folder: Made when it is first needed.
        limit: Bytes that `keep` leaves in the folder, or the one just kept if that is larger; what
            was not used for longest goes.
    """

    def __init__(self, folder: Path, *, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def find(self, name: str) -> Path | None:
        """A kept folder; None if there is none, or it is spoilt, which removes it."""
        path = self.folder / name
        try:
            whole = json.loads((path / _SUMS).read_bytes()) == _sums(path)
        except ValueError:
            whole = False
        except OSError:
            whole = not path.exists()
            if whole:
                return None
        if not whole:
            _LOG.warning("cache: %s is spoilt, not used and removed", path)
            self.remove(name)
            return None
        with suppress(OSError):  # a cache that is read-only can be read all the same
            os.utime(path)
        return path

    def keep(self, name: str, fill: Callable[[Path], None]) -> Path | None:
        """Keep what `fill` writes into a new folder, whole or not at all.

        Returns:
            The folder, by another process if that was faster; None where it cannot be written,
            which is logged.
        """
        path = self.folder / name
        try:
            _make(self.folder)
            aside = Path(tempfile.mkdtemp(dir=self.folder, prefix="."))
            try:
                fill(aside)
                (aside / _SUMS).write_text(json.dumps(_sums(aside)))
                if not path.exists():
                    aside.rename(path)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            _prune(self.folder, self.limit)
        except OSError as error:
            _log_unwritable(self.folder, error)
        return self.find(name)

    def remove(self, name: str) -> None:
        """Remove a folder, if it is there and can be removed."""
        _remove(self.folder / name)


def _make(folder: Path) -> None:
    folder.mkdir(mode=_OWN, parents=True, exist_ok=True)


def _log_unwritable(folder: Path, error: OSError) -> None:
    _LOG.info("cache: %s cannot be written: %s", folder, error.strerror or error)


def _sums(folder: Path) -> dict[str, int]:
    """CRC-32 of every file in a folder but the one that lists them."""
    return {path.name: _crc32(path) for path in sorted(folder.iterdir()) if path.name != _SUMS}


def _crc32(path: Path) -> int:
    total, buffer = 0, memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total = zlib.crc32(buffer[:count], total)
    return total


def _prune(folder: Path, limit: int) -> None:
    """Remove what was not used for longest until the rest, or the last used, fits the limit."""
    found = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process has just removed it
            found.append((path.stat().st_mtime_ns, _size(path), path))
    excess = sum(size for _, size, _ in found) - limit
    for _, size, path in sorted(found)[:-1]:
        if excess <= 0:
            return
        _remove(path)
        excess -= size


def _remove(path: Path) -> None:
    """Remove a file or folder; nobody finds a part of it meanwhile."""
    with suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as grave:
        path.rename(Path(grave) / path.name)


def _size(path: Path) -> int:
    try:
        return sum(map(_size, path.iterdir())) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:  # another process has just removed it
        return 0
