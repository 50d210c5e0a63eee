"""Summaries of times: golden values, the definition, and what must hold of any values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.bench.statistics import percentiles, ratio_of, spread_of, summarise

TIMES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def test_a_summary_of_known_times_has_the_known_figures() -> None:
    summary = summarise([float(value) for value in range(1, 102)])

    assert (summary.count, summary.mean) == (101, 51.0)
    assert (summary.minimum, summary.maximum) == (1.0, 101.0)
    assert (summary.p50, summary.p90, summary.p95, summary.p99) == (51.0, 91.0, 96.0, 100.0)


def test_percentiles_between_two_values_are_interpolated() -> None:
    assert percentiles([10.0, 20.0], (0, 25, 50, 100)) == (10.0, 12.5, 15.0, 20.0)


def test_one_value_is_every_percentile() -> None:
    summary = summarise([3.5])

    assert {summary.minimum, summary.p50, summary.p99, summary.maximum, summary.mean} == {3.5}


@given(TIMES)
def test_percentiles_rank_as_a_written_out_rank_does(times: list[float]) -> None:
    ordered = sorted(times)
    for percent in (0, 12.5, 50, 90, 99, 100):
        rank = percent / 100 * (len(ordered) - 1)
        low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
        expected = low + (high - low) * (rank - math.floor(rank))

        assert percentiles(times, (percent,))[0] == pytest.approx(expected, rel=1e-9)


@given(TIMES)
def test_figures_of_a_summary_are_in_order(times: list[float]) -> None:
    summary = summarise(times)

    ranks = [summary.minimum, summary.p50, summary.p90, summary.p95, summary.p99, summary.maximum]
    assert ranks == sorted(ranks)
    assert summary.minimum * (1 - 1e-9) <= summary.mean <= summary.maximum * (1 + 1e-9)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no value was measured"):
        summarise([])


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    spread = spread_of([5.0, 1.0, 2.0, 4.0, 3.0])

    assert (spread.rounds, spread.lower, spread.median, spread.upper) == (5, 2.0, 3.0, 4.0)


def test_a_ratio_compares_medians_within_each_round() -> None:
    slow_machine_in_the_second_round = ([[2.0, 2.0, 90.0], [20.0]], [[1.0], [10.0, 9.0, 11.0]])

    ratio = ratio_of(*slow_machine_in_the_second_round)

    assert (ratio.rounds, ratio.median, ratio.lower, ratio.upper) == (2, 2.0, 2.0, 2.0)


def test_a_ratio_of_unequal_numbers_of_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_of([[1.0], [1.0]], [[1.0]])
