"""Every trap is found in a network that has it, and not in one that has not."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from calibration.histogram import Histogram
from calibration.ranges import clipped_range
from compiler.graph.convert import to_model
from compiler.quantize.data_trap import Evaluated, data_trap
from compiler.quantize.plan import Int8Options
from compiler.quantize.traps import (
    concat_traps,
    depthwise_tensors,
    depthwise_traps,
    tail_layers,
    tail_trap,
)
from tests.quantize.networks import Quantized, network, quantize, run_all
from tests.support.models import random_feeds

TWO_BRANCHES = """g (float[1, 4, 8, 8] x) => (float[1, 2, 8, 8] y)
<float[4, 4, 1, 1] w, float[4, 4, 1, 1] v, float[2, 8, 1, 1] u>
{ a = Conv(x, w) b = Conv(x, v) c = Concat<axis = 1>(a, b) y = Conv(c, u) }"""

DEPTHWISE = """g (float[1, 4, 8, 8] x) => (float[1, 2, 8, 8] y)
<float[8, 4, 1, 1] w, float[8, 1, 3, 3] v, float[2, 8, 1, 1] u>
{ a = Conv(x, w) r = Relu(a) d = Conv<group = 8, pads = [1, 1, 1, 1]>(r, v) y = Conv(d, u) }"""

THREE = """g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[4, 4, 1, 1] w, float[4, 4, 1, 1] v, float[4, 4, 1, 1] u>
{ a = Conv(x, w) b = Conv(a, v) c = Conv(b, u) y = Softmax<axis = 1>(c) }"""


def _scaled(text: str, weight: str, factors: NDArray[np.float64]) -> gs.Graph:
    """The network with the output channels of a weight multiplied."""
    graph = network(text)
    values = graph.tensors()[weight].values
    graph.tensors()[weight].values = (values.T * factors).T.astype(np.float32)
    return graph


@pytest.mark.parametrize("join", [True, False])
def test_a_concat_of_very_different_ranges_is_a_trap(*, join: bool) -> None:
    graph = _scaled(TWO_BRANCHES, "w", np.full(4, 1 / 500))
    graph.nodes[0].name = "small=>part"
    if not join:  # another reader keeps the scale of `a` apart
        graph.outputs.append(graph.tensors()["a"])
    found = quantize(graph)
    (trap,) = concat_traps(found.graph, found.plan, found.ranges)
    assert (trap.kind, trap.layers) == ("concat", ("Concat_c",))
    assert "which 'Conv_b' fills" in trap.evidence
    assert trap.evidence.endswith(("left 1 for 'small'", "left 0 for 'small'"))
    assert "exclude_layers" in trap.advice


def test_a_concat_of_like_ranges_is_none() -> None:
    found = quantize(network(TWO_BRANCHES))
    assert concat_traps(found.graph, found.plan, found.ranges) == ()


def test_a_concat_in_float_is_none() -> None:
    graph = _scaled(TWO_BRANCHES, "w", np.full(4, 1 / 500))
    found = quantize(graph, Int8Options(exclude_layers=("Concat_c",)))
    assert concat_traps(found.graph, found.plan, found.ranges) == ()


def _extremes(found: Quantized) -> dict[str, NDArray[np.float32]]:
    names = depthwise_tensors(found.graph, found.plan)
    wider = found.graph.copy()
    wider.outputs = [wider.tensors()[name] for name in names]
    model = to_model(wider)
    values = run_all(model, random_feeds(model))
    return {
        name: np.stack([one.min(axis=(0, 2, 3)), one.max(axis=(0, 2, 3))])
        for name, one in zip(names, values, strict=True)
    }


def test_uneven_channels_around_a_depthwise_layer_are_a_trap() -> None:
    found = quantize(_scaled(DEPTHWISE, "w", np.exp2(np.arange(-7.0, 1.0))))
    assert depthwise_tensors(found.graph, found.plan) == ("r", "d")
    (trap,) = depthwise_traps(found.graph, found.plan, found.ranges, _extremes(found))
    assert (trap.kind, trap.layers) == ("depthwise", ("Conv_d",))
    assert "of 8 channels of its input use fewer than 8 of 256 levels" in trap.evidence
    assert "of its output" in trap.evidence
    assert "weights" not in trap.evidence


def test_uneven_depthwise_weights_are_a_trap_where_they_share_a_scale() -> None:
    # What uneven weights make is uneven too, with a scale per channel or without.
    graph = _scaled(DEPTHWISE, "v", np.exp2(np.arange(-7.0, 1.0)))
    apart = quantize(graph, Int8Options(per_channel=True))
    (trap,) = depthwise_traps(apart.graph, apart.plan, apart.ranges, _extremes(apart))
    assert "its weights" not in trap.evidence
    shared = quantize(graph, Int8Options(per_channel=False))
    (trap,) = depthwise_traps(shared.graph, shared.plan, shared.ranges, _extremes(shared))
    assert "of 8 channels of its weights use" in trap.evidence


def test_even_channels_are_none() -> None:
    found = quantize(network(DEPTHWISE), Int8Options(per_channel=False))
    assert depthwise_traps(found.graph, found.plan, found.ranges, _extremes(found)) == ()


def test_channels_that_are_always_zero_do_not_count() -> None:
    found = quantize(_scaled(DEPTHWISE, "w", np.array([1, 1, 1, 1, 1, 0, 0, 0])))
    traps = depthwise_traps(found.graph, found.plan, found.ranges, _extremes(found))
    assert traps == ()


def _noise(found: Quantized) -> float:
    return float(10 ** (-found.sqnr_db(random_feeds(found.model)) / 10))


def _tail(bad: str) -> tuple[gs.Graph, tuple[str, ...], float, float]:
    """Noise with and without an integer tail, of a network that is bad at one weight.

    The weight gets a column that is much larger than the rest, for a channel that is always 0.
    """
    graph = network(THREE)
    graph.tensors()[{"v": "w", "u": "v"}[bad]].values[0] = 0
    graph.tensors()[bad].values[:, 0] = 2000
    found = quantize(graph)
    layers = tail_layers(found.graph, found.plan, frozenset({"Conv_c"}))
    in_float = quantize(graph, Int8Options(exclude_layers=layers))
    return graph, layers, _noise(found), _noise(in_float)


def test_a_head_that_makes_most_of_the_noise_is_a_trap() -> None:
    graph, layers, noise, left = _tail("u")
    assert layers == ("Conv_c",)
    trap = tail_trap(graph, layers, noise, left)
    assert trap is not None
    assert (trap.kind, trap.layers) == ("tail", ("Conv_c",))
    assert "ends in Conv on integers" in trap.evidence
    assert 0.5 < 1 - left / noise < 1


def test_noise_from_further_up_is_not_blamed_on_the_head() -> None:
    assert tail_trap(*_tail("v")) is None


def test_a_tail_in_float_is_none() -> None:
    found = quantize(network(THREE), Int8Options(exclude_layers=("Conv_c",)))
    layers = tail_layers(found.graph, found.plan, frozenset({"Conv_c"}))
    assert layers == ()
    assert tail_trap(found.graph, layers, 1.0, 0.0) is None


def test_a_softmax_on_integers_belongs_to_the_tail() -> None:
    text = THREE.replace("y = Softmax<axis = 1>(c)", "s = Softmax<axis = 1>(c) y = Conv(s, u)")
    found = quantize(network(text))
    layers = tail_layers(found.graph, found.plan, frozenset({"Conv_c"}))
    assert layers == ("Conv_c", "Softmax_s", "Conv_y")


def _evaluated(
    calibration: NDArray[np.float32], evaluation: NDArray[np.float32], threshold: float
) -> Evaluated:
    one, other = Histogram(), Histogram()
    one.add(calibration)
    other.add(evaluation)
    range_ = clipped_range("x", "max", one.minimum, one.maximum, threshold)
    axes = (0, 2)
    return Evaluated(
        "x",
        range_,
        one,
        other,
        calibration.mean(axis=axes, dtype=np.float64),
        evaluation.mean(axis=axes, dtype=np.float64),
    )


def _images(seed: int, scale: float = 1.0, shift: float = 0.0) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).uniform(-1, 1, (4, 3, 100))
    return np.asarray(scale * values + shift, np.float32)


def test_images_beyond_the_threshold_are_a_trap() -> None:
    trap = data_trap([_evaluated(_images(0), _images(1, scale=4.0), 1.0)])
    assert trap is not None
    assert (trap.kind, trap.layers) == ("data", ())
    assert "'x': 7" in trap.evidence
    assert "% of its values are clipped at 1 instead of 0.0%, the largest is 3.9" in trap.evidence


def test_images_whose_channels_have_other_means_are_a_trap() -> None:
    moved = _images(1, scale=0.3)
    moved[:, 2] += 0.6
    trap = data_trap([_evaluated(_images(0), moved, 1.0)])
    assert trap is not None
    assert "the mean of channel 2 is 0.6" in trap.evidence
    assert "clipped" not in trap.evidence


def test_images_of_the_same_kind_are_none() -> None:
    assert data_trap([_evaluated(_images(0), _images(1), 0.9)]) is None
    assert data_trap([]) is None


def test_values_at_the_threshold_are_not_clipped() -> None:
    saturated = np.clip(_images(1, scale=1.5), -1, 1)
    assert data_trap([_evaluated(_images(0), saturated, 1.0)]) is None


def test_means_that_are_not_finite_are_no_shift() -> None:
    one = _evaluated(_images(0), _images(1), 1.0)
    one.evaluation_means[:] = np.nan
    assert data_trap([one]) is None
