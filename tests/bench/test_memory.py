"""Memory of a process, from the text that the system writes and from a live process."""

import os
import sys
from pathlib import Path

import pytest

from compiler.bench.memory import (
    ANONYMOUS,
    Memory,
    memory_by_file,
    peak_memory,
    process_memory,
)

KIB = 1024
ROLLUP = """\
55c45085e000-7fff700ad000 ---p 00000000 00:00 0                          [rollup]
Rss:                1688 kB
Pss:                 364 kB
Pss_Dirty:           112 kB
Shared_Clean:       1472 kB
Shared_Dirty:          4 kB
Private_Clean:       104 kB
Private_Dirty:       108 kB
Anonymous:           112 kB
Locked:                0 kB
"""
SMAPS = """\
7f0000000000-7f0000100000 r--p 00000000 fe:01 393 {folder}/a bundle/mod.params
Size:               1024 kB
Rss:                 800 kB
Pss:                 400 kB
Shared_Clean:        800 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
THPeligible:           0
VmFlags: rd mr mw me sd
7f0000200000-7f0000300000 rw-p 00000000 00:00 0
Rss:                 100 kB
Pss:                 100 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:       100 kB
Anonymous:           100 kB
VmFlags: rd wr
7f0000400000-7f0000500000 rw-p 00100000 fe:01 393 {folder}/a bundle/mod.params
Rss:                  12 kB
Pss:                  12 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         8 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
55c450000000-55c450100000 rw-p 00000000 00:00 0                          [heap]
Rss:                  50 kB
Pss:                  50 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:        50 kB
Anonymous:            50 kB
"""
STATUS = "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  321 kB\nThreads:\t2\n"
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's pages")


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    """What the system tells of process 7."""
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "smaps_rollup").write_text(ROLLUP)
    (folder / "smaps").write_text(SMAPS.format(folder="/srv"))
    (folder / "status").write_text(STATUS)
    return tmp_path


def test_memory_of_a_process_is_read_from_its_rollup(processes: Path) -> None:
    assert process_memory(7, processes) == Memory(
        rss=1688 * KIB, pss=364 * KIB, private=212 * KIB, shared=1476 * KIB, anonymous=112 * KIB
    )


def test_the_peak_is_the_high_water_mark(processes: Path) -> None:
    assert peak_memory(7, processes) == 321 * KIB


def test_mappings_of_one_file_add_up_and_the_rest_is_anonymous(processes: Path) -> None:
    found = memory_by_file(7, processes)

    assert found == {
        "/srv/a bundle/mod.params": Memory(812 * KIB, 412 * KIB, 12 * KIB, 800 * KIB, 4 * KIB),
        ANONYMOUS: Memory(150 * KIB, 150 * KIB, 150 * KIB, 0, 150 * KIB),
    }
    assert list(found) == ["/srv/a bundle/mod.params", ANONYMOUS]


def test_a_system_that_does_not_tell_gives_none(tmp_path: Path) -> None:
    assert process_memory(7, tmp_path) is None
    assert peak_memory(7, tmp_path) is None
    assert memory_by_file(7, tmp_path) is None


@ON_LINUX
def test_this_process_is_as_large_as_its_parts() -> None:
    whole, parts, peak = (
        read(os.getpid()) for read in (process_memory, memory_by_file, peak_memory)
    )

    assert isinstance(whole, Memory)
    assert isinstance(parts, dict)
    assert isinstance(peak, int)
    assert whole.private + whole.shared == whole.rss
    assert sum(part.rss for part in parts.values()) == pytest.approx(whole.rss, rel=0.1)
    assert peak >= 0.9 * whole.rss
