from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.pipeline.relative_latency import RelativeLatency
from compiler.pipeline.samples import Feeds


class Machine:
    """A clock that networks turn, the faster the less busy the machine is."""

    def __init__(self) -> None:
        self.now, self.load = 0.0, 1.0

    def network(self, milliseconds: float) -> Callable[[Feeds], dict[str, NDArray[np.float32]]]:
        def run(feeds: Feeds) -> dict[str, NDArray[np.float32]]:
            self.now += milliseconds / 1000 * self.load
            return {}

        return run


@pytest.mark.parametrize("load", [1.0, 0.5, 7.0])
def test_load_that_comes_later_changes_no_latency(load: float) -> None:
    machine = Machine()
    latency = RelativeLatency(machine.network(20.0), {}, lambda: machine.now)
    assert latency.reference_milliseconds == pytest.approx(20.0)
    machine.load = load
    assert latency.milliseconds(machine.network(8.0)) == pytest.approx(8.0)


def test_a_single_hiccup_changes_nothing() -> None:
    machine = Machine()
    latency = RelativeLatency(machine.network(20.0), {}, lambda: machine.now)
    usual, runs = machine.network(8.0), 0

    def with_hiccup(feeds: Feeds) -> dict[str, NDArray[np.float32]]:
        nonlocal runs
        runs += 1
        machine.now += 3.0 if runs == 4 else 0.0
        return usual(feeds)

    assert latency.milliseconds(with_hiccup) == pytest.approx(8.0)


def test_load_that_meets_most_runs_of_one_network_changes_nothing() -> None:
    machine = Machine()
    latency = RelativeLatency(machine.network(20.0), {}, lambda: machine.now)
    usual, runs = machine.network(8.0), 0

    def often_interrupted(feeds: Feeds) -> dict[str, NDArray[np.float32]]:
        nonlocal runs
        runs += 1
        machine.now += 0.0 if runs % 4 == 0 else 0.02
        return usual(feeds)

    assert latency.milliseconds(often_interrupted) == pytest.approx(8.0)
