"""Which layers stay in float, so that an int8 network loses no more than its budget.

The fastest set is looked for in two steps. Growing: the layers that cost most accuracy go to float
first, twice as many at each step until the budget holds, and the smallest number that does is
bisected. Giving back: halves, quarters and at last single layers of that set return to int8, those
first that integers make faster by most. Both steps are done in two orders, by noise and by noise
per millisecond; every set is measured, and the best one so far is always kept.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, for giving
back (their ddmin over complements).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isnan
from typing import Final

Layers = frozenset[str]

MARGIN: Final = 0.03
"""Measured latencies that differ by less say nothing: predicted ones decide."""

_LEAST_PRICE: Final = 0.01
"""Share of the network's time below which a price is no reason to rank a candidate first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Layers that go to float together, because one alone would lower no noise.

    Args:
        layers: Names in the original network. A tensor between two layers stays in 8 bits until
            both its maker and its reader are in float.
        noise: Share of noise in what they compute if they alone run on integers; higher is worse.
    """

    layers: Layers
    noise: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a set of float layers before it is measured.

    Args:
        milliseconds: Predicted latency.
        network: Equal for sets that give the same network, which is then measured once.
    """

    milliseconds: float
    network: Hashable


@dataclass(frozen=True, slots=True)
class Trial:
    """What one set of float layers was measured at.

    Args:
        points: Accuracy; higher is better.
        milliseconds: Latency of one sample.
    """

    points: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be lost, and how long may be searched.

    Args:
        float_points: Accuracy of the float network.
        max_drop: Points that may be lost against it.
        max_seconds: Time for the search; a trial that is under way then is finished.
    """

    float_points: float
    max_drop: float
    max_seconds: float

    def holds(self, trial: Trial) -> bool:
        """Whether a network loses no more than it may; not if its accuracy is no number."""
        return self.float_points - trial.points <= self.max_drop


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best set that was found.

    Args:
        layers: Layers that stay in float.
        trial: What they were measured at.
        drop: Points lost against the float network.
        reached: Whether the budget holds.
        finished: False if the time was over before all was tried.
        reason: Why the search ended, as a sentence.
        trials: Every set that was tried, in order; sets of one network share a trial.
        patch: Lines of a build file that keep the layers in float without a search.
    """

    layers: Layers
    trial: Trial
    drop: float
    reached: bool
    finished: bool
    reason: str
    trials: tuple[tuple[Layers, Trial], ...]
    patch: str = ""


def search_float_layers(
    candidates: Sequence[Candidate],
    budget: Budget,
    evaluate: Callable[[Layers], Trial],
    forecast: Callable[[Layers], Forecast],
    *,
    clock: Callable[[], float],
) -> SearchResult:
    """Find the fastest network that keeps the budget.

    Args:
        candidates: What may go to float.
        budget: Accuracy and time.
        evaluate: Measures the network with these layers in float.
        forecast: What is known without measuring; takes next to no time.
        clock: Seconds; such as time.monotonic.

    Returns:
        The fastest set that holds the budget; if none does, the most accurate one.
    """
    search = _Search(budget, evaluate, cache(forecast), clock)
    try:
        finished, reason = True, search.run(candidates)
    except _TimeOverError:
        finished = False
        reason = f"the time was over after {len(search.trials)} trials; the best set so far is kept"
    best = search.best
    return SearchResult(
        best,
        search.trials[best],
        budget.float_points - search.trials[best].points,
        budget.holds(search.trials[best]),
        finished,
        reason,
        tuple(search.trials.items()),
    )


def why_too_slow(int8: float, floating: float) -> str | None:
    """Why an int8 network is not worth a bundle.

    Args:
        int8: Latency in milliseconds.
        floating: Latency of the float network, measured in turns with it.

    Returns:
        A sentence, or None if int8 is faster or about as fast.
    """
    if int8 <= floating * (1 + MARGIN):
        return None
    return (
        f"int8 takes {int8:.2f} ms per sample and float {floating:.2f} ms: it is slower by "
        f"{100 * (int8 / floating - 1):.0f} %"
    )


class _TimeOverError(Exception):
    """No more trials: caught by `search_float_layers`."""


@dataclass(slots=True)
class _Search:
    budget: Budget
    evaluate: Callable[[Layers], Trial]
    forecast: Callable[[Layers], Forecast]
    clock: Callable[[], float]
    trials: dict[Layers, Trial] = field(default_factory=dict)
    measured: dict[Hashable, Trial] = field(default_factory=dict)
    best: Layers = frozenset()
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.clock()

    def run(self, candidates: Sequence[Candidate]) -> str:
        if self._holds(frozenset()):
            return "the budget holds without any further layer in float"
        for rank in (self._noise, self._noise_per_millisecond):
            order = sorted(candidates, key=lambda one: (-rank(one), sorted(one.layers)))
            self._grow(_unions(order))
            if not self._found:
                return "the budget is missed even with every candidate in float"
            self._give_back([one.layers for one in candidates if one.layers <= self.best])
            self._give_back([frozenset([name]) for name in self.best])
        return "no smaller set of either order holds the budget"

    @property
    def _found(self) -> bool:
        return self.budget.holds(self.trials[self.best])

    def _noise(self, one: Candidate) -> float:
        return one.noise

    def _noise_per_millisecond(self, one: Candidate) -> float:
        least = _LEAST_PRICE * self._predicted(frozenset())
        return one.noise / max(self._price(one.layers), least)

    def _price(self, layers: Layers) -> float:
        """Predicted milliseconds that these layers alone take longer in float."""
        return self._predicted(layers) - self._predicted(frozenset())

    def _predicted(self, layers: Layers) -> float:
        return self.forecast(layers).milliseconds

    def _grow(self, sets: Sequence[Layers]) -> None:
        """Find the smallest of growing sets that holds the budget, if it can be the best."""
        low, high = 0, min(1, len(sets) - 1)
        while not self._is_hopeless(sets[high]) and not self._holds(sets[high]):
            if high == len(sets) - 1:
                return
            low, high = high, min(2 * high, len(sets) - 1)
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_hopeless(sets[middle]) or self._holds(sets[middle]):
                high = middle
            else:
                low = middle

    def _is_hopeless(self, layers: Layers) -> bool:
        """Whether a set that holds the budget is known, and predicted to be faster."""
        return self._found and self._rank(layers) > self._rank(self.best)

    def _rank(self, layers: Layers) -> tuple[float, int]:
        """Predicted time; where it is the same, fewer names are better."""
        return self._predicted(layers), len(layers)

    def _give_back(self, groups: Sequence[Layers]) -> None:
        """Return groups of the best set's layers to int8 while the budget holds."""
        kept = sorted(groups, key=lambda group: (-self._price(group), sorted(group)))
        size = (len(kept) + 1) // 2
        while size:
            at = 0
            while at < len(kept):
                rest = kept[:at] + kept[at + size :]
                layers = frozenset[str]().union(*rest)
                if not self._is_hopeless(layers):
                    self._holds(layers)
                if self.best == layers:
                    kept = rest
                else:
                    at += size
            size = 0 if size == 1 else (size + 1) // 2

    def _holds(self, layers: Layers) -> bool:
        """Try a set, unless it was tried before, and keep it if it is the best so far."""
        if layers not in self.trials:
            network = self.forecast(layers).network
            trial = self.measured.get(network) or self._measure(layers)
            self.measured[network] = self.trials[layers] = trial
            if self._is_better(layers):
                self.best = layers
        return self.budget.holds(self.trials[layers])

    def _measure(self, layers: Layers) -> Trial:
        if self.trials and self.clock() - self.start >= self.budget.max_seconds:
            raise _TimeOverError
        return self.evaluate(layers)

    def _is_better(self, layers: Layers) -> bool:
        """Whether a set beats the best so far: first the budget, then speed, else accuracy."""
        new, old = self.trials[layers], self.trials[self.best]
        if self.budget.holds(new) != self._found:
            return not self._found
        if not self._found:
            return isnan(old.points) or new.points > old.points
        slower, faster = sorted((new.milliseconds, old.milliseconds), reverse=True)
        if slower > faster * (1 + MARGIN):
            return new.milliseconds == faster
        return self._rank(layers) < self._rank(self.best)


def _unions(order: Sequence[Candidate]) -> list[Layers]:
    """Layers of the first 0, 1, 2 … candidates, without repetitions."""
    return list(dict.fromkeys(_growing(order)))


def _growing(order: Sequence[Candidate]) -> Iterator[Layers]:
    layers: Layers = frozenset()
    yield layers
    for one in order:
        layers |= one.layers
        yield layers
