"""Scale and zero point of every stored tensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.ranges import TensorRange
from compiler.quantize.op_rules import ScaleFrom
from compiler.quantize.parameters import Parameters, constants_of, covering, tensor_parameters
from compiler.quantize.plan import Int8Options, Int8Plan, plan_int8
from tests.quantize.networks import as_range, network, quantize
from tests.support.models import random_feeds

TWO_BRANCHES = """g (float[1, 2, 8, 8] x) => (float[1, 2, 6, 6] y)
<float[3, 2, 1, 1] w, float[3, 2, 1, 1] v, float[2, 6, 3, 3] u>
{ a = Conv(x, w) {left} b = Conv(x, v) {right} c = Concat<axis = 1>(p, q) y = Conv(c, u) {more} }"""


def two_branches(left: str, right: str, more: str = "") -> Int8Plan:
    text = TWO_BRANCHES.replace("{left}", left).replace("{right}", right).replace("{more}", more)
    return plan_int8(network(text), Int8Options())


def solve(plan: Int8Plan, **bounds: tuple[float, float]) -> dict[str, Parameters]:
    ranges = {name: as_range(name, *bounds.get(name, (-1.0, 1.0))) for name in plan.observed}
    return tensor_parameters(plan, ranges, {})


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_covering_range_holds_both_ends_and_an_exact_zero(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)

    parameters = covering(low, high)

    slack = 0.51 * parameters.scale
    assert parameters.low <= min(low, 0) + slack
    assert parameters.high >= max(high, 0) - slack
    assert 0 <= parameters.zero_point <= 255


def test_nothing_but_zeros_has_scale_one() -> None:
    assert covering(0.0, 0.0) == Parameters(1.0, 0)


def test_concat_inputs_that_nobody_else_reads_take_the_scale_of_the_concat() -> None:
    plan = two_branches("p = Relu(a)", "q = Relu(b)")

    result = solve(plan, p=(0, 2), q=(0, 5))

    assert plan.tensors["c"].joins == ("p", "q")
    assert plan.observed == ("x", "p", "q", "y")
    assert result["p"] == result["q"] == result["c"] == Parameters(float(np.float32(5 / 255)), 0)


def test_a_concat_input_with_another_reader_keeps_its_finer_scale() -> None:
    text = TWO_BRANCHES.replace("float[1, 2, 6, 6] y)", "float[1, 2, 6, 6] y, float[1, 3, 8, 8] p)")
    plan = plan_int8(
        network(
            text.replace("{left}", "p = Relu(a)")
            .replace("{right}", "q = Relu(b)")
            .replace("{more}", "")
        ),
        Int8Options(),
    )

    result = solve(plan, p=(0, 2), q=(0, 5))

    assert plan.tensors["c"].joins == ("q",)
    assert result["p"].scale == np.float32(2 / 255)
    assert result["c"].scale == np.float32(5 / 255)


def test_a_relu_does_not_take_a_scale_with_another_zero_point() -> None:
    plan = two_branches("p = Relu(a)", "q = LeakyRelu(b)")

    result = solve(plan, p=(0, 2), q=(-1, 2))

    assert result["p"].zero_point == 0
    assert result["q"] == result["c"]
    assert result["c"].zero_point == 85


def test_a_clip_does_not_take_a_scale_that_would_not_clip() -> None:
    text = TWO_BRANCHES.replace(
        "float[2, 6, 3, 3] u>", "float[2, 6, 3, 3] u, float z = {0.0}, float s = {6.0}>"
    )
    text = text.replace("{left}", "p = Clip(a, z, s)").replace("{right}", "q = Relu(b)")
    plan = plan_int8(network(text.replace("{more}", "")), Int8Options())

    result = solve(plan, p=(0, 6), q=(0, 9))

    assert result["p"].scale == np.float32(6 / 255)
    assert result["q"] == result["c"] == Parameters(float(np.float32(9 / 255)), 0)


def test_a_scale_shared_through_a_pool_reaches_the_conv_before_it() -> None:
    pool = "MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
    plan = two_branches(f"r = Relu(a) p = {pool}(r)", "q = Relu(b)")

    result = solve(plan, r=(0, 1), q=(0, 4))

    assert plan.tensors["p"].source is ScaleFrom.INPUT
    assert result["r"] == result["p"] == result["c"] == result["q"]


def test_an_edited_scale_is_cut_to_the_bound_of_its_clip() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
    <float[2, 2, 1, 1] w, float z = {0.0}, float s = {6.0}>
    { a = Conv(x, w) b = Clip(a, z, s) y = Conv(b, w) }"""
    plan = plan_int8(network(text), Int8Options())

    assert solve(plan, b=(0, 12))["b"].scale == np.float32(6 / 255)


def test_a_range_below_zero_after_relu_is_refused() -> None:
    plan = two_branches("p = Relu(a)", "q = Relu(b)")

    with pytest.raises(ValueError, match="'p' is never negative, yet its zero point is 85"):
        solve(plan, p=(-1, 2))


def test_missing_ranges_are_listed() -> None:
    plan = two_branches("p = Relu(a)", "q = Relu(b)")
    known = {"x": TensorRange("x", "max", -1, 1, 1, 2 / 255, 128)}

    with pytest.raises(ValueError, match="no calibrated range for 'p', 'q', 'y'"):
        tensor_parameters(plan, known, {})


def test_a_constant_is_scaled_by_its_own_values() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
    <float[2, 2, 1, 1] w, float[2, 1, 1] k = {0.5, -0.5}>
    { a = Conv(x, w) b = Add(a, k) y = Conv(b, w) }"""
    graph = network(text)
    plan = plan_int8(graph, Int8Options())
    ranges = {name: as_range(name, -1, 1) for name in plan.observed}

    result = tensor_parameters(plan, ranges, constants_of(graph, plan))

    assert plan.tensors["k"].source is ScaleFrom.VALUES
    assert result["k"].scale == np.float32(1 / 255)


def test_a_tensor_of_zeros_takes_no_room_in_a_concat() -> None:
    text = """g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
    <float[2, 2, 1, 1] v, float[2, 2, 1, 1] u = {0.0, 0.0, 0.0, 0.0}, float[2, 4, 1, 1] w>
    { a = Conv(x, v)  z = Conv(x, u)  t = Concat<axis = 1>(a, z)  y = Conv(t, w) }"""
    result = quantize(network(text))
    assert result.ranges["z"].maximum == 0.0
    assert result.sqnr_db(random_feeds(result.model)) > 30
