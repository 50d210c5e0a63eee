"""Bias correction against the mean outputs of float and rounded layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.graph.convert import infer_shapes, to_bytes, to_model
from compiler.quantize.correct_bias import correct_bias, wanted_means
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Int8Options, plan_int8
from compiler.quantize.weights import RoundedWeights
from compiler.verify.integer import inspect_session_graph
from tests.quantize.networks import Quantized, as_range, measure, network
from tests.support.models import run

Means = Mapping[str, NDArray[np.float64]]


def coarse(weight: NDArray[np.float32]) -> RoundedWeights:
    """Two or three bits, so that rounding shows."""
    scale = np.float32(np.abs(weight).max() / 2.3)
    return RoundedWeights(np.rint(weight / scale).astype(np.int8), np.asarray(scale))


def mean_outputs(
    graph: gs.Graph, x: NDArray[np.float32], weight: NDArray[Any]
) -> NDArray[np.float64]:
    """Mean of each output channel (axis 1 of four, else the last) with another weight `w`."""
    other = graph.copy()
    other.tensors()["w"].values = weight.astype(np.float32)
    (output,) = run(to_model(other), {"x": x})
    axis = 1 if output.ndim == 4 else output.ndim - 1
    others = tuple(i for i in range(output.ndim) if i != axis)
    return np.asarray(output.astype(np.float64).mean(axis=others))


def check(text: str, x: NDArray[np.float32], mean: NDArray[np.float64], axis: int) -> None:
    """Correct a bias of zeros; what it takes is what rounding adds to the mean output."""
    graph = network(text)
    node = next(node for node in graph.nodes if node.op in ("Conv", "Gemm", "MatMul"))
    weight = graph.tensors()["w"].values
    rounded = coarse(weight)

    corrected = correct_bias(node, weight, rounded, None, mean, axis=axis)

    shift = mean_outputs(graph, x, rounded.real(axis)) - mean_outputs(graph, x, weight)
    assert corrected is not None
    np.testing.assert_allclose(-corrected, shift, rtol=1e-4, atol=1e-4 * np.abs(weight).max())


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    rates=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    auto_pad=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_a_constant_input_is_corrected_exactly_borders_included(
    groups: int,
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    rates: tuple[int, int],
    pads: tuple[int, ...],
    auto_pad: str,
) -> None:
    # ONNX Runtime refuses dilations with auto_pad = SAME.
    assume(auto_pad in ("NOTSET", "VALID") or rates == (1, 1))
    channels = groups * inputs
    padding = f"pads = {list(pads)}" if auto_pad == "NOTSET" else f'auto_pad = "{auto_pad}"'
    text = f"""g (float[1, {channels}, 7, 6] x) => (float[1, {groups * outputs}, h, w] y)
    <float[{groups * outputs}, {inputs}, {kernel[0]}, {kernel[1]}] w>
    {{ y = Conv<group = {groups}, strides = {list(strides)}, dilations = {list(rates)}, {padding}>
    (x, w) }}"""
    mean = np.arange(1, channels + 1) / 2
    x = np.broadcast_to(mean[None, :, None, None], (1, channels, 7, 6)).astype(np.float32)

    check(text, x, mean, axis=0)


@pytest.mark.parametrize(
    ("op", "shape", "axis"),
    [
        ("Gemm(x, w)", (5, 3), 1),
        ("Gemm<transB = 1>(x, w)", (3, 5), 0),
        ("MatMul(x, w)", (5, 3), 1),
    ],
)
def test_matrices_are_corrected_exactly(op: str, shape: tuple[int, int], axis: int) -> None:
    text = f"""g (float[4, 5] x) => (float[4, 3] y)
    <float[{shape[0]}, {shape[1]}] w> {{ y = {op} }}"""
    x = np.random.default_rng(0).random((4, 5), np.float32)

    check(text, x, x.mean(axis=0, dtype=np.float64), axis)


def test_the_correction_is_added_to_the_bias_and_rounded_once() -> None:
    node = network("""g (float[1, 2] x) => (float[1, 1] y)
    <float[2, 1] w, float[1] b> { y = Gemm(x, w, b) }""").nodes[0]
    weight = np.array([[0.75], [0.5]], np.float32)
    rounded = RoundedWeights(np.array([[1], [0]], np.int8), np.ones(1, np.float32))

    corrected = correct_bias(
        node, weight, rounded, np.array([3.0], np.float32), np.array([2.0, 0.5]), axis=1
    )

    np.testing.assert_array_equal(corrected, [3.0 - (0.25 * 2.0 - 0.5 * 0.5)])


def test_nothing_is_corrected_without_an_error_or_with_means_that_are_not_finite() -> None:
    node = network("""g (float[1, 2] x) => (float[1, 1] y)
    <float[2, 1] w> { y = Gemm(x, w) }""").nodes[0]
    weight = np.array([[1.0], [2.0]], np.float32)
    exact = RoundedWeights(np.array([[1], [2]], np.int8), np.ones(1, np.float32))
    wrong = RoundedWeights(np.array([[1], [3]], np.int8), np.ones(1, np.float32))
    bias = np.array([3.0], np.float32)

    assert correct_bias(node, weight, exact, None, np.ones(2), axis=1) is None
    assert correct_bias(node, weight, exact, bias, np.ones(2), axis=1) is bias
    assert correct_bias(node, weight, wrong, bias, np.array([1.0, np.inf]), axis=1) is bias
    assert correct_bias(node, weight, wrong, bias, np.array([1.0, 1.0]), axis=1) is not bias


def test_means_of_another_tensor_are_refused() -> None:
    graph = network("""g (float[1, 4, 5, 5] x) => (float[1, 2, 5, 5] y)
    <float[2, 2, 1, 1] w> { y = Conv<group = 2>(x, w) }""")
    weight = graph.tensors()["w"].values

    with pytest.raises(ValueError, match=r"'Conv_y': its input has 4 channels, .* shape \(2,\)"):
        correct_bias(graph.nodes[0], weight, coarse(weight), None, np.ones(2), axis=0)


NETWORK = """g (float[4, 8, 12, 12] x) => (float[4, 8, 12, 12] y)
<float[16, 8, 3, 3] w, float[16] b, float[16, 1, 3, 3] d, float[8, 16, 1, 1] v>
{ c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c)
  e = Conv<pads = [1, 1, 1, 1], group = 16>(r, d) s = Relu(e) y = Conv(s, v) }"""


def observe(graph: gs.Graph, x: NDArray[np.float32], wanted: Mapping[str, int]) -> Means:
    """Channel means of inner tensors."""
    wider = graph.copy()
    tensors = wider.tensors()
    names = [name for name in wanted if name != "x"]
    wider.outputs = [tensors[name] for name in names]
    values = {"x": x, **dict(zip(names, run(to_model(wider), {"x": x}), strict=True))}
    return {
        name: values[name].mean(
            axis=tuple(i for i in range(values[name].ndim) if i != axis), dtype=np.float64
        )
        for name, axis in wanted.items()
    }


def build(graph: gs.Graph, x: NDArray[np.float32], *, corrected: bool) -> Quantized:
    """Quantize at 3 bits per weight, so that weights alone make the noise."""
    plan = plan_int8(graph, Int8Options())
    ranges = measure(to_model(graph), plan, [{"x": x}])
    means = observe(graph, x, wanted_means(graph, plan))
    weights = {
        node.name: coarse(node.inputs[1].values) for node in graph.nodes if node.op == "Conv"
    }
    qdq = insert_qdq(graph, plan, ranges, means=means if corrected else None, weights=weights)
    infer_shapes(qdq)
    model = to_model(qdq)
    report = inspect_session_graph(model.SerializeToString(), plan.integer_nodes)
    return Quantized(graph, plan, ranges, qdq, model, report)


def test_a_network_of_coarse_weights_gains_from_corrected_biases() -> None:
    graph = network(NETWORK)
    x = np.random.default_rng(0).random((4, 8, 12, 12), np.float32) + 1
    before = to_bytes(to_model(graph))

    plain, corrected = (build(graph, x, corrected=flag) for flag in (False, True))

    held_out = np.random.default_rng(1).random((4, 8, 12, 12), np.float32) + 1
    assert corrected.sqnr_db({"x": held_out}) > plain.sqnr_db({"x": held_out}) + 3  # dB
    # Convolutions without a bias got one, and still run on integers.
    assert [len(node.inputs) for node in corrected.qdq.nodes if node.op == "Conv"] == [3, 3, 3]
    assert [len(node.inputs) for node in plain.qdq.nodes if node.op == "Conv"] == [3, 2, 2]
    assert corrected.report.operators["QLinearConv"] == 3
    assert to_bytes(to_model(graph)) == before
    assert to_bytes(corrected.model) == to_bytes(build(graph, x, corrected=True).model)


def test_two_readers_of_one_bias_get_corrections_of_their_own() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y, float[1, 2, 8, 8] z)
    <float[2, 2, 1, 1] w, float[2, 2, 1, 1] v, float[2] b>
    { y = Conv(x, w, b) z = Conv(x, v, b) }"""
    graph = network(text)
    graph.tensors()["v"].values = graph.tensors()["w"].values[::-1].copy()
    plan = plan_int8(graph, Int8Options(per_channel=False))
    ranges = {name: as_range(name, 0, 1) for name in plan.observed}

    qdq = insert_qdq(graph, plan, ranges, means={"x": np.array([1.0, 2.0])})

    biases = [node.inputs[2].inputs[0].inputs[0].values for node in qdq.nodes if node.op == "Conv"]
    plain = insert_qdq(graph, plan, ranges)
    (shared,) = {
        node.inputs[2].inputs[0].inputs[0].name for node in plain.nodes if node.op == "Conv"
    }
    assert shared == "b_quantized"
    assert not np.array_equal(biases[0], biases[1])


def test_means_are_wanted_of_the_inputs_of_integer_layers_that_have_or_may_have_a_bias() -> None:
    text = """g (float[1, 5, 4] x, float[1, 4, 3] t) => (float[1, 5, 3] y, float[1, 5, 3] z,
    float[1, 5, 3] p)
    <float[4, 3] w, float[3] b, float[4, 3] v>
    { m = MatMul(x, w) y = Add(m, b) z = MatMul(y, q) q = Identity(t) a = MatMul(x, t)
      p = Add(a, b) }"""
    text = text.replace(" z = MatMul(y, q) q = Identity(t)", " n = Relu(x) z = MatMul(n, v)")
    graph = network(text)
    plan = plan_int8(graph, Int8Options())

    assert wanted_means(graph, plan) == {"x": 2}


def test_means_along_two_axes_of_one_tensor_are_not_wanted() -> None:
    text = """g (float[1, 4, 6, 4] x) => (float[1, 2, 6, 4] y, float[1, 4, 6, 3] z)
    <float[2, 4, 1, 1] c, float[4, 3] w, float[3] b>
    { y = Conv(x, c) m = MatMul(x, w) z = Add(m, b) }"""
    graph = network(text)

    assert wanted_means(graph, plan_int8(graph, Int8Options())) == {}
