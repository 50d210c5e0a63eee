from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes import FLOAT_PASSES
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.result import PassResult, Skip
from compiler.passes.run import run_passes
from tests.support.models import SHARED, model_from_text, ops, run

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'


def sqnr_db(actual: NDArray[Any], expected: NDArray[Any]) -> float:  # Any: float32, float64
    noise = np.square(actual.astype(np.float64) - expected).sum()
    signal = np.square(expected.astype(np.float64)).sum()
    return float(10 * np.log10(signal / noise)) if noise else np.inf


def network(
    body: str,
    *,
    given: str = "float[1, 4, 8, 8] x",
    wanted: str = "float[?, ?, ?, ?] y",
    weights: str = "float[4, 4, 3, 3] w",
) -> str:
    return f"{HEAD} g ({given}) => ({wanted}) <{weights}> {{ {body} }}"


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def converted(text: str) -> tuple[gs.Graph, PassResult]:
    """Converted graph, of which inputs, outputs, validity and accuracy have been checked."""
    graph = graph_of(text)
    ports = [(tensor.name, tensor.dtype) for tensor in [*graph.inputs, *graph.outputs]]
    result = cast_float16(graph)
    assert [(tensor.name, tensor.dtype) for tensor in [*graph.inputs, *graph.outputs]] == ports
    after = to_model(graph)
    check_model(after)
    for actual, expected in zip(run(after), run(model_from_text(text)), strict=True):
        assert actual.dtype == expected.dtype
        assert sqnr_db(actual, expected) > 50
    return graph, result


def kept(text: str) -> list[Skip]:
    graph = graph_of(text)
    result = cast_float16(graph)
    check_model(to_model(graph))
    return result.skipped


def test_a_network_computes_in_float16_between_two_casts() -> None:
    graph, result = converted(
        network("c = Conv(x, w)  r = Relu(c)  y = MaxPool<kernel_shape=[2,2]>(r)")
    )
    assert ops(graph) == ["Cast", "Conv", "Relu", "MaxPool", "Cast"]
    assert (result.changed, result.skipped, result.warnings) == (3, [], [])
    assert graph.nodes[1].inputs[1].dtype == np.float16
    assert [node.outputs[0].name for node in graph.nodes][1:3] == ["c", "r"]


def test_weights_shared_with_a_float32_node_are_kept_in_both_types() -> None:
    text = network("c = Mul(x, k)  y = Pow(c, k)", weights="float[1] k = {2.0}")
    graph, _ = converted(text)
    constants = {t.name: t.dtype for t in graph.tensors().values() if isinstance(t, gs.Constant)}
    assert constants == {"k_float16": np.float16, "k": np.float32}


def test_an_island_of_float32_has_one_cast_on_each_side() -> None:
    body = "a = Relu(x)  e = Exp(a)  l = Log(e)  p = Neg(l)  q = Abs(l)  y = Sub(p, q)"
    graph, result = converted(network(body))
    assert ops(graph).count("Cast") == 4
    assert sorted(ops(graph)) == sorted(["Cast"] * 4 + ["Relu", "Exp", "Log", "Neg", "Abs", "Sub"])
    reason = "exponentials, logarithms and products leave the range of float16"
    assert result.skipped == [Skip("e", reason), Skip("l", reason)]


def test_a_tensor_read_twice_is_cast_once() -> None:
    text = network("c = Relu(x)  a = Exp(c)  b = Exp(c)  y = Add(a, b)")
    graph, _ = converted(text)
    assert [n.inputs[0].name for n in graph.nodes if n.op == "Cast"] == [
        "x", "c", "a", "b", "y_float16",
    ]  # fmt: skip


def test_an_output_that_the_network_reads_itself_keeps_its_name_and_type() -> None:
    wanted = "float[1, 4, 8, 8] y, float[1, 4, 8, 8] z, float[1, 4, 8, 8] u"
    graph, _ = converted(network("y = Relu(x)  z = Neg(y)  u = Exp(y)", wanted=wanted))
    assert [n.inputs[0].name for n in graph.nodes if n.op == "Neg"] == ["y_float16"]
    assert [n.inputs[0].name for n in graph.nodes if n.op == "Exp"] == ["y"]
    assert ops(graph).count("Cast") == 3


def test_shape_arithmetic_reads_what_it_finds() -> None:
    body = "r = Relu(x)  s = Shape(r)  y = Reshape(r, s)"
    graph, result = converted(network(body))
    assert ops(graph).count("Cast") == 2
    assert result.skipped == []


def test_index_outputs_read_what_they_find() -> None:
    graph = graph_of(network("r = Relu(x)  y = ArgMax<axis = 1>(r)", wanted="int64[1,1,8,8] y"))
    assert cast_float16(graph).changed == 1
    assert ops(graph) == ["Cast", "Relu", "ArgMax"]
    check_model(to_model(graph))


def test_index_outputs_of_converted_nodes_keep_their_type() -> None:
    body = "y, i = MaxPool<kernel_shape = [2, 2]>(x)"
    graph, _ = converted(network(body, wanted="float[?, ?, ?, ?] y, int64[?, ?, ?, ?] i"))
    assert ops(graph) == ["Cast", "MaxPool", "Cast"]


def test_scales_of_resize_stay_in_float32_and_what_computes_them() -> None:
    body = """i = Shape(x)  n = Slice(i, two, four)  s = Cast<to = 1>(n)
    f = Concat<axis = 0>(ones, s)  g = Div(f, eight)  d = Mul(g, two_and_more)  r = Relu(x)
    y = Resize<mode = "nearest">(r, , d)"""
    weights = """int64[1] two = {2}, int64[1] four = {4}, float[2] ones = {8.0, 8.0},
    float[1] eight = {8.0}, float[4] two_and_more = {1.0, 1.0, 2.3, 1.7}"""
    graph, result = converted(network(body, weights=weights))
    resize = next(node for node in graph.nodes if node.op == "Resize")
    assert [t.dtype for t in resize.inputs if t.name] == [np.float16, np.float32]
    assert {skip.where: skip.reason for skip in result.skipped} == {
        "s": "the type of its output does not follow an input that can be float16",
        "f": "a Resize takes its scales from it",
        "g": "a Resize takes its scales from it",
        "d": "a Resize takes its scales from it",
    }


def test_the_grid_of_grid_sample_stays_in_float32() -> None:
    given = "float[1, 2, 4, 4] x, float[1, 3, 3, 2] grid"
    graph = graph_of(network("y = GridSample(x, grid)", given=given))
    cast_float16(graph)
    sample = next(node for node in graph.nodes if node.op == "GridSample")
    assert [tensor.dtype for tensor in sample.inputs] == [np.float16, np.float32]
    check_model(to_model(graph))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Softmax(x)", "exponentials, logarithms and products leave the range of float16"),
        ("y = ReduceL2<axes = [1]>(x)", "its sums of squares or products overflow in float16"),
        ("y = CumSum(x, axis)", "its sums of squares or products overflow in float16"),
        ("y, i = TopK(x, one)", "it orders by value, and float16 makes ties"),
        ("y = GlobalAveragePool(x)", "it sums 2304 values"),
        ("y = ReduceMean<axes = [2, 3]>(x)", "it sums 2304 values"),
        ("y = AveragePool<kernel_shape = [48, 48]>(x)", "it sums 2304 values"),
        ("y = InstanceNormalization(x, k, k)", "it sums 2304 values"),
        ("y = LayerNormalization<axis = 1>(x, k3)", "it sums 4608 values"),
        ("y = LayerNormalization<epsilon = 5.0e-8>(x, k1)", "its epsilon 5e-08 rounds to 0"),
        ("y = Add(x, tiny)", "'tiny' rounds to 0"),
        ("y = DynamicQuantizeDequantize(x)", "no schema tells the types of onnx DynamicQuant"),
    ],
)
def test_what_float16_would_break_stays_in_float32(body: str, reason: str) -> None:
    weights = """int64 axis = {1}, int64[1] one = {1}, float[2] k, float[48] k1,
    float[2, 48, 48] k3, float[1] tiny = {1.0e-12}"""
    graph = to_graph(model_from_text(network(body, given="float[1, 2, 48, 48] x", weights=weights)))
    if "Dequantize" not in body:
        infer_shapes(graph)

    result = cast_float16(graph)

    assert [skip.where for skip in result.skipped] == ["y"]
    assert reason in result.skipped[0].reason
    assert (result.changed, len(graph.nodes)) == (0, 1)


def test_short_sums_compute_in_float16() -> None:
    body = "a = GlobalAveragePool(x)  b = InstanceNormalization(x, k, k)  y = Add(a, b)"
    _, result = converted(network(body, weights="float[4] k"))
    assert (result.changed, result.skipped) == (3, [])


def test_group_norms_are_sums_over_a_group() -> None:
    text = network(
        "y = GroupNormalization<num_groups = 2>(x, k, k)",
        given="float[1, 4, 48, 48] x",
        weights="float[4] k",
    ).replace('"" : 17', '"" : 21')
    assert kept(text) == [Skip("y", "it sums 4608 values")]


def test_sums_of_unknown_length_stay() -> None:
    text = network("y = GlobalAveragePool(x)", given="float[1, 2, N, M] x")
    assert kept(text) == [Skip("y", "the length of its sums is unknown")]


def test_nodes_of_other_domains_and_unknown_types_stay() -> None:
    text = network("u = local.Twist(x)  y = Relu(u)", wanted="float[1, 4, 8, 8] y").replace(
        '["" : 17]', '["" : 17, "local" : 1]'
    )
    graph = to_graph(onnx.parser.parse_model(text.replace("<float[4, 4, 3, 3] w>", "")))
    unknown = "the element type of 'u' is unknown"
    assert cast_float16(graph).skipped == [Skip("u", unknown), Skip("y", unknown)]
    graph.tensors()["u"].dtype = np.dtype(np.float32)
    assert cast_float16(graph).skipped == [Skip("u", "no schema tells the types of local Twist")]
    assert ops(graph) == ["Twist", "Cast", "Relu", "Cast"]


def test_bodies_stay_in_float32_and_read_float32() -> None:
    body = """r = Relu(x)
    y = If (c) <then_branch = a () => (float[1, 4, 8, 8] p) { p = Exp(r) },
                else_branch = b () => (float[1, 4, 8, 8] q) { q = Neg(r) }>"""
    text = network(body, given="float[1, 4, 8, 8] x, bool c")
    graph = graph_of(text)

    result = cast_float16(graph)

    after = to_model(graph)
    check_model(after)
    assert result.skipped == [Skip("y", "its body stays in float32")]
    assert ops(graph) == ["Cast", "Relu", "Cast", "If"]
    x = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)
    for flag in (True, False):
        feeds = {"x": x, "c": np.array(flag)}
        expected = run(model_from_text(text), feeds)[0]
        assert sqnr_db(run(after, feeds)[0], expected) > 50


def test_what_was_observed_near_the_largest_float16_stays() -> None:
    graph = graph_of(network("a = Relu(x)  b = Neg(a)  y = Abs(b)"))
    result = cast_float16(graph, largest={"a": 8188.0, "b": 8189.0, "elsewhere": 1e9})
    reason = "'b' reaches about 8200"
    assert result.skipped == [Skip("b", reason), Skip("y", reason)]
    assert result.changed == 1


@pytest.mark.parametrize(
    ("magnitude", "shown"), [(np.inf, "inf"), (np.nan, "nan"), (8e9, "8000000000")]
)
def test_what_is_not_finite_or_beyond_float16_stays(magnitude: float, shown: str) -> None:
    graph = graph_of(network("y = Relu(x)"))
    result = cast_float16(graph, largest={"x": magnitude})
    assert result.skipped == [Skip("y", f"'x' reaches about {shown}")]


def test_initializers_beyond_the_range_are_clamped_and_named() -> None:
    weights = "float[2] big = {-1.0e9, 7.0e4}, float[2] fine = {65504.0, 1.0}"
    text = network(
        "a = Mul(x, big)  y = Mul(a, fine)",
        given="float[2] x",
        wanted="float[2] y",
        weights=weights,
    )
    graph = graph_of(text)
    result = cast_float16(graph)
    assert result.warnings == [
        "initializers clamped to ±65504, with the number of values: 'big' (2)"
    ]
    np.testing.assert_array_equal(graph.tensors()["big_float16"].values, [-65504, 65504])


def rounded(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], list[str]]:
    """What becomes of a MatMul's weight, and the warnings."""
    text = network("y = MatMul(x, k)", given=f"float[1, {len(values)}] x", weights="float[1] k")
    model = model_from_text(text.replace("float[?, ?, ?, ?] y", "float[1, ?] y"))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "k"))
    graph = to_graph(model)
    infer_shapes(graph)
    result = cast_float16(graph)
    return graph.tensors()["k_float16"].values, result.warnings


def test_values_below_the_normal_range_become_0_where_rounding_takes_more() -> None:
    tiny, small = 1e-5, 2.0**-9
    values = np.array([[1, tiny, 1], [tiny, tiny, small], [1, 1, 1]], np.float32)
    actual, warnings = rounded(values)
    np.testing.assert_array_equal(actual == 0, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(actual[1, :2], 1e-5, rtol=2**-8)
    assert warnings == [
        "33.33% of 9 initializer values are below 6.1e-05: 1 became 0, 2 lost digits (subnormal); "
        "most in 'k' (3)"
    ]


def test_values_of_a_vector_stay_though_they_lose_digits() -> None:
    weights = "float[4] k = {1.0, 1.0e-5, 1.0e-9, 0.0}"
    graph = graph_of(
        network("y = Mul(x, k)", given="float[4] x", wanted="float[4] y", weights=weights)
    )
    assert cast_float16(graph).warnings == [
        "50.00% of 4 initializer values are below 6.1e-05: 1 became 0, 1 lost digits (subnormal); "
        "most in 'k' (2)"
    ]


def test_a_scalar_is_never_flushed_while_float16_has_it() -> None:
    weights = "float k = {1.0e-5}"
    graph = graph_of(network("y = Mul(x, k)", weights=weights))
    cast_float16(graph)
    assert graph.tensors()["k_float16"].values == np.float16(1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_what_becomes_0_is_no_more_than_rounding_takes_from_its_row_and_column(
    seed: int, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(seed)
    values = (
        rng.normal(size=(rows, columns)) * 2.0 ** rng.integers(-20, 3, (rows, columns))
    ).astype("f4")
    values[rng.random(values.shape) < 0.1] = 0
    values[0, 0] = 1.0  # a weight that is tiny altogether stays in float32
    actual, _ = rounded(values)
    half = values.astype(np.float16)
    flushed = (actual == 0) & (half != 0)
    assert (np.abs(half[flushed]) < 2.0**-14).all()
    np.testing.assert_array_equal(actual[~flushed], half[~flushed])
    magnitudes = np.abs(half.astype(np.float64))
    for row, lost in [
        *zip(magnitudes, flushed, strict=True),
        *zip(magnitudes.T, flushed.T, strict=True),
    ]:
        assert row[lost].sum() <= row.sum() / 2**11


def test_casts_of_the_network_itself_that_become_idle_go() -> None:
    body = "a = Relu(x)  h = Cast<to = 10>(a)  n = Neg(h)  s = Cast<to = 1>(n)  y = Abs(s)"
    graph, result = converted(network(body))
    assert ops(graph) == ["Cast", "Relu", "Neg", "Abs", "Cast"]
    assert result.changed == 2


def test_a_half_output_of_the_network_keeps_its_cast_when_its_name_cannot_move() -> None:
    graph = graph_of(
        network("y = Cast<to = 10>(x)  z = Relu(x)", wanted="float16[1,4,8,8] y, float[1,4,8,8] z")
    )
    cast_float16(graph)
    assert sorted(ops(graph)) == ["Cast", "Cast", "Cast", "Relu"]
    check_model(to_model(graph))


@settings(max_examples=25, deadline=None)
@given(
    layers=st.lists(
        st.sampled_from(["Conv<pads=[1,1,1,1]>(@, w)", "Relu(@)", "Sigmoid(@)", "Softmax(@)",
                         "AveragePool<kernel_shape=[2,2]>(@)", "Transpose<perm=[0,1,3,2]>(@)",
                         "Add(@, @)", "HardSwish(@)", "Softplus(@)", "Concat<axis=2>(@, @)"]),
        min_size=1, max_size=6,
    ),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_random_networks_of_unit_gain_keep_50_db(layers: list[str], seed: int) -> None:
    """No node cancels digits, and logits stay small: Softmax amplifies errors by their size."""
    body = " ".join(f"t{i + 1} = {layer.replace('@', f't{i}')}" for i, layer in enumerate(layers))
    text = network(
        body,
        given="float[1, 4, 8, 8] t0",
        wanted=f"float[?, ?, ?, ?] t{len(layers)}",
    )
    model = model_from_text(text, seed)
    (weight,) = model.graph.initializer
    gain = 1 / 6  # each output sums 36 products
    weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * np.float32(gain)).tobytes()
    graph = to_graph(model)
    infer_shapes(graph)
    cast_float16(graph)
    check_model(to_model(graph))
    assert sqnr_db(run(to_model(graph), seed=seed)[0], run(model, seed=seed)[0]) > 50


def picture(size: tuple[int, int], mean: Any, std: Any, order: int) -> NDArray[np.float32]:
    """The first calibration image, (x / 255 - mean) / std; order -1 for BGR. Any: numbers."""
    path = sorted((SHARED / "data" / "human" / "calib").iterdir())[0]
    pixels = np.asarray(Image.open(path).convert("RGB").resize(size[::-1]), np.float32)
    scaled = (pixels[..., ::order] / 255 - np.array(mean)) / np.array(std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


@pytest.mark.skipif(not SHARED.exists(), reason="the trained networks are not beside the clone")
@pytest.mark.parametrize(
    ("name", "shape", "mean", "std", "order"),
    [
        ("unet3p_human_128", {"input": [1, 3, 128, 128]}, 0.0, 1.0, 1),
        (
            "unet_camvid_192x256",
            {"input": [1, 3, 192, 256]},
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
            1,
        ),
        ("prisma_nchw", {"input_3": [1, 3, 256, 256]}, 0.0, 1.0, 1),
        (
            "SINet",
            {"data": [1, 3, 320, 320]},
            [0.42080, 0.45372, 0.51905],
            [63.97182, 65.1337, 68.29726],
            -1,
        ),
    ],
)
def test_trained_networks_keep_50_db(
    name: str, shape: dict[str, list[int]], mean: Any, std: Any, order: int
) -> None:
    graph = load_onnx(SHARED / "models" / f"{name}.onnx", shape).graph
    ((port, size),) = shape.items()
    feeds = {port: picture((size[2], size[3]), mean, std, order)}
    expected = run(to_model(graph), feeds)[0]
    run_passes(graph, FLOAT_PASSES)
    cast_float16(graph)
    after = to_model(graph)
    check_model(after)
    assert sqnr_db(run(after, feeds)[0], expected) > 50
