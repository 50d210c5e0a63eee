import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.evaluate.definitions import foreground_metric, mean_iou_metric
from compiler.evaluate.intervals import (
    difference_intervals,
    draw_counts,
    figure_intervals,
    percentile_interval,
)
from compiler.evaluate.metric import Figures, Vector, ratio
from compiler.runner.manifest import Postprocessing


def mean_of(sums: Vector) -> Figures:
    return {"mean": ratio(sums[..., 0], sums[..., 1])}


def units_of(values: NDArray[np.float64]) -> Vector:
    return np.stack([values, np.ones(len(values))], axis=1)


def class_pixels(images: int, classes: int, seed: int) -> Vector:
    """Pixels of every class that are right, in the truth, and predicted; shape (n, 3 classes)."""
    generator = np.random.default_rng(seed)
    right, missed, wrong = generator.poisson(40, (3, images, classes)).astype(np.float64)
    return np.concatenate([right, right + missed, right + wrong], axis=1)


def test_intervals_agree_with_a_loop_over_the_same_draws() -> None:
    metric = mean_iou_metric(Postprocessing("argmax"), 3, None)
    before, after = class_pixels(17, 3, seed=1), class_pixels(17, 3, seed=2)
    generator = np.random.Generator(np.random.PCG64(5))
    alone, apart = [], []
    for _ in range(300):
        drawn = generator.integers(0, 17, 17)
        first, second = (
            float(metric.figures(sum(units[i] for i in drawn))["mean_iou"])
            for units in (before, after)
        )
        alone.append(first)
        apart.append(second - first)
    one = figure_intervals(metric.figures, before, resamples=300, seed=5)["mean_iou"]
    np.testing.assert_allclose([one.low, one.high], np.percentile(alone, [2.5, 97.5]), rtol=1e-12)
    two = difference_intervals(metric.figures, before, after, resamples=300, seed=5)["mean_iou"]
    np.testing.assert_allclose(
        [two.low, two.high], np.percentile(apart, [2.5, 97.5]), rtol=0, atol=1e-10
    )
    assert one.value == metric.values(before)["mean_iou"]
    assert two.value == metric.values(after)["mean_iou"] - metric.values(before)["mean_iou"]


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    units = units_of(np.random.default_rng(0).normal(size=40))
    first = figure_intervals(mean_of, units, seed=3)
    assert first == figure_intervals(mean_of, units, seed=3)
    assert first != figure_intervals(mean_of, units, seed=4)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(10, 2, 2000)
    found = figure_intervals(mean_of, units_of(values), resamples=4000)["mean"]
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean(), rel=1e-12)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_19_of_20_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(2)
    sets = 400
    inside = 0
    for number in range(sets):
        values = generator.normal(3, 1, 50)
        found = figure_intervals(mean_of, units_of(values), resamples=400, seed=number)["mean"]
        inside += found.low <= 3 <= found.high
    # 0.95 nominal; the percentile interval of 50 values is slightly short; 3 deviations are 0.035.
    assert 0.90 <= inside / sets <= 0.98


def test_a_shift_is_told_from_noise_only_because_the_images_are_paired() -> None:
    generator = np.random.default_rng(3)
    hard = generator.normal(70, 20, 100)
    worse = hard - 1 + generator.normal(0, 0.5, 100)
    found = difference_intervals(mean_of, units_of(hard), units_of(worse))["mean"]
    assert found.excludes_zero
    assert found.low < -1 < found.high < -0.8
    one, other = (figure_intervals(mean_of, units_of(x))["mean"] for x in (hard, worse))
    assert one.low < other.high  # side by side the intervals overlap
    better = difference_intervals(mean_of, units_of(worse), units_of(hard))["mean"]
    assert better.excludes_zero
    same = difference_intervals(mean_of, units_of(hard), units_of(hard))["mean"]
    assert (same.value, same.low, same.high, same.excludes_zero) == (0, 0, 0, False)


def test_networks_on_other_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2 units cannot be paired"):
        difference_intervals(mean_of, np.ones((3, 2)), np.ones((2, 2)))


def test_a_figure_that_is_undefined_has_no_interval() -> None:
    for units in (np.zeros((4, 2)), np.zeros((0, 2)), np.array([[np.nan, 1.0], [1.0, 1.0]])):
        found = figure_intervals(mean_of, units, resamples=10)["mean"]
        assert np.isnan([found.value, found.low, found.high]).all()
        assert not found.excludes_zero


def test_an_image_that_is_left_out_changes_no_mean_of_either_network() -> None:
    metric = foreground_metric("foreground_iou", Postprocessing("binary"))
    empty, full = np.zeros((2, 2), int), np.ones((2, 2), int)
    images = (full, empty, full)
    table = np.stack([metric.compare(image, image) for image in images])
    found = figure_intervals(metric.figures, table)["foreground_iou"]
    assert (found.value, found.low, found.high) == (100, 100, 100)


def test_one_image_says_nothing_of_others() -> None:
    one = units_of(np.array([3.0]))
    left_out = np.concatenate([one, np.zeros((1, 2))])
    for units in (one, left_out):
        found = figure_intervals(mean_of, units)["mean"]
        assert found.value == 3
        assert np.isnan([found.low, found.high]).all()
        apart = difference_intervals(mean_of, units, units)["mean"]
        assert apart.value == 0
        assert np.isnan(apart.low)


def test_draws_do_not_depend_on_how_many_are_made_at_once() -> None:
    alone = np.concatenate(list(draw_counts(7, resamples=50, seed=4)))
    together = np.concatenate(list(draw_counts(7, resamples=50, seed=4, chunk=16)))
    assert np.array_equal(alone, together)
    assert (alone.sum(axis=1) == 7).all()


def test_an_interval_needs_a_value_and_draws() -> None:
    assert percentile_interval(1.0, np.array([0.0, 1.0, 2.0, np.nan])).low == pytest.approx(0.05)
    assert np.isnan(percentile_interval(np.nan, np.ones(3)).low)
    assert np.isnan(percentile_interval(1.0, np.full(3, np.nan)).high)


def test_the_value_is_summed_as_the_metric_says() -> None:
    units = units_of(np.array([1.0, 2.0, 6.0]))
    found = figure_intervals(mean_of, units, total=lambda rows: rows[:2].sum(axis=0))["mean"]
    assert found.value == 1.5
    apart = difference_intervals(mean_of, units, units + 1, total=lambda rows: rows[-1])["mean"]
    assert apart.value == 3.5 - 6


def test_5000_images_of_150_classes_fit_into_little_memory() -> None:
    metric = mean_iou_metric(Postprocessing("argmax"), 150, None)
    units = class_pixels(5000, 150, seed=0)
    assert units[0].size == metric.compare(np.zeros((2, 2), int), np.zeros((2, 2), int)).size
    tracemalloc.start()
    found = figure_intervals(metric.figures, units)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["mean_iou"].low < found["mean_iou"].value < found["mean_iou"].high
    assert peak < 100 * 2**20
