"""The soak in small: what its full size measures (memory) is left to the full size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.runner import Runner
from tests.benchmarks.stream_soak import restart, soak
from tests.support.bundles import make_bundle


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(7):
        path = tmp_path / f"photo_{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


def test_a_stream_of_hundreds_keeps_order_and_reports_corrupt_files_by_name(
    photos: list[Path], tmp_path: Path
) -> None:
    (folder := tmp_path / "files").mkdir()
    with Runner(make_bundle(tmp_path), instances=2) as runner:
        found = soak(runner, photos, 401, folder)
    assert found.wrong == []
    assert len(found.rss_mib) > 100


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system lists no open files")
def test_starts_and_stops_of_a_runner_s_stream_leave_nothing(
    photos: list[Path], tmp_path: Path
) -> None:
    with Runner(make_bundle(tmp_path), instances=2) as runner:
        assert restart(runner, photos) == (0, 0)
