"""How scales settle while samples are added, and which samples set extremes."""

from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.collect import collect
from calibration.growth import Extreme, Growth, Leader, rank_leaders
from calibration.ranges import range_of
from calibration.rules import THRESHOLD_RULES

Arrays: TypeAlias = dict[str, NDArray[Any]]  # Any: networks have several types


def samples(count: int, seed: int = 0) -> list[Arrays]:
    random = np.random.default_rng(seed)
    return [
        {"a": random.normal(0, 1, 4000).astype(np.float32), "b": random.random((2, 50))}
        for _ in range(count)
    ]


def grown(arrays: list[Arrays]) -> Growth:
    growth = Growth(len(arrays))
    for number, one in enumerate(arrays):
        growth.add(f"{number}.jpg", one.items())
    return growth


def test_gaps_are_those_of_sets_of_that_size() -> None:
    arrays = samples(6)
    settling = grown(arrays).settling()
    assert [one.method for one in settling] == list(THRESHOLD_RULES)
    for one in settling:
        assert one.counts == (1, 2, 4, 6)
        for count, gap in zip(one.counts, one.gaps, strict=True):
            few = collect(lambda sample: sample, arrays[:count])
            every = collect(lambda sample: sample, arrays)
            gaps = [
                abs(
                    range_of(name, few[name], one.method).scale
                    / range_of(name, every[name], one.method).scale
                    - 1
                )
                for name in every
            ]
            assert gap == max(gaps)  # nine tenths of two tensors are two
        assert one.gaps[-1] == 0


def test_equal_samples_settle_with_the_first() -> None:
    settling = grown(samples(1) * 8).settling()
    assert [one.settled for one in settling] == [1, 1, 1, 1]
    assert settling[0].counts == (1, 2, 4, 8)


def test_scales_that_jump_at_the_end_have_not_settled() -> None:
    arrays = samples(1) * 5
    arrays[-1] = {name: 3 * array for name, array in arrays[-1].items()}
    found = next(one for one in grown(arrays).settling() if one.method == "max")
    assert found.counts == (1, 2, 4, 5)
    assert found.settled is None
    assert found.gaps[0] == pytest.approx(2 / 3, rel=1e-6)


def test_scales_that_jump_before_the_end_settle_after_the_jump() -> None:
    arrays = samples(1) * 16
    arrays[2] = {name: 3 * array for name, array in arrays[2].items()}
    found = next(one for one in grown(arrays).settling() if one.method == "max")
    assert found.settled == 4


def test_one_sample_cannot_tell() -> None:
    assert {one.settled for one in grown(samples(1)).settling()} == {None}


def test_fewer_samples_than_announced_are_an_error() -> None:
    growth = Growth(2)
    growth.add("0.jpg", samples(1)[0].items())
    with pytest.raises(ValueError, match="1 samples were added, not 2"):
        growth.settling()


def test_a_tensor_without_finite_values_at_first_is_far_from_its_last_scale() -> None:
    growth = Growth(2)
    growth.add("0.jpg", [("a", np.array([np.nan]))])
    growth.add("1.jpg", [("a", np.array([1.0, -2.0]))])
    assert {one.gaps for one in growth.settling()} == {(1.0, 0.0)}


def test_nothing_observed_settles_at_once() -> None:
    growth = Growth(2)
    growth.add("0.jpg", [])
    growth.add("1.jpg", [])
    assert {one.gaps for one in growth.settling()} == {(0.0, 0.0)}
    assert growth.extremes() == ()


def test_extremes_name_the_sample_and_what_the_others_reach() -> None:
    growth = Growth(4)
    for name, value in (("w", 1.0), ("x", -5.0), ("y", 2.0), ("z", 4.0)):
        growth.add(name, [("a", np.array([value, 0.5])), ("b", np.array([], np.float32))])
    assert growth.extremes() == (Extreme("a", "x", 5.0, 4.0), Extreme("b", "w", 0.0, 0.0))


def test_what_is_not_finite_sets_no_extreme() -> None:
    growth = Growth(2)
    growth.add("x", [("a", np.array([np.inf, 3.0]))])
    growth.add("y", [("a", np.array([np.nan, -7.0]))])
    assert growth.extremes() == (Extreme("a", "y", 7.0, 3.0),)


def test_samples_are_ranked_by_the_tensors_they_lead() -> None:
    extremes = [
        Extreme("a", "x", 4.0, 2.0),
        Extreme("b", "y", 3.0, 1.0),
        Extreme("c", "x", 6.0, 4.0),
        Extreme("d", "z", 1.0, 0.0),
    ]
    assert rank_leaders(extremes) == (
        Leader("x", 2, 1.75),
        Leader("y", 1, 3.0),
        Leader("z", 1, 1.0),
    )
