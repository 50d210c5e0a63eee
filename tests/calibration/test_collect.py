"""Collecting: one pass, bounded memory, the same histograms in any order."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.collect import Arrays, collect
from calibration.histogram import Histogram

Array = NDArray[np.float32]


def samples(count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(0)
    return [{"x": (random.standard_normal((1, 3, 8, 8)) * k).astype("f4")} for k in range(count)]


def network(feeds: Arrays) -> dict[str, NDArray[np.generic]]:
    return {"relu": np.maximum(feeds["x"], 0), "x": feeds["x"]}


def state(histograms: dict[str, Histogram]) -> dict[str, tuple[object, ...]]:
    return {
        name: (h.counts.tolist(), h.exponent, h.minimum, h.maximum, h.total, h.zeros, h.bad)
        for name, h in sorted(histograms.items())
    }


def test_every_tensor_of_every_sample_is_counted() -> None:
    histograms = collect(network, samples(5))

    assert list(histograms) == ["relu", "x"]
    assert [h.total for h in histograms.values()] == [5 * 192] * 2
    expected = Histogram()
    expected.add(np.concatenate([sample["x"] for sample in samples(5)]))
    np.testing.assert_array_equal(histograms["x"].counts, expected.counts)
    assert not histograms["relu"].signed


def test_the_order_of_samples_does_not_change_a_bit() -> None:
    forward = collect(network, samples(6))

    assert state(collect(network, reversed(samples(6)))) == state(forward)


def test_tensors_may_come_one_after_another() -> None:
    def one_by_one(feeds: Arrays) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield from network(feeds).items()

    assert state(collect(one_by_one, samples(3))) == state(collect(network, samples(3)))


def test_arrays_of_one_sample_are_gone_before_the_next_one_runs() -> None:
    alive: list[weakref.ref[Array]] = []

    def run(feeds: Arrays) -> dict[str, Array]:
        assert not [ref for ref in alive if ref() is not None]
        outputs = {name: np.full(8, 1.0, np.float32) for name in "abc"}
        alive.extend(weakref.ref(array) for array in outputs.values())
        return outputs

    collect(run, samples(3))

    assert len(alive) == 9


def test_an_array_is_gone_before_the_next_one_is_made() -> None:
    alive: list[weakref.ref[Array]] = []

    def run(feeds: Arrays) -> Iterator[tuple[str, Array]]:
        for name in "abc":
            assert not [ref for ref in alive if ref() is not None]
            pair = (name, np.full(8, 1.0, np.float32))
            alive.append(weakref.ref(pair[1]))
            yield pair
            del pair

    collect(run, samples(2))

    assert len(alive) == 6


def test_samples_are_read_one_at_a_time() -> None:
    events: list[str] = []

    def stream() -> Iterator[dict[str, Array]]:
        for index in range(2):
            events.append(f"read {index}")
            yield {"x": np.ones(3, np.float32)}

    def run(feeds: Arrays) -> Arrays:
        events.append("run")
        return feeds

    collect(run, stream(), on_sample=lambda done: events.append(f"done {done}"))

    assert events == ["read 0", "run", "done 1", "read 1", "run", "done 2"]


def test_values_that_are_not_finite_are_counted_per_tensor() -> None:
    sample = {"x": np.array([1.0, np.nan, np.inf], np.float32)}

    histogram = collect(lambda feeds: feeds, [sample, sample])["x"]

    assert (histogram.bad, histogram.total) == (4, 2)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no calibration samples: at least one is needed"):
        collect(network, [])
