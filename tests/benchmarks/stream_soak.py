"""Stream many images, some of them corrupt, and look at what the process holds.

    python tests/benchmarks/stream_soak.py [--bundle PREFIX] [--images FOLDER] [--count 10000]

Checks the order, the outputs (those of `Runner.run`, bit by bit) and that every corrupt file is
reported by its name; then the growth of the process's memory from the end of the first tenth of
the images to the end, and threads and open files after a hundred starts and stops. Linux only.
"""

import argparse
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.errors import CalibrationError
from compiler.runner import Runner
from compiler.runner.engine import Tensor
from tests.support.bundles import make_bundle

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "human"
CORRUPT_EVERY = 100
MOST_GROWTH = 0.02
RESTARTS = 100
SAMPLES = 200  # of the memory


@dataclass(frozen=True)
class Soak:
    """What a soak found; all lists are empty and all differences 0 if all is well."""

    wrong: list[str]  # sentences about results that differ from what they must be
    rss_mib: list[float]  # along the way
    growth: float  # of the memory after the first tenth, as a part of it

    def __str__(self) -> str:
        return (
            f"{len(self.wrong)} wrong results; memory {self.rss_mib[len(self.rss_mib) // 10]:.1f} "
            f"-> {self.rss_mib[-1]:.1f} MiB, growth {self.growth:+.2%}"
        )


def write_files(folder: Path, sources: list[Path], count: int) -> list[Path]:
    """Names for so many images: links to the sources, and every hundredth a damaged copy."""
    files = []
    for index, source in zip(range(count), itertools.cycle(sources)):
        file = folder / f"{index:06d}.jpg"
        if is_corrupt(index):
            data = source.read_bytes()
            file.write_bytes(
                [data[: len(data) // 2], b"", b"no image", data[:-2]][index // 100 % 4]
            )
        else:
            file.symlink_to(source)
        files.append(file)
    return files


def is_corrupt(index: int) -> bool:
    """Whether the image of this number is damaged."""
    return index % CORRUPT_EVERY == CORRUPT_EVERY // 2


def soak(runner: Runner, sources: list[Path], count: int, folder: Path) -> Soak:
    """Stream `count` files once.

    Args:
        runner: Takes images.
        sources: Good images, absolute paths.
        count: Files to stream.
        folder: Empty; for the files.
    """
    files = write_files(folder, sources, count)
    expected: dict[Path, dict[str, Tensor]] = {source: runner.run(source) for source in sources}
    wrong, memory = [], []
    with runner.stream(iter(files)) as results:
        for index, result in enumerate(results):
            path = files[index]
            if (result.index, result.source) != (index, path):
                wrong.append(f"{path}: result {result.index} of {result.source!r}")
            if is_corrupt(index):
                error = result.error
                if not isinstance(error, CalibrationError) or error.where != str(path):
                    wrong.append(f"{path}: corrupt, but {error or 'no error'}")
            elif result.outputs is None or not _same(result.outputs, expected[path.resolve()]):
                wrong.append(f"{path}: {result.error or 'other outputs'}")
            if index % max(1, count // SAMPLES) == 0:
                memory.append(rss_mib())
    if index != count - 1:
        wrong.append(f"{index + 1} results for {count} images")
    tenth = len(memory) // 10
    before, after = median(memory[tenth // 2 : tenth + 1]), median(memory[-tenth - 1 :])
    return Soak(wrong, memory, after / before - 1)


def restart(runner: Runner, sources: list[Path], times: int = RESTARTS) -> tuple[int, int]:
    """Threads and open files that so many starts and stops add."""
    with runner.stream(sources[:2]) as results:  # what the first stream makes once
        list(results)
    before = threading.active_count(), _open_files()
    for number in range(times):
        with runner.stream(_endless(sources)) as results:
            for _ in range(number % 3):
                next(results)
    return threading.active_count() - before[0], _open_files() - before[1]


def rss_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _same(outputs: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return outputs.keys() == expected.keys() and all(
        np.array_equal(outputs[name], expected[name]) for name in expected
    )


def _endless(sources: list[Path]) -> Iterator[Path]:
    return itertools.cycle(sources)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    """Soak, print, and end with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="prefix; default: a tiny network")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of JPEGs")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--instances", type=int, default=2)
    options = parser.parse_args()
    sources = sorted(options.images.resolve().rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        (files := Path(folder) / "files").mkdir()
        prefix = options.bundle or make_bundle(Path(folder))
        with Runner(prefix, instances=options.instances) as runner:
            found = soak(runner, sources, options.count, files)
            threads, handles = restart(runner, sources)
    print(f"{options.count} images: {found}")
    print(f"{RESTARTS} starts and stops: {threads:+d} threads, {handles:+d} open files")
    for sentence in found.wrong[:10]:
        print(f"  {sentence}")
    if found.wrong or abs(found.growth) > MOST_GROWTH or threads or handles:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
