"""Run samples, several at a time, and take their times."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from compiler.runner.engine import Tensor
from compiler.runner.line import Line

T = TypeVar("T")


@dataclass(frozen=True)
class Network(Generic[T]):
    """What runs.

    Args:
        prepare: Sample → feeds; thread-safe, as is `infer`.
        infer: Feeds → outputs.
        preparers: Samples that are prepared at the same time.
        instances: Samples that are inferred at the same time.
        in_flight: Samples that are on their way, at most.
    """

    prepare: Callable[[T], dict[str, Tensor]]
    infer: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    preparers: int
    instances: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Timed:
    """Outputs of a sample, and when what happened, in seconds of `time.perf_counter`.

    Args:
        outputs: By name.
        submitted: When it was handed over.
        finished: When its outputs were there.
        model: How long the engine ran.
    """

    outputs: dict[str, Tensor]
    submitted: float
    finished: float
    model: float


@dataclass(frozen=True)
class _Submitted(Generic[T]):
    sample: T
    at: float


@dataclass(frozen=True, slots=True)
class _Prepared:
    feeds: dict[str, Tensor]
    submitted: float


def run_in_order(network: Network[T], samples: Iterable[T]) -> Iterator[Timed]:
    """Results in order of the samples; up to `in_flight` samples ahead of them are at work.

    Raises:
        ModcError: A sample fails; the ones behind it are dropped.
    """

    def prepare(item: _Submitted[T]) -> _Prepared:
        return _Prepared(network.prepare(item.sample), item.at)

    def infer(item: _Prepared) -> Timed:
        began = time.perf_counter()
        outputs = network.infer(item.feeds)
        finished = time.perf_counter()
        return Timed(outputs, item.submitted, finished, finished - began)

    with Line(
        prepare,
        lambda batch: [infer(item) for item in batch],
        preparers=network.preparers,
        instances=network.instances,
        queue=network.in_flight,
    ) as line:
        unread = 0
        for sample in samples:
            if unread == network.in_flight:
                yield _outcome(line)
                unread -= 1
            line.put(_Submitted(sample, time.perf_counter()))
            unread += 1
        for _ in range(unread):
            yield _outcome(line)


def _outcome(line: Line[_Submitted[T], _Prepared, Timed]) -> Timed:
    result = line.get()
    if result.error is not None:
        raise result.error
    assert result.outputs is not None  # a result has one of the two
    return result.outputs


@dataclass(frozen=True, slots=True)
class Times:
    """What a run took.

    Args:
        samples: How many ran.
        seconds: From the first hand-over to the last result.
        requests: Seconds of each request, from the hand-over of its first sample to the result of
            its last; waiting in queues counts.
        model: Seconds that the engine ran, for each sample.
    """

    samples: int
    seconds: float
    requests: tuple[float, ...]
    model: tuple[float, ...]

    @property
    def throughput(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


class Stopwatch:
    """Collects the times of samples that come in order.

    Args:
        batch: Samples of one request.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._model: list[float] = []
        self._requests: list[tuple[float, float]] = []  # submitted, finished

    def add(self, timed: Timed) -> None:
        if len(self._model) % self._batch == 0:
            self._requests.append((timed.submitted, timed.finished))
        else:
            submitted, finished = self._requests[-1]
            self._requests[-1] = submitted, max(finished, timed.finished)
        self._model.append(timed.model)

    def times(self) -> Times:
        """What came together.

        Raises:
            ValueError: Nothing was added.
        """
        if not self._requests:
            raise ValueError("no sample was run")
        first, last = self._requests[0][0], max(finished for _, finished in self._requests)
        return Times(
            len(self._model),
            last - first,
            tuple(finished - submitted for submitted, finished in self._requests),
            tuple(self._model),
        )
