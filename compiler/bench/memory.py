"""What the operating system says of a process's memory; Linux only, None elsewhere.

Resident pages (RSS) count fully for every process that maps them. The proportional size (Pss)
shares a page among them: the Pss of all processes add up to what they take together. A page is
"shared" while two or more processes map it, else "private".

Source: Linux kernel documentation, filesystems/proc, /proc/PID/smaps and smaps_rollup.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ANONYMOUS: Final = "anonymous memory"
"""Pages of no file: heap, stacks, and what an engine allocates for its own weights and tensors."""

_PROCESSES: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process, or of one of its mappings, in bytes.

    Args:
        rss: All resident pages.
        pss: The process's share of them.
        private: Pages that no other process maps.
        shared: Pages that another process maps too.
        anonymous: Pages of no file, among `rss`.
    """

    rss: int
    pss: int
    private: int
    shared: int
    anonymous: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(*(getattr(self, one) + getattr(other, one) for one in self.__slots__))


NOTHING: Final = Memory(0, 0, 0, 0, 0)


def process_memory(process: int, folder: Path = _PROCESSES) -> Memory | None:
    """Memory of a process; None where the system does not tell.

    Args:
        process: Its number.
        folder: Where the system tells it.
    """
    try:
        text = (folder / str(process) / "smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return None
    return _memory(_fields(text.splitlines()))


def peak_memory(process: int, folder: Path = _PROCESSES) -> int | None:
    """Largest resident memory that a process ever had, in bytes; None as `process_memory`."""
    try:
        text = (folder / str(process) / "status").read_text(encoding="utf-8")
    except OSError:
        return None
    return _fields(text.splitlines()).get("VmHWM")


def memory_by_file(process: int, folder: Path = _PROCESSES) -> dict[str, Memory] | None:
    """Memory of a process by the file that its pages come from; `ANONYMOUS` is the rest.

    Args:
        process: Its number.
        folder: Where the system tells it.

    Returns:
        By path, largest first; private copies of a file's pages count for the file. None as
        `process_memory`.
    """
    try:
        text = (folder / str(process) / "smaps").read_text(encoding="utf-8")
    except OSError:
        return None
    found: dict[str, Memory] = {}
    for name, fields in _mappings(text.splitlines()):
        found[name] = found.get(name, NOTHING) + _memory(fields)
    return dict(sorted(found.items(), key=lambda item: -item[1].rss))


def _mappings(lines: Iterable[str]) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Name and fields of each mapping; it begins with a line `from-to rights offset dev inode`."""
    name, own = "", list[str]()
    for line in lines:
        if line.split(None, 1)[0].endswith(":"):
            own.append(line)
            continue
        if own:
            yield name, _fields(own)
        columns = line.split(None, 5)
        path = columns[5] if len(columns) > 5 else ""
        name, own = path if path.startswith("/") else ANONYMOUS, []
    if own:
        yield name, _fields(own)


def _fields(lines: Iterable[str]) -> dict[str, int]:
    """Bytes by key, of lines such as `Rss:   1688 kB`; other lines are left out."""
    found = {}
    for line in lines:
        key, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            found[key] = 1024 * int(words[0])
    return found


def _memory(fields: Mapping[str, int]) -> Memory:
    return Memory(
        fields["Rss"],
        fields["Pss"],
        fields["Private_Clean"] + fields["Private_Dirty"],
        fields["Shared_Clean"] + fields["Shared_Dirty"],
        fields["Anonymous"],
    )
