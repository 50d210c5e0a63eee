"""Task metric, SQNR and latency of graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compiler.pipeline.samples import Feeds
from compiler.runner.cpu import cpus
from compiler.verify.compare import Tensors
from compiler.verify.metrics import Agreement
from tests.benchmarks.accuracy.columns import COLUMNS
from tests.benchmarks.accuracy.networks import TrainedNetwork
from tests.benchmarks.accuracy.results import Times
from tests.benchmarks.engines.columns import REFERENCE, Column
from tests.benchmarks.engines.sessions import Floats, open_column
from tests.benchmarks.engines.timing import measure


@dataclass(frozen=True)
class Yardstick:
    """Task and fp32 outputs of a network, by which all its contestants are measured."""

    network: TrainedNetwork

    def measure(self, column: Column, path: Path) -> tuple[float, float]:
        """The task's metric in points, and SQNR of the output in dB over the same images."""
        points, outputs = self._run(column, path)
        agreement = Agreement()
        for expected, actual in zip(self._reference, outputs, strict=True):
            agreement.add(expected, actual)
        return points, agreement.sqnr_db

    @cached_property
    def _reference(self) -> Sequence[Floats]:
        return self._run(COLUMNS[REFERENCE], self.network.path)[1]

    def _run(self, column: Column, path: Path) -> tuple[float, list[Floats]]:
        task, name = self.network.task, self.network.input
        run = open_column(column, path, cpus(), input_name=name).run
        outputs: list[Floats] = []

        def run_and_keep(feeds: Feeds) -> Tensors:
            outputs.append(run(feeds[name]).copy())
            return {task.output: outputs[-1]}

        return task.measure(run_and_keep)[0], outputs


def measure_times(
    network: TrainedNetwork,
    paths: Mapping[str, Path],
    *,
    rounds: int,
    threads: Sequence[int],
) -> dict[str, Times]:
    """Times of all contestants, in turns in this process.

    Args:
        network: Its first held-out image is the input.
        paths: File of each graph, by key of `COLUMNS`; `REFERENCE` is one of them.
        rounds: Samples per contestant and number of threads.
        threads: Numbers of threads.
    """
    columns = {key: COLUMNS[key] for key in paths}
    measured = measure(
        columns,
        {column.graph: paths[key] for key, column in columns.items()},
        [network.loader()(network.task.pairs[0].image)],
        rounds=rounds,
        threads=threads,
        input_name=network.input,
    )
    return {key: one.milliseconds for key, one in measured.items()}
