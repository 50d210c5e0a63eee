"""Builds that are killed, and builds that meet, in processes of their own."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compiler.runner.read import read_bundle

ROOT = Path(__file__).resolve().parents[2]
KILLS = 15


def rebuild(workspace: Path, count: int, *ways: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.rebuild", str(workspace), str(count), *ways],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_whole(workspace: Path) -> None:
    bundle = read_bundle(workspace / "net" / "mod")
    assert bundle.model.read_text() == bundle.manifest.verification["stamp"]


@pytest.mark.parametrize("ways", [(), ("renames",)])
def test_a_build_killed_at_any_moment_leaves_a_whole_bundle(
    tmp_path: Path, ways: tuple[str, ...]
) -> None:
    moments = random.Random(0)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "yolov4.cfg").write_text("[net]")
    for _ in range(KILLS):
        with rebuild(tmp_path, 1_000_000, *ways) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "built\n"
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        assert_whole(tmp_path)
    with rebuild(tmp_path, 1, *ways) as process:
        process.communicate(timeout=60)
    assert_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".net.lock", "net"]
    assert (tmp_path / "net" / "yolov4.cfg").read_text() == "[net]"


def test_two_builds_at_the_same_time_end_with_one_whole_bundle(tmp_path: Path) -> None:
    with rebuild(tmp_path, 20) as one, rebuild(tmp_path, 20) as other:
        for process in (one, other):
            out, _ = process.communicate(timeout=120)
            assert (process.returncode, out) == (0, "built\n" * 20)
    assert_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".net.lock", "net"]
