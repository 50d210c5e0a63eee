"""What streaming JPEGs costs against inference alone.

    python tests/benchmarks/stream_throughput.py tests/networks/*.yaml

Compiles each build file into a folder of its own and lets two ways take turns in one process:
`infer`, in as many threads as there are instances, on samples that lie in memory; and `stream`,
from files. The table has medians: images per second, the ratio of neighbouring turns, and the CPU
time that the process takes for an image, which says more where others use the machine as well.
With one thread per instance no CPU time is spent on waiting, and its ratio is the one that the
throughput has on an idle machine.
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.config.load import load_config
from compiler.pipeline.compile import compile_model
from compiler.runner import Runner
from compiler.runner.cpu import cpus
from compiler.runner.engine import Tensor

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "human"


@dataclass(frozen=True)
class Rate:
    """What a turn reached."""

    per_second: float
    cpu_milliseconds: float  # of the whole process, per image


class Clock:
    """Wall-clock and CPU time from now on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> float:
        return time.perf_counter() - self._wall

    def rate(self, count: int) -> Rate:
        cpu = time.process_time() - self._cpu
        return Rate(count / self.seconds(), cpu / count * 1e3)


def infer_rate(runner: Runner, samples: list[dict[str, Tensor]], seconds: float) -> Rate:
    """`infer` alone."""
    counts: list[int] = []
    clock = Clock()

    def run() -> None:
        for count, sample in enumerate(itertools.cycle(samples), 1):
            runner.infer(sample)
            if clock.seconds() >= seconds:
                counts.append(count)
                return

    threads = [threading.Thread(target=run) for _ in range(runner.instances)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clock.rate(sum(counts))


def stream_rate(runner: Runner, images: list[Path], seconds: float) -> Rate:
    """A stream, from its first result on."""
    with runner.stream(itertools.cycle(images)) as results:
        next(results)
        clock, count = Clock(), 0
        while clock.seconds() < seconds:
            if error := next(results).error:
                raise error
            count += 1
        return clock.rate(count)


def prepare_milliseconds(runner: Runner, images: list[Path]) -> float:
    """CPU time of one thread per image."""
    start = time.thread_time()
    for image in images:
        runner.prepare(image)
    return (time.thread_time() - start) / len(images) * 1e3


def row(prefix: Path, instances: int, images: list[Path], options: argparse.Namespace) -> str:
    """Measure one bundle with so many instances."""
    with Runner(prefix, engine=options.engine, instances=instances) as runner:
        samples = [runner.prepare(image) for image in images]
        cells = [prefix.parent.name, f"{instances} × {runner.threads}"]
        cells.append(f"{prepare_milliseconds(runner, images):.2f}")
        turns = [
            (
                infer_rate(runner, samples, options.seconds),
                stream_rate(runner, images, options.seconds),
            )
            for _ in range(options.rounds)
        ]
    alone, streamed = zip(*turns, strict=True)
    cells += [f"{median(rate.per_second for rate in way):.1f}" for way in (alone, streamed)]
    cells.append(f"{median(s.per_second / a.per_second for a, s in turns):.3f}")
    cells += [f"{median(rate.cpu_milliseconds for rate in way):.2f}" for way in (alone, streamed)]
    cells.append(f"{median(a.cpu_milliseconds / s.cpu_milliseconds for a, s in turns):.3f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compile, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build_files", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of JPEGs")
    parser.add_argument("--workspace", type=Path, help="where bundles are kept for the next time")
    parser.add_argument("--engine", default=None)
    parser.add_argument("--instances", type=int, nargs="+", default=sorted({1, cpus()}))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    options = parser.parse_args()
    print(
        "| bundle | instances × threads | prepare, ms | infer /s | stream /s | ratio "
        "| infer, CPU ms | stream, CPU ms | ratio |\n|---|---|---|---|---|---|---|---|---|"
    )
    images = sorted(options.images.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.workspace or Path(folder)
        for build_file in options.build_files:
            config = load_config(build_file, overrides=[f"workspace.path={workspace}"])
            if not (workspace / config.name).exists():
                compile_model(config, keep=True)
            for instances in options.instances:
                prefix = workspace / config.name / "mod"
                print(row(prefix, instances, images, options), flush=True)


if __name__ == "__main__":
    main()
