"""A second compile with another calibrate_mode against the first, from the cache of stages.

    python tests/benchmarks/second_compile.py tests/networks/unet3p_human_128.yaml
    python -m compiler.zoo.full_size --out /tmp/full --images 50
    python tests/benchmarks/second_compile.py /tmp/full/unet3p_full.onnx --pictures /tmp/full/images

Three fresh processes run `modc compile`: mode A in an empty cache, mode B after it, and mode B
without any cache, whose bundle must have the same bytes. CPU seconds are those of all threads,
which other work on the machine disturbs less than the clock. `--images` repeats or drops
calibration images until there are so many.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

START = "start"
"""Stage before the first: the interpreter, imports, the build file."""

REST = "rest"
"""What no stage claims."""


@dataclass(frozen=True)
class Compile:
    """One run of `modc compile`.

    Args:
        wall: Seconds by the clock.
        cpu: CPU seconds of all threads.
        stages: CPU seconds by stage.
        peak_mb: Largest resident memory, MiB.
        digest: SHA-256 of the bundle's mod.json.
    """

    wall: float
    cpu: float
    stages: Mapping[str, float]
    peak_mb: float
    digest: str


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--child":
        _child(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", type=Path, help="build file, or a model with --pictures")
    parser.add_argument("--pictures", type=Path, help="calibration images for a model")
    parser.add_argument("--size", type=int, default=128, help="of a model's input")
    parser.add_argument("--input", default="input", help="name of a model's input")
    parser.add_argument("--images", type=int, default=50, help="calibration images (default 50)")
    parser.add_argument("--modes", nargs=2, default=["kl_divergence", "percentile"])
    parser.add_argument("--set", action="append", default=[], help="as for modc compile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        build_file = _build_file(options, Path(scratch))
        cache, (first, second) = Path(scratch) / "cache", options.modes
        a = _compile(build_file, first, options.set, str(cache))
        stored = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        b = _compile(build_file, second, options.set, str(cache))
        fresh = _compile(build_file, second, options.set, "off")
    _print(f"{first}, empty cache", a)
    _print(f"{second}, after it", b)
    _print(f"{second}, no cache", fresh)
    print(f"{'stage':<12}{'first':>9}{'second':>9}  CPU seconds")
    for stage in dict.fromkeys((START, *a.stages, *b.stages)):
        print(f"{stage:<12}{a.stages.get(stage, 0):9.2f}{b.stages.get(stage, 0):9.2f}")
    print(f"ratio: {a.wall / b.wall:.1f} by the clock, {a.cpu / b.cpu:.1f} in CPU seconds")
    print(f"cache: {stored / 2**20:.0f} MiB")
    print(f"same bytes as without cache: {b.digest == fresh.digest}")
    if b.digest != fresh.digest:
        raise SystemExit(1)


def _build_file(options: argparse.Namespace, scratch: Path) -> Path:
    document = _document(options)
    base = options.network.resolve().parent
    document["frontend"]["checkpoint"] = str(base / document["frontend"]["checkpoint"])
    verify = document.get("verify", {})
    for key in ("images", "masks"):
        if key in verify:
            verify[key] = str(base / verify[key])
    dataset = document["dataset"]
    sources = sorted(
        path for path in (base / dataset["path"]).iterdir() if path.suffix in (".jpg", ".png")
    )
    folder = scratch / "images"
    folder.mkdir()
    for number in range(options.images):
        source = sources[number % len(sources)]
        shutil.copy(source, folder / f"{number:06d}{source.suffix}")
    dataset["path"] = str(folder)
    dataset["sampler"] = {"get_data_num": options.images}
    document["workspace"] = {"path": str(scratch / "deploy")}
    path = scratch / "build.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _document(options: argparse.Namespace) -> dict[str, Any]:  # Any: a YAML mapping
    if options.network.suffix in (".yaml", ".yml"):
        document: dict[str, Any] = yaml.safe_load(options.network.read_text(encoding="utf-8"))
        return document
    return {
        "name": "second_compile_int8",
        "frontend": {
            "type": "onnx",
            "checkpoint": options.network.name,
            "shape": {options.input: [1, 3, options.size, options.size]},
        },
        "backend": {"type": "onnxruntime", "dtype": "int8"},
        "dataset": {
            "path": str(options.pictures.resolve()),
            "process_ops": [
                {"type": "DecodeImage"},
                {"type": "Resize", "size": [options.size, options.size]},
                {"type": "Normalize", "norm_type": None},
                {"type": "ToTensor"},
            ],
        },
    }


def _compile(build_file: Path, mode: str, overrides: list[str], cache: str) -> Compile:
    times = build_file.with_name("times.json")
    command = [sys.executable, __file__, "--child", str(times), "compile", str(build_file)]
    command += ["--json", "--keep", "--set", f"backend.quantize.calibrate_mode={mode}"]
    command += [part for override in overrides for part in ("--set", override)]
    answer = build_file.with_name("answer.json")
    start = time.perf_counter()
    with answer.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, env={**os.environ, "MODC_CACHE": cache})
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 5):  # 5: a gate was missed; --keep
        raise SystemExit(f"failed: {' '.join(command)}")
    cpu = usage.ru_utime + usage.ru_stime
    stages = json.loads(times.read_text())
    stages[REST] = cpu - sum(stages.values())
    digest = json.loads(answer.read_text())["digest"]
    return Compile(wall, cpu, stages, usage.ru_maxrss / 1024, digest)


def _child(times: Path, arguments: list[str]) -> None:
    """`modc` that also writes the CPU seconds of its stages."""
    from compiler.cli.app import main as modc
    from compiler.pipeline import clock, compile

    used: dict[str, float] = {}

    class CpuClock(clock.Clock):
        def __init__(self, report: clock.Report | None) -> None:
            super().__init__(report)
            used[START] = time.process_time()

        @contextmanager
        def stage(self, name: str, total: int = 0) -> Iterator[Any]:  # Any: as its base
            start = time.process_time()
            with super().stage(name, total) as step:
                yield step
            used[name] = used.get(name, 0.0) + time.process_time() - start

    vars(compile)["Clock"] = CpuClock
    try:
        modc(arguments)
    finally:
        times.write_text(json.dumps(used), encoding="utf-8")


def _print(title: str, one: Compile) -> None:
    print(f"{title:<30}{one.wall:7.1f} s, {one.cpu:7.1f} CPU s, {one.peak_mb:6.0f} MB")


if __name__ == "__main__":
    main()
