"""What the system holds of a file."""

import sys
from pathlib import Path

import pytest

from compiler.bench.page_cache import cached_share, evict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def test_a_file_that_was_just_written_is_in_memory_until_evicted(tmp_path: Path) -> None:
    files = [tmp_path / "large", tmp_path / "empty"]
    files[0].write_bytes(bytes(1_000_001))
    files[1].touch()
    before = cached_share(files)

    evict(files)

    after = cached_share(files)
    assert before == 1.0
    assert after is not None
    assert after <= before  # a request, which file systems in memory decline


def test_no_pages_have_no_share(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert cached_share([tmp_path / "empty"]) is None
