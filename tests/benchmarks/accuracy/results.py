"""Measurements as values, and as JSON that a later run goes on from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """One contestant on one network.

    Args:
        path: File of the graph.
        points: The task's metric on its held-out images.
        sqnr_db: Of the output against the original network in ONNX Runtime, on the same images.
        seconds: To make the graph; None where nothing was made.
        peak_mb: Peak memory of making it, in MiB; None where nothing was made.
    """

    path: str
    points: float
    sqnr_db: float
    seconds: float | None
    peak_mb: float | None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Cell | None":
        """None where there is none, or its graph is gone."""
        if not path.exists():
            return None
        cell = cls(**json.loads(path.read_text(encoding="utf-8")))
        return cell if Path(cell.path).exists() else None


Times = Mapping[int, tuple[float, ...]]
"""Milliseconds by number of threads: CPU time at one thread, wall time at more."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One network.

    Args:
        metric: Of its task.
        images: That the metric and SQNR were measured on.
        cells: By key of `COLUMNS`; those that failed or were not asked for are absent.
        times: By key of `COLUMNS`; measured in turns, all in one run.
    """

    metric: str
    images: int
    cells: Mapping[str, Cell]
    times: Mapping[str, Times]

    def points(self, key: str) -> float | None:
        return self.cells[key].points if key in self.cells else None

    def milliseconds(self, key: str, threads: int) -> float | None:
        """Median."""
        return median(self.times[key][threads]) if key in self.times else None


def write_times(times: Mapping[str, Times], path: Path) -> None:
    path.write_text(json.dumps(times) + "\n", encoding="utf-8")


def read_times(path: Path) -> dict[str, Times]:
    """What `write_times` wrote; empty where it has not."""
    if not path.exists():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: {int(threads): tuple(samples) for threads, samples in times.items()}
        for key, times in known.items()
    }


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark.

    Args:
        machine: CPU, its relevant flags, and its cores.
        versions: Of the packages that took part.
        networks: By name of the build file.
        threads: Numbers of threads that times were measured with.
    """

    machine: Mapping[str, Any]  # Any: text, numbers and lists, as JSON has them
    versions: Mapping[str, str]
    networks: Mapping[str, Figures]
    threads: tuple[int, ...]
