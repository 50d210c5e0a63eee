"""Put a finished folder in the place of another, so that a kill at any moment leaves one of them.

Why this way: docs/decisions/0002-bundle-swap.md.
"""

import ctypes
import os
import shutil
from pathlib import Path
from typing import Final

from compiler.runner.manifest import OWN_FILES
from compiler.runner.read import folder_aside

_AT_FDCWD: Final = -100  # Linux: paths are relative to the working folder
_RENAME_EXCHANGE: Final = 2  # Linux; RENAME_SWAP of macOS has the same value


def folder_new(folder: Path) -> Path:
    """Where the successor of `folder` is written: beside it, hidden."""
    return folder.parent / f".{folder.name}.new"


def sweep(folder: Path) -> None:
    """Undo what a killed build left; call it only while holding the lock.

    Raises:
        OSError: A leftover cannot be removed or put back.
    """
    new, aside = folder_new(folder), folder_aside(folder)
    if new.exists():
        shutil.rmtree(new)
    if aside.exists():
        if folder.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(folder)


def keep_foreign(old: Path, new: Path) -> None:
    """Give `new` the files of `old` that no build wrote (such as a darknet .cfg).

    Linked where the file system can, else copied; a name that `new` has already stays.

    Raises:
        OSError: A file cannot be copied.
    """
    for path in sorted(old.iterdir()):
        copy = new / path.name
        if path.name.startswith(OWN_FILES) or copy.exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, copy, symlinks=True, copy_function=_link)
        else:
            _link(path, copy)


def flush(folder: Path) -> None:
    """Wait until the bundle's files and the folder itself are on the disk.

    Raises:
        OSError: The disk refuses, for example because it is full.
    """
    for path in sorted(folder.glob(f"{OWN_FILES}*")):
        _sync(path)
    _sync(folder)


def swap_in(new: Path, folder: Path) -> None:
    """Let `new` take the place of `folder`, and remove what stood there.

    In one step where system and file system can exchange two folders. Elsewhere in two renames;
    between them readers find the old files at `folder_aside(folder)`.

    Raises:
        OSError: A rename is refused; `folder` is then what it was.
    """
    aside = folder_aside(folder)
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):
        folder.rename(aside)
        try:
            new.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
    _sync(folder.parent)
    for leftover in (new, aside):
        shutil.rmtree(leftover, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders atomically; False where that is not supported."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None)
    first, second = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):
        result = libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        result = libc.renamex_np(first, second, _RENAME_EXCHANGE)
    else:
        return False
    return bool(result == 0)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
        if not Path(target).is_symlink():
            _sync(Path(target))


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
