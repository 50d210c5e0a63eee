"""Adaptive rounding against plain loops, and the same bits under any threads and order."""

import os
import subprocess
import sys

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.graph.convert import to_model
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Int8Options, plan_int8
from compiler.quantize.rounding import (
    MOST_WEIGHTS,
    can_round_adaptively,
    columns,
    gram,
    round_adaptively,
)
from compiler.quantize.weights import RoundedWeights, WeightScale, round_weights
from tests.quantize.networks import measure, network, run_all
from tests.support.models import run

GRID = 2048


def plain_rounding(
    weight: NDArray[np.float32], rounded: RoundedWeights, inputs: NDArray[np.int8]
) -> list[list[int]]:
    """One output after another, one weight after another, in integers of any size."""
    gram_matrix = [[int(a @ b) for b in inputs.astype(int)] for a in inputs.astype(int)]
    results = []
    for row, values, scale in zip(weight, rounded.values, rounded.scale, strict=True):
        stored = [int(value) for value in values]
        errors = [
            round((float(w) / float(scale) - q) * GRID) for w, q in zip(row, stored, strict=True)
        ]
        for _ in range(3):
            for i, error in enumerate(errors):
                step = (error > 0) - (error < 0)
                product = sum(e * h for e, h in zip(errors, gram_matrix[i], strict=True))
                change = GRID**2 * gram_matrix[i][i] - 2 * GRID * step * product
                if change < 0 and abs(stored[i] + step) <= rounded.levels:
                    stored[i] += step
                    errors[i] -= GRID * step
        results.append(stored)
    return results


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 4),
    inputs=st.integers(1, 9),
    count=st.integers(1, 20),
    rule=st.sampled_from(["max", "power2", "mse"]),
    seed=st.integers(0, 1000),
)
def test_weights_are_moved_as_a_plain_loop_moves_them(
    outputs: int, inputs: int, count: int, rule: WeightScale, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, inputs)).astype(np.float32)
    rounded = round_weights(weight, axis=0, rule=rule)
    drawn = rng.integers(-20, 128, (inputs, count)).astype(np.int8)

    result = round_adaptively(weight, rounded, gram(drawn[None]), axis=0)

    np.testing.assert_array_equal(result.values, plain_rounding(weight, rounded, drawn))
    np.testing.assert_array_equal(result.scale, rounded.scale)


def sample(
    seed: int = 0, outputs: int = 24, inputs: int = 300, count: int = 400
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """A weight and inputs that are alike and not negative, as behind a Relu."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, inputs)).astype(np.float32)
    mixed = rng.normal(size=(inputs, 20)) @ rng.normal(size=(20, count)) + 3
    return weight, np.clip(mixed * 6, 0, 127).astype(np.int8)


def output_error(
    weight: NDArray[np.float32], rounded: RoundedWeights, inputs: NDArray[np.int8]
) -> float:
    return float(np.square((rounded.real(0) - weight) @ inputs.astype(np.float64)).sum())


def test_the_output_is_nearer_than_with_nearest_rounding() -> None:
    weight, drawn = sample()
    seen, held_out = drawn[:, :300], drawn[:, 300:]
    nearest = round_weights(weight, axis=0)

    adaptive = round_adaptively(weight, nearest, gram(seen[None]), axis=0)

    assert output_error(weight, adaptive, seen) < output_error(weight, nearest, seen) / 8
    assert output_error(weight, adaptive, held_out) < output_error(weight, nearest, held_out) / 4
    steps = weight / nearest.scale[:, None].astype(np.float64)
    assert np.abs(steps - adaptive.values).max() < 1.001  # one of the two neighbours


def test_seven_bits_stay_seven_bits() -> None:
    weight, drawn = sample()
    nearest = round_weights(weight, axis=0, rule="mse", reduce_range=True)

    adaptive = round_adaptively(weight, nearest, gram(drawn[None]), axis=0)

    assert np.abs(adaptive.values.astype(int)).max() == 63
    assert not np.array_equal(adaptive.values, nearest.values)


def test_the_order_of_the_columns_does_not_show() -> None:
    weight, drawn = sample()
    nearest = round_weights(weight, axis=0)
    shuffled = np.random.default_rng(1).permutation(drawn, axis=1)

    grams = gram(drawn[None])

    np.testing.assert_array_equal(gram(shuffled[None]), grams)
    parts = gram(drawn[None, :, :150]) + gram(drawn[None, :, 150:])
    np.testing.assert_array_equal(parts, grams)
    np.testing.assert_array_equal(
        round_adaptively(weight, nearest, gram(shuffled[None]), axis=0).values,
        round_adaptively(weight, nearest, grams, axis=0).values,
    )


def test_layers_of_too_many_weights_are_told_apart() -> None:
    assert can_round_adaptively(np.zeros((MOST_WEIGHTS, 2), np.float32), axis=1)
    assert not can_round_adaptively(np.zeros((2, 1 + MOST_WEIGHTS // 9, 3, 3), np.float32), axis=0)


HASH = """
import hashlib
from compiler.quantize.rounding import gram, round_adaptively
from compiler.quantize.weights import round_weights
from tests.quantize.test_rounding import sample
weight, drawn = sample(outputs=32, inputs=500, count=1500)
found = round_adaptively(weight, round_weights(weight, axis=0), gram(drawn[None]), axis=0)
print(hashlib.sha256(found.values.tobytes()).hexdigest())
"""


def test_the_number_of_threads_and_the_kind_of_cpu_do_not_show() -> None:
    environments = (
        {"OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_NUM_THREADS": "3"},
        {"OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Nehalem"},
    )

    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for variables in environments
    }

    assert len(hashes) == 1


def test_sums_that_would_not_be_exact_are_refused() -> None:
    weight = np.full((1, 3), 1 / 3, np.float32)
    rounded = round_weights(weight, axis=0)

    with pytest.raises(ValueError, match="not exact in float64; take fewer columns"):
        round_adaptively(weight, rounded, np.full((1, 3, 3), 2.0**41), axis=0)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    rates=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
)
def test_weights_times_all_columns_are_the_outputs_of_a_convolution(
    groups: int,
    inputs: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    rates: tuple[int, int],
    pads: tuple[int, ...],
) -> None:
    channels = groups * inputs
    graph = network(f"""g (float[2, {channels}, 7, 6] x) => (float[2, {groups * 2}, h, w] y)
    <float[{groups * 2}, {inputs}, {kernel[0]}, {kernel[1]}] w>
    {{ y = Conv<group = {groups}, strides = {list(strides)}, dilations = {list(rates)},
    pads = {list(pads)}>(x, w) }}""")
    x = np.random.default_rng(0).integers(-60, 61, (2, channels, 7, 6)).astype(np.float32) * 2

    found = columns(graph.nodes[0], x, 10_000, seed=0, scale=1.0)

    (expected,) = run(to_model(graph), {"x": x})
    rows = graph.tensors()["w"].values.reshape(groups, 2, -1)
    outputs = 2 * (rows @ found.astype(np.float32)).reshape(groups * 2, 2, -1)
    np.testing.assert_allclose(
        outputs.transpose(1, 0, 2), expected.reshape(2, groups * 2, -1), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_columns_of_a_matrix_are_rows_of_its_input(op: str) -> None:
    shape = (4, 3) if op == "Gemm" else (2, 2, 3)
    size = ", ".join(map(str, shape))
    node = network(f"""g (float[{size}] x) => (float[{size}] y)
    <float[3, 3] w> {{ y = {op}(x, w) }}""").nodes[0]
    x = np.arange(12, dtype=np.float32).reshape(shape)

    found = columns(node, x, 3, seed=0, scale=0.5)

    assert found.shape == (1, 3, 3)
    assert found.dtype == np.int8
    rows = {tuple(row) for row in x.reshape(-1, 3).tolist()}
    assert {tuple(column) for column in found[0].T.astype(float).tolist()} < rows


def test_columns_are_chosen_by_the_seed_and_cut_at_127() -> None:
    node = network("""g (float[1, 1, 9, 9] x) => (float[1, 1, 9, 9] y)
    <float[1, 1, 1, 1] w> { y = Conv(x, w) }""").nodes[0]
    x = np.arange(-40, 41, dtype=np.float32).reshape(1, 1, 9, 9) * 10

    first, again, other = (columns(node, x, 20, seed, 1.0) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    everything = columns(node, x, 81, 0, 1.0)
    assert (everything.min(), everything.max()) == (-127, 127)
    assert not columns(node, np.full_like(x, np.nan), 81, 0, 1.0).any()


NETWORK = """g (float[4, 8, 12, 12] x) => (float[4, 8, 10, 10] y)
<float[16, 8, 3, 3] w, float[16] b, float[16, 1, 3, 3] d, float[8, 16, 3, 3] v>
{ c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c)
  e = Conv<pads = [1, 1, 1, 1], group = 16>(r, d) s = Relu(e) y = Conv(s, v) }"""


def test_a_network_gains_from_adaptive_rounding() -> None:
    graph = network(NETWORK)
    x, held_out = (
        np.random.default_rng(seed).random((4, 8, 12, 12), np.float32) for seed in (0, 1)
    )
    plan = plan_int8(graph, Int8Options(reduce_range=True))
    ranges = measure(to_model(graph), plan, [{"x": x}])
    wider = graph.copy()
    wider.outputs = [wider.tensors()[name] for name in ("r", "s")]
    values = {"x": x, **dict(zip("rs", run(to_model(wider), {"x": x}), strict=True))}
    nearest, adaptive = {}, {}
    for node in graph.nodes:
        if node.op == "Conv":
            weight, read = node.inputs[1].values, node.inputs[0].name
            drawn = columns(node, values[read], 500, 0, ranges[read].scale)
            nearest[node.name] = round_weights(weight, axis=0, reduce_range=True)
            adaptive[node.name] = round_adaptively(weight, nearest[node.name], gram(drawn), axis=0)

    def sqnr_db(weights: dict[str, RoundedWeights]) -> float:
        quantized = to_model(insert_qdq(graph, plan, ranges, weights=weights))
        (reference,), (actual,) = (
            run_all(model, {"x": held_out}) for model in (to_model(graph), quantized)
        )
        noise = np.square(reference - actual).sum()
        return float(10 * np.log10(np.square(reference).sum() / noise))

    assert sqnr_db(adaptive) > sqnr_db(nearest) + 1.0  # dB
    assert same_bytes(insert_qdq(graph, plan, ranges), nearest, graph)


def same_bytes(written: gs.Graph, weights: dict[str, RoundedWeights], graph: gs.Graph) -> bool:
    """Whether weights rounded beforehand are those that are written without them."""
    tensors = written.tensors()
    names = {node.name: node.inputs[1].name for node in graph.nodes if node.op == "Conv"}
    return all(
        np.array_equal(tensors[f"{names[node]}_quantized"].values, rounded.values)
        for node, rounded in weights.items()
    )
