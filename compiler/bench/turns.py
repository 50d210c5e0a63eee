"""Time contestants in turns, so that what else the machine does meets them alike.

All contestants are open at once, in one process. A round gives each of them one turn; the order
moves on by one place every round. Before a turn there is a pause, because the threads of the
session before wait actively for a while after a run and would double the times of the next; and
one request that is not counted, because it wakes the CPUs.

In a turn, as many clients as the setting has instances each send one request after another. A
request of the network alone is a batch of samples that one instance runs, together where the batch
dimension is open, else one after another; its time is the latency. On the way from image file to
outputs the requests are the items of a stream, and the latency is from when the stream takes an
image until it gives the result, waiting in its queues included. Throughput is samples per second of
the turn, from its first request to its last result.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from compiler.bench.energy import EnergyMeter
from compiler.bench.networks import Network
from compiler.bench.progress import Progress, silent

PAUSE: Final = 0.08
"""Seconds before each turn."""

Course: TypeAlias = Literal["network", "image file"]
Go: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Limit:
    """When a turn ends, which sends one request at least.

    Args:
        seconds: After so long; unless `requests` is given.
        requests: After so many, of all clients together.
    """

    seconds: float
    requests: int | None = None

    def start(self) -> Go:
        """Begin a turn; the result says, once per request, whether to send it."""
        if self.requests is not None:
            tickets = iter(range(self.requests))  # taking one is atomic
            return lambda: next(tickets, None) is not None
        first, end = iter([True]), time.perf_counter() + self.seconds
        return lambda: next(first, False) or time.perf_counter() < end


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network and how to time it.

    Args:
        network: What runs.
        batch: Samples of a request.
        image: File that every request reads; None for the network alone.
    """

    network: Network
    batch: int
    image: Path | None = None

    @property
    def course(self) -> Course:
        return "network" if self.image is None else "image file"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn gave.

    Args:
        milliseconds: Latency of each request; not empty.
        samples: How many were run.
        seconds: From the first request to the last result.
        joules: That the sockets spent meanwhile; None where nothing tells.
    """

    milliseconds: tuple[float, ...]
    samples: int
    seconds: float
    joules: float | None

    @property
    def throughput(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


def take_turns(
    contestants: Sequence[Contestant],
    limits: Sequence[Limit],
    *,
    meter: EnergyMeter,
    progress: Progress = silent,
) -> list[list[Turn]]:
    """Time all contestants.

    Args:
        contestants: Open ones.
        limits: Of a turn, round by round.
        meter: Of the energy.
        progress: Called as progress(stage, done, total).

    Returns:
        The turns of each contestant, round by round.

    Raises:
        ModcError: A run or an image fails.
    """
    turns: list[list[Turn]] = [[] for _ in contestants]
    total = len(contestants) * len(limits)
    progress("time", 0, total)
    for index, limit in enumerate(limits):
        order = [(index + place) % len(contestants) for place in range(len(contestants))]
        for place in order:
            time.sleep(PAUSE)
            turns[place].append(_turn(contestants[place], limit, meter))
            progress("time", sum(map(len, turns)), total)
    return turns


def warm_up(contestants: Sequence[Contestant], seconds: float) -> None:
    """Run each network on all its instances, so that none of their first runs is counted."""
    for contestant in contestants:
        _clients(contestant, Limit(seconds).start())


def share(requests: int, rounds: int) -> list[Limit]:
    """Limits of the rounds of so many requests, which differ by one at most."""
    each, more = divmod(requests, rounds)
    return [Limit(0, each + (index < more)) for index in range(rounds)]


def _turn(contestant: Contestant, limit: Limit, meter: EnergyMeter) -> Turn:
    contestant.network.infer([contestant.network.feeds])
    before = meter.read()
    start = time.perf_counter()
    if contestant.image is None:
        times = _clients(contestant, limit.start())
        samples = len(times) * contestant.batch
    else:
        times = _stream(contestant, contestant.image, limit.start())
        samples = len(times)
    seconds = time.perf_counter() - start
    return Turn(tuple(times), samples, seconds, meter.joules_since(before))


def _clients(contestant: Contestant, go: Go) -> list[float]:
    """Milliseconds of the requests of all clients."""
    times: list[float] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            times.extend(_requests(contestant, go))
        except Exception as error:  # raised again below, in the thread that asked
            failures.append(error)

    others = [threading.Thread(target=work) for _ in range(contestant.network.instances - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
    return times


def _requests(contestant: Contestant, go: Go) -> Iterator[float]:
    infer, samples = contestant.network.infer, [contestant.network.feeds] * contestant.batch
    while go():
        start = time.perf_counter()
        infer(samples)
        yield 1000 * (time.perf_counter() - start)


def _stream(contestant: Contestant, image: Path, go: Go) -> list[float]:
    """Milliseconds of each image, from when it is taken to its result."""
    assert contestant.network.stream is not None  # only a bundle is given an image
    taken: list[float] = []

    def images() -> Iterator[Path]:
        while go():
            taken.append(time.perf_counter())
            yield image

    times: list[float] = []
    with contestant.network.stream(images(), contestant.batch) as results:
        for result in results:
            if result.error is not None:
                raise result.error
            times.append(1000 * (time.perf_counter() - taken[result.index]))
    return times
