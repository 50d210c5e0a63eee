"""Which pages of files the operating system holds in memory, and asking it to let them go."""

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path


def evict(files: Iterable[Path]) -> None:
    """Ask for the pages of files to go; those that a process maps stay. Linux only."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        with suppress(OSError), path.open("rb") as file:  # a build may have replaced them
            os.fsync(file.fileno())  # what is not written yet cannot go
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(files: Iterable[Path]) -> float | None:
    """Share of the files' pages that are in memory; None where the system does not tell."""
    mincore = getattr(ctypes.CDLL(None), "mincore", None) if os.name == "posix" else None
    if mincore is None:
        return None
    states = bytearray()
    try:
        for path in files:
            states += _page_states(path, mincore)
    except OSError:  # a build may have replaced them
        return None
    return sum(state & 1 for state in states) / len(states) if states else None


def _page_states(path: Path, mincore: Callable[..., int]) -> bytes:
    """One byte per page; its lowest bit says whether the page is in memory."""
    size = path.stat().st_size
    if size == 0:
        return b""
    states = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        first = ctypes.c_char.from_buffer(view)
        failed = mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), states)
        del first  # else the mapping cannot be closed
    if failed:
        raise OSError(f"{path}: the system does not tell which pages are in memory")
    return bytes(states)
