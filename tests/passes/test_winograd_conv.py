from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.cost.machine import BUILT_IN, Machine
from compiler.cost.model import CostModel
from compiler.cost.work import total_macs
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.winograd_conv import matrices, winograd_conv
from tests.support.models import model_from_text, ops, run

ERROR = 1e-5  # of the output range; 1e-6 is usual

# Multiplications are dear, memory is free: the method pays as often as it can.
SLOW = replace(BUILT_IN, conv_float=1.0, depthwise_float=0.0, matmul_float=0.0, byte=0.0, node=0.0)
# A matrix of 36 columns then costs more than the products that the second axis saves.
SLOW_MATMUL = replace(SLOW, matmul_float=8.0)


def network(
    kernel: tuple[int, int] = (3, 3),
    *,
    x: tuple[int, int, int, int] = (1, 16, 8, 8),
    channels: int = 16,
    attrs: str = "pads = [1, 1, 1, 1]",
    after: str = "",
    seed: int = 0,
) -> onnx.ModelProto:
    """y = Conv(x), and an operator `after` it; weights from `seed`."""
    shape = ", ".join(map(str, (channels, x[1] // (16 if "group" in attrs else 1), *kernel)))
    y = "c" if after else "y"
    return model_from_text(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        network (float[{", ".join(map(str, x))}] x) => (float[n, c, h, w] y)
        <float[{shape}] weight, float[{channels}] bias>
        {{
            {y} = Conv <{attrs}> (x, weight, bias)
            {f"y = {after} (c)" if after else ""}
        }}
        """,
        seed,
    )


def graph_of(model: onnx.ModelProto) -> gs.Graph:
    graph = to_graph(model)
    infer_shapes(graph)
    return graph


def rewritten(model: onnx.ModelProto, machine: Machine = SLOW) -> tuple[gs.Graph, onnx.ModelProto]:
    graph = graph_of(model)
    assert winograd_conv(graph, cost=CostModel(machine, "fp32")).changed == 1
    other = to_model(graph)
    check_model(other)
    return graph, other


def declined(model: onnx.ModelProto, machine: Machine = SLOW) -> list[str]:
    graph = graph_of(model)
    before = ops(graph)
    result = winograd_conv(graph, cost=CostModel(machine, "fp32"))
    assert result.changed == 0
    assert ops(graph) == before
    return [skip.reason for skip in result.skipped]


def error(
    model: onnx.ModelProto, other: onnx.ModelProto, x: NDArray[np.float32] | None = None
) -> float:
    """Largest difference in units of the range of the first."""
    feeds = None if x is None else {"x": x}
    (expected,), (actual,) = run(model, feeds), run(other, feeds)
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.ptp(expected))


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([(3, 3), (3, 1), (1, 3), (5, 3), (3, 2)]),
    batch=st.integers(1, 2),
    size=st.tuples(st.integers(12, 19), st.integers(12, 19)),
    inputs=st.sampled_from([16, 32]),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    after=st.sampled_from(["", "Relu"]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    positive=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_result_is_the_convolution_for_any_size_pads_and_kernel(
    kernel: tuple[int, int],
    batch: int,
    size: tuple[int, int],
    inputs: int,
    pads: tuple[int, int, int, int],
    after: str,
    scale: float,
    positive: bool,
    seed: int,
) -> None:
    shape = (batch, inputs, *size)
    model = network(kernel, x=shape, attrs=f"pads = {list(pads)}", after=after, seed=seed)
    _, other = rewritten(model)
    x = np.random.default_rng(seed).normal(size=shape, scale=scale).astype(np.float32)
    assert error(model, other, np.abs(x) if positive else x) < ERROR


@pytest.mark.parametrize(
    ("kernel", "attrs"),
    [
        ((3, 3), "strides = [2, 1], pads = [1, 1, 1, 1]"),
        ((3, 3), "strides = [1, 2], pads = [1, 1, 1, 1]"),
        ((3, 3), "dilations = [2, 1], pads = [2, 1, 2, 1]"),
        ((3, 3), "dilations = [1, 3], pads = [0, 2, 1, 3]"),
        ((2, 3), "strides = [2, 1], dilations = [2, 1]"),
    ],
)
def test_strides_and_dilations_of_the_other_axis_stay_in_the_products(
    kernel: tuple[int, int], attrs: str
) -> None:
    model = network(kernel, x=(1, 16, 11, 10), attrs=attrs)
    graph, other = rewritten(model)
    assert error(model, other) < ERROR
    assert len([node for node in graph.nodes if node.op == "Conv"]) == 6 + 6 + 1


def test_smooth_images_with_a_large_mean_keep_the_bound() -> None:
    model = network(x=(1, 32, 32, 32), channels=32, after="Relu")
    rows, columns = np.mgrid[0:32, 0:32] / 32
    waves = [np.sin(7 * k * rows + columns * (11 - k)) for k in range(32)]
    x = (120 + 100 * np.stack(waves)).astype(np.float32)[None]
    _, other = rewritten(model)
    assert error(model, other, x) < ERROR


def test_both_axes_need_a_quarter_of_the_products_and_one_axis_half() -> None:
    model = network(x=(1, 64, 16, 16), channels=64)
    direct = 64 * 64 * 9 * 16 * 16
    dense = {1: 6 * 3 / 4 / 9, 2: 36 / 16 / 9}  # share of the products that remain
    for machine, axes in ((SLOW, 2), (SLOW_MATMUL, 1)):
        graph, other = rewritten(model, machine)
        assert error(model, other) < ERROR
        products = [
            node for node in graph.nodes if node.op == "Conv" and node.inputs[1].shape[1] == 64
        ]
        assert len(products) == 6
        assert total_macs(gs.Graph(products)) == pytest.approx(dense[axes] * direct)


def test_one_axis_becomes_two_depthwise_layers_six_products_and_one_matrix() -> None:
    graph, _ = rewritten(network((1, 3), attrs="pads = [0, 1, 0, 1]"))
    assert sorted(ops(graph)) == sorted(
        6 * ["Conv", "Conv", "Transpose", "Reshape"]
        + ["Concat", "MatMul", "Reshape", "Transpose", "Conv"]
    )


def test_an_activation_still_follows_a_convolution() -> None:
    graph, _ = rewritten(network(after="Relu"))
    (relu,) = [node for node in graph.nodes if node.op == "Relu"]
    before = relu.inputs[0].inputs[0]
    assert before.op == "Conv"
    assert before.attrs["group"] == 16
    np.testing.assert_array_equal(before.inputs[1].values, np.ones((16, 1, 1, 1)))


def test_the_matrices_convolve() -> None:
    a, g, b = matrices()
    d, taps = np.arange(6.0) ** 2, np.array([2.0, -1.0, 3.0])
    expected = np.correlate(d, taps, mode="valid")
    np.testing.assert_allclose(a @ ((g @ taps) * (b @ d)), expected, rtol=1e-12)


def test_rows_of_the_input_transform_are_the_known_fractions() -> None:
    _, _, b = matrices()
    half = Fraction(2, 3) ** 2 + Fraction(3, 2) ** 2  # t^4 - half t^2 + 1 has the four points
    np.testing.assert_allclose(b[0], [1, 0, -float(half), 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(b[5], [0, 1, 0, -float(half), 0, 1], atol=1e-12)


def test_the_cost_decides() -> None:
    model = network(x=(1, 64, 16, 16), channels=64)
    (reason,) = declined(model, replace(BUILT_IN, byte=10.0))
    assert reason.startswith("it would not pay: ")
    assert "instead of 9.4 MMAC" in reason
    rewritten(network(x=(1, 256, 32, 32), channels=256), BUILT_IN)


def test_tensors_that_outgrow_the_caches_must_pay_more_clearly() -> None:
    assert len(declined(network(x=(1, 16, 640, 512)), replace(SLOW, matmul_float=10.0))) == 1
    rewritten(network(x=(1, 16, 64, 64)), replace(SLOW, matmul_float=10.0))


def test_channels_must_fill_the_blocks_of_the_engine() -> None:
    assert declined(network(x=(1, 12, 8, 8))) == ["its channels are not multiples of 16"]
    assert declined(network(channels=20)) == ["its channels are not multiples of 16"]


@pytest.mark.parametrize(
    ("kernel", "attrs"),
    [
        ((1, 1), "pads = [1, 1, 1, 1]"),
        ((5, 5), "pads = [2, 2, 2, 2]"),
        ((3, 3), "strides = [2, 2]"),
        ((3, 3), "dilations = [2, 2]"),
        ((3, 3), "group = 16"),
        ((3, 3), 'auto_pad = "SAME_UPPER"'),
    ],
)
def test_other_convolutions_are_no_sites(kernel: tuple[int, int], attrs: str) -> None:
    assert declined(network(kernel, attrs=attrs)) == []


def test_integer_builds_are_left_alone() -> None:
    graph = graph_of(network())
    assert winograd_conv(graph, cost=CostModel(SLOW, "int8")).changed == 0
