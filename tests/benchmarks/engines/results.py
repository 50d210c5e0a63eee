"""Measurements as values, and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant on one network.

    Args:
        milliseconds: By number of threads, one sample per round: CPU time of the process at one
            thread, wall time at more.
        load_seconds: Time to load the graph, by number of threads.
        precision: In which the engine computes what is not int8.
        error: max|error| over the reference's range, on all images.
        sqnr_db: Against the reference, on all images.
    """

    milliseconds: Mapping[int, tuple[float, ...]]
    load_seconds: Mapping[int, float]
    precision: str
    error: float
    sqnr_db: float

    def median(self, threads: int) -> float:
        return median(self.milliseconds[threads])

    def minimum(self, threads: int) -> float:
        return min(self.milliseconds[threads])


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """One network.

    Args:
        columns: By key of `COLUMNS`; bf16 is absent where the CPU has none.
        seconds: To compile or quantize, by graph.
        rounding: max|error| over the range that ONNX Runtime's own graph optimizations cause.
    """

    columns: Mapping[str, Measured]
    seconds: Mapping[str, float]
    rounding: float


@dataclass(frozen=True, slots=True)
class CompileTime:
    """Seconds to make the int8 graph of one network, by graph, one sample per turn."""

    network: str
    images: int
    seconds: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark.

    Args:
        machine: CPU, its relevant flags, and its cores.
        versions: Of the packages that took part.
        settings: Options of the run.
        networks: By key of `GOALS`.
        compile_time: None if it was not asked for.
    """

    machine: Mapping[str, Any]  # Any: text, numbers and lists, as JSON has them
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    networks: Mapping[str, NetworkResult]
    compile_time: CompileTime | None = None

    @property
    def threads(self) -> tuple[int, ...]:
        return tuple(self.settings["threads"])


def facts_of(report: Report) -> dict[str, Any]:
    """The report as a JSON object, medians and minima beside the samples."""
    facts = asdict(report)
    for name, network in report.networks.items():
        for key, measured in network.columns.items():
            facts["networks"][name]["columns"][key] |= {
                "median_ms": {threads: measured.median(threads) for threads in report.threads},
                "minimum_ms": {threads: measured.minimum(threads) for threads in report.threads},
            }
    return facts
