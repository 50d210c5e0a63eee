"""From sums of single nodes to layers of the original network."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.verify.metrics import SQNR_CEILING_DB, Agreement
from compiler.verify.sensitivity import (
    LayerSensitivity,
    Part,
    from_json,
    layer_sensitivities,
    rank,
    to_json,
)


def _noisy(decibels: float) -> Agreement:
    """Reference of power 1, noise of that SQNR at right angles to it."""
    noise = 10 ** (-decibels / 10)
    agreement = Agreement()
    agreement.add_sums(1.0, 1.0 + noise, noise)
    return agreement


def _part(
    layer: str, isolated: float, accumulated: float = 20.0, op: str = "Conv", macs: int = 10
) -> Part:
    return Part(layer, op, f"{layer}_out", _noisy(isolated), _noisy(accumulated), macs)


@given(st.integers(0, 2**16), st.floats(1e-3, 1.0), st.integers(1, 3))
def test_sums_say_the_same_as_the_values(seed: int, noise: float, samples: int) -> None:
    random = np.random.default_rng(seed)
    values, sums = Agreement(), Agreement()
    for _ in range(samples):
        reference = random.normal(size=100)
        other = reference + noise * random.normal(size=100)
        values.add(reference, other)
        error = reference - other
        one, two, three = (float(vector @ vector) for vector in (reference, other, error))
        sums.add_sums(one, two, three, float(np.abs(error).max()))
    assert sums.sqnr_db == pytest.approx(values.sqnr_db, abs=1e-9)
    assert sums.cosine == pytest.approx(values.cosine, abs=1e-12)
    assert sums.max_error == values.max_error


def test_the_cosine_hardly_feels_errors_of_large_float32_sums() -> None:
    exact, rough = Agreement(), Agreement()
    exact.add_sums(1e9, 1e9, 1e5)
    rough.add_sums(1e9 * (1 + 1e-6), 1e9 * (1 - 1e-6), 1e5)
    assert exact.cosine == pytest.approx(1 - 5e-5)
    assert rough.cosine == pytest.approx(exact.cosine, abs=1e-9)


@pytest.mark.parametrize("sums", [(math.nan, 1.0, 1.0), (1.0, math.inf, 1.0), (1.0, 1.0, math.nan)])
def test_sums_that_are_not_finite_are_the_worst(sums: tuple[float, float, float]) -> None:
    agreement = Agreement()
    agreement.add_sums(1.0, 1.0, 0.0)
    agreement.add_sums(*sums)
    assert (agreement.sqnr_db, agreement.cosine) == (-SQNR_CEILING_DB, 0.0)


def test_every_layer_has_its_figures_and_its_share_of_the_noise() -> None:
    first, second = layer_sensitivities([_part("a", 20.0, 19.0), _part("b", 30.0, 15.0)])
    assert first == LayerSensitivity(
        layer="a",
        op="Conv",
        tensor="a_out",
        isolated_sqnr_db=20.0,
        isolated_cosine=round(1 / math.sqrt(1.01), 8),
        accumulated_sqnr_db=19.0,
        accumulated_cosine=round(1 / math.sqrt(1 + 10**-1.9), 8),
        share=round(0.01 / 0.011, 6),
        macs=10,
    )
    assert first.share + second.share == pytest.approx(1.0, abs=1e-6)
    assert (second.isolated_sqnr_db, second.accumulated_sqnr_db) == (30.0, 15.0)


def test_parts_of_a_layer_are_one_entry_as_bad_as_the_worst_of_them() -> None:
    parts = [
        Part("up", "Conv", "up=>left", _noisy(40), _noisy(35), 7),
        Part("other", "Add", "sum", _noisy(50), _noisy(36)),
        Part("up", "MatMul", "up=>right", _noisy(25), _noisy(34), 8),
        Part("up", "Concat", "up_out", _noisy(45), _noisy(33)),
    ]
    up, other = layer_sensitivities(parts)
    assert (up.layer, up.op, up.tensor, up.macs) == ("up", "MatMul", "up_out", 15)
    assert (up.isolated_sqnr_db, up.accumulated_sqnr_db) == (25.0, 33.0)
    assert up.isolated_cosine == pytest.approx(1 / math.sqrt(1 + 10**-2.5), abs=1e-8)
    assert (other.layer, other.macs) == ("other", 0)


def test_an_exact_network_and_a_broken_layer_have_shares_too() -> None:
    exact, broken = Agreement(), Agreement()
    exact.add_sums(1.0, 1.0, 0.0)
    broken.add_sums(1.0, math.inf, math.inf)
    alike = layer_sensitivities(Part(name, "Conv", name, exact, exact) for name in "ab")
    assert [layer.share for layer in alike] == [0.5, 0.5]
    mixed = [Part("a", "Conv", "a", exact, exact), Part("b", "Conv", "b", broken, broken)]
    assert [layer.share for layer in layer_sensitivities(mixed)] == [0.0, 1.0]
    assert layer_sensitivities([]) == ()


def test_the_worst_isolated_layer_comes_first_and_equal_ones_stay_in_order() -> None:
    parts = [_part("a", 30), _part("b", 20), _part("c", 30), _part("d", 10, accumulated=40)]
    assert [layer.layer for layer in rank(layer_sensitivities(parts))] == ["d", "b", "a", "c"]


def test_json_keeps_the_order_and_every_field() -> None:
    layers = layer_sensitivities([_part("a", 30), _part("b", 20)])
    facts = to_json(layers)
    assert [one["layer"] for one in facts] == ["a", "b"]
    assert from_json(facts) == layers
    with pytest.raises(TypeError):
        from_json([{"layer": "a"}])
