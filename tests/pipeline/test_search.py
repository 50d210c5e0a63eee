import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.pipeline.search import (
    Budget,
    Candidate,
    Forecast,
    Layers,
    SearchResult,
    Trial,
    search_float_layers,
    why_too_slow,
)

NOTHING: Layers = frozenset()


@dataclass
class Network:
    """Losses and times that add up, layer by layer; a pair loses its points unless both go."""

    losses: Mapping[frozenset[str], float]
    times: Mapping[str, float]
    measured: Callable[[Layers], float] | None = None
    seconds_per_trial: float = 1.0
    now: float = 0.0
    asked: list[Layers] = field(default_factory=list)

    def evaluate(self, layers: Layers) -> Trial:
        self.now += self.seconds_per_trial
        self.asked.append(layers)
        lost = sum(points for group, points in self.losses.items() if not group <= layers)
        return Trial(80.0 - lost, (self.measured or self.predict)(layers))

    def predict(self, layers: Layers) -> float:
        return 10.0 + sum(self.times.get(name, 1.0) for name in sorted(layers))

    def forecast(self, layers: Layers) -> Forecast:
        return Forecast(self.predict(layers), layers)

    def search(self, *, max_drop: float = 0.3, max_seconds: float = 1e9) -> SearchResult:
        candidates = [Candidate(group, points) for group, points in self.losses.items()]
        return search_float_layers(
            candidates,
            Budget(80.0, max_drop, max_seconds),
            self.evaluate,
            self.forecast,
            clock=lambda: self.now,
        )


def network(
    losses: Mapping[str, float], times: Mapping[str, float] | None = None, **options: object
) -> Network:
    """Groups are written with their layers apart: {"a b": 1.0}."""
    groups = {frozenset(names.split()): points for names, points in losses.items()}
    return Network(groups, times or {}, **options)  # type: ignore[arg-type]  # passed through


def layers(names: str) -> Layers:
    return frozenset(names.split())


def test_a_network_within_the_budget_runs_on_integers_altogether() -> None:
    result = network({"a": 0.1, "b": 0.1}).search()
    assert (result.layers, result.reached, result.finished) == (NOTHING, True, True)
    assert len(result.trials) == 1
    assert result.reason == "the budget holds without any further layer in float"


def test_the_layers_that_cost_most_points_go_to_float() -> None:
    result = network({"a": 0.1, "b": 5.0, "c": 0.1, "d": 2.0}).search()
    assert result.layers == layers("b d")
    assert result.drop == pytest.approx(0.2)
    assert result.reached
    assert result.finished
    assert result.trial == dict(result.trials)[result.layers]


def test_layers_that_only_help_together_go_together_and_come_back_one_by_one() -> None:
    candidates = [Candidate(layers("maker reader"), 2.0), Candidate(layers("bad idle"), 1.0)]
    truth = network({"maker reader": 3.0, "bad": 4.0})
    result = search_float_layers(
        candidates, Budget(80, 0.3, 99), truth.evaluate, truth.forecast, clock=lambda: 0.0
    )
    assert result.layers == layers("maker reader bad")


def test_few_sets_are_tried_among_many_layers() -> None:
    losses = {f"layer{i}": 1.0 if i < 5 else 1e-4 for i in range(200)}
    result = network(losses).search()
    assert result.layers == frozenset(f"layer{i}" for i in range(5))
    assert len(result.trials) < 30


def test_noise_per_millisecond_finds_a_faster_set() -> None:
    # The noisiest layer is enough alone, and so are two others that cost less time.
    found = network({"slow": 1.2, "fast": 1.0, "quick": 0.9}, {"slow": 9.0, "fast": 0.5}).search(
        max_drop=2.0
    )
    assert found.layers == layers("fast quick")


@pytest.mark.parametrize(("measured_of_a", "chosen"), [(12.0, "b"), (10.2, "a"), (9.0, "a")])
def test_measured_latency_decides_where_it_differs_clearly(
    measured_of_a: float, chosen: str
) -> None:
    """Either layer is enough; `b` is tried first, `a` is predicted to be faster."""

    def evaluate(which: Layers) -> Trial:
        return Trial(80.0 if which else 70.0, measured_of_a if which == layers("a") else 10.0)

    result = search_float_layers(
        [Candidate(layers("a"), 1.0), Candidate(layers("b"), 1.5)],
        Budget(80, 0.3, 99),
        evaluate,
        lambda which: Forecast(sum({"a": 1.0, "b": 2.0}[name] for name in which), which),
        clock=lambda: 0.0,
    )
    assert layers("a") in dict(result.trials)
    assert result.layers == layers(chosen)


def test_noise_of_the_latency_decides_nothing() -> None:
    wobble = {layers("a b c"): 10.0, layers("a b"): 10.2, layers("a"): 10.1}
    result = network({"a": 3.0, "b": 0.2, "c": 0.2}, measured=lambda s: wobble.get(s, 10.0)).search(
        max_drop=0.5
    )
    assert result.layers == layers("a")


@given(
    st.lists(
        st.tuples(st.floats(0, 4), st.floats(0.01, 4), st.integers(1, 3)), min_size=1, max_size=9
    ),
    st.floats(0, 6),
)
def test_the_result_holds_the_budget_and_no_layer_of_it_is_idle(
    given_layers: list[tuple[float, float, int]], max_drop: float
) -> None:
    losses = {
        " ".join(f"l{i}_{part}" for part in range(parts)): loss
        for i, (loss, _, parts) in enumerate(given_layers)
    }
    times = {
        f"l{i}_{part}": time
        for i, (_, time, parts) in enumerate(given_layers)
        for part in range(parts)
    }
    searched = network(losses, times)
    result = searched.search(max_drop=max_drop)
    assert result.reached
    assert result.finished
    assert len(searched.asked) == len(set(searched.asked)) == len(result.trials)
    tried = dict(result.trials)
    held = [which for which, trial in tried.items() if 80 - trial.points <= max_drop]
    # No set that was tried is faster by more than measured latencies can tell.
    assert result.trial.milliseconds <= 1.03 * min(tried[which].milliseconds for which in held)


def test_sets_that_give_the_same_network_are_measured_once() -> None:
    # `b` is not worth integers next to a float `a`.
    def completed(which: Layers) -> Layers:
        return which | layers("b") if "a" in which else which

    truth = network({"a": 3.0, "b": 2.0, "c": 0.1})
    asked: list[Layers] = []

    def evaluate(which: Layers) -> Trial:
        asked.append(which)
        return truth.evaluate(completed(which))

    result = search_float_layers(
        [Candidate(layers(name), noise) for name, noise in (("a", 3.0), ("b", 2.0))],
        Budget(80, 0.3, 99),
        evaluate,
        lambda which: Forecast(truth.predict(completed(which)), completed(which)),
        clock=lambda: 0.0,
    )
    assert result.layers == layers("a")
    assert len(set(map(completed, asked))) == len(asked)


def test_time_runs_out_and_the_best_so_far_is_kept() -> None:
    searched = network({f"layer{i}": 1.0 + i / 100 for i in range(16)})
    result = searched.search(max_seconds=6)
    assert (result.finished, result.reached) == (False, True)
    assert searched.now == 6  # one trial may end late, none begins late
    assert result.reason == "the time was over after 6 trials; the best set so far is kept"
    assert len(result.layers) == 16


def test_a_late_trial_is_finished_and_counts() -> None:
    searched = network({"a": 5.0, "b": 3.0}, seconds_per_trial=4.0)
    result = searched.search(max_seconds=5)
    assert searched.now == 8
    assert result.layers == layers("a")
    assert not result.reached
    assert result.drop == pytest.approx(3.0)


def test_all_integers_are_tried_even_without_any_time() -> None:
    result = network({"a": 5.0}).search(max_seconds=0.0)
    assert (result.layers, result.finished, len(result.trials)) == (NOTHING, False, 1)


def test_a_budget_that_floats_miss_is_reported_with_the_most_accurate_set() -> None:
    truth = network({"a": 3.0, "elsewhere": 1.0})
    result = search_float_layers(
        [Candidate(layers("a"), 1.0), Candidate(layers("idle"), 0.5)],
        Budget(80, 0.3, 99),
        truth.evaluate,
        truth.forecast,
        clock=lambda: 0.0,
    )
    assert (result.layers, result.reached, result.finished) == (layers("a"), False, True)
    assert result.reason == "the budget is missed even with every candidate in float"
    assert result.drop == pytest.approx(1.0)


def test_without_candidates_there_is_only_one_network() -> None:
    truth = network({"a": 3.0})
    result = search_float_layers(
        [], Budget(80, 0.3, 99), truth.evaluate, truth.forecast, clock=lambda: 0.0
    )
    assert (result.layers, result.reached, len(result.trials)) == (NOTHING, False, 1)


def test_accuracy_that_is_no_number_is_worse_than_any() -> None:
    def evaluate(which: Layers) -> Trial:
        return Trial(70.0 if which else math.nan, 1.0)

    result = search_float_layers(
        [Candidate(layers("a"), 1.0)],
        Budget(80, 0.3, 99),
        evaluate,
        lambda which: Forecast(1.0, which),
        clock=lambda: 0.0,
    )
    assert result.layers == layers("a")
    assert not result.reached


def test_int8_that_is_slower_than_float_is_refused_with_both_times() -> None:
    assert why_too_slow(9.0, 10.0) is None
    assert why_too_slow(10.2, 10.0) is None  # no difference that a measurement shows
    assert why_too_slow(15.0, 10.0) == (
        "int8 takes 15.00 ms per sample and float 10.00 ms: it is slower by 50 %"
    )
