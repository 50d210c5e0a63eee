"""Turns: how many requests they send, by whom and in which order."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compiler.bench.energy import EnergyMeter
from compiler.bench.networks import Network
from compiler.bench.turns import Contestant, Limit, share, take_turns, warm_up
from compiler.runner.random_feeds import Feeds

NO_ENERGY = EnergyMeter(Path("nowhere"))


class Probe:
    """A network that notes which threads ran it."""

    def __init__(self, log: list[str] | None = None, name: str = "") -> None:
        self.runs: list[int] = []
        self._log, self._name = log, name

    def infer(self, samples: Sequence[Feeds]) -> None:
        assert all(set(feeds) == {"x"} for feeds in samples)
        self.runs += [threading.get_ident()] * len(samples)
        if self._log is not None:
            self._log.append(self._name)

    def open(self, instances: int = 1) -> Network:
        feeds = {"x": np.zeros(1, np.float32)}
        return Network("onnxruntime", 1, instances, feeds, self.infer, None, lambda: None)


def test_requests_are_shared_by_the_rounds() -> None:
    limits = share(7, 3)

    assert [limit.requests for limit in limits] == [3, 2, 2]


@pytest.mark.parametrize("instances", [1, 3])
def test_a_turn_sends_its_requests_and_counts_their_samples(instances: int) -> None:
    probe = Probe()

    ((turn, again),) = take_turns(
        [Contestant(probe.open(instances), batch=4)], share(11, 2), meter=NO_ENERGY
    )

    assert (len(turn.milliseconds), turn.samples) == (6, 24)
    assert (len(again.milliseconds), again.samples) == (5, 20)
    assert len(probe.runs) == 24 + 20 + 2  # one that wakes the CPUs, before each turn
    assert turn.throughput == pytest.approx(24 / turn.seconds, rel=1e-12)
    assert turn.joules is None


def test_a_turn_by_the_clock_sends_one_request_at_least() -> None:
    ((turn,),) = take_turns([Contestant(Probe().open(), 1)], [Limit(0.0)], meter=NO_ENERGY)

    assert len(turn.milliseconds) == 1


def test_contestants_take_turns_and_the_first_one_changes() -> None:
    log: list[str] = []
    contestants = [Contestant(Probe(log, name).open(), 1) for name in "abc"]

    take_turns(contestants, share(3, 3), meter=NO_ENERGY)

    assert "".join(log[::2]) == "abcbcacab"  # every second run wakes the CPUs


def test_progress_counts_the_turns() -> None:
    seen: list[tuple[str, int, int]] = []

    take_turns(
        [Contestant(Probe().open(), 1)] * 2,
        share(2, 2),
        meter=NO_ENERGY,
        progress=lambda *facts: seen.append(facts),
    )

    assert seen == [("time", done, 4) for done in range(5)]


def test_warming_up_runs_on_as_many_threads_as_instances() -> None:
    barrier, seen = threading.Barrier(3, timeout=10), set[int]()

    def infer(samples: Sequence[Feeds]) -> None:
        del samples
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            barrier.wait()

    network = Network("onnxruntime", 1, 3, {}, infer, None, lambda: None)

    warm_up([Contestant(network, 1)], 1.0)

    assert len(seen) == 3


def test_a_run_that_fails_in_any_thread_is_raised() -> None:
    def infer(samples: Sequence[Feeds]) -> None:
        del samples
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("out of memory")

    network = Network("onnxruntime", 1, 4, {}, infer, None, lambda: None)

    with pytest.raises(ValueError, match="out of memory"):
        take_turns([Contestant(network, 1)], [Limit(0.2)], meter=NO_ENERGY)
