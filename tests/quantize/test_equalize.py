"""Rescaled channels: the float network stays the same to the last bit, int8 gains."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.graph.convert import check_model, to_model
from compiler.quantize.equalize import (
    Declined,
    Equalization,
    equalization_tensors,
    equalize,
)
from compiler.quantize.predicted_noise import Activation, Reader
from compiler.quantize.rescaling import weight_view
from tests.quantize.networks import Feeds, network, quantize
from tests.support.models import random_feeds, run

CHAIN = """g (float[1, 4, 9, 9] x) => (float[1, 5, ?, ?] y)
<float[8, 4, 3, 3] w, float[8] b, float[5, {inputs}, 1, 1] v, float[1, 8, 1, 1] s>
{{ c = Conv(x, w, b) {between} y = Conv(r, v) }}"""

BETWEEN = {
    "nothing": "r = Identity(c)",
    "relu": "r = Relu(c)",
    "leaky": "r = LeakyRelu<alpha = 0.2>(c)",
    "prelu": "r = PRelu(c, s)",
    "max_pool": "a = Relu(c) r = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
    "average_pool": "a = Relu(c) r = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)",
    "mean": "a = Relu(c) r = GlobalAveragePool(a)",
    "maximum": "a = Relu(c) r = GlobalMaxPool(a)",
    "nearest": "a = Relu(c) f = Constant<value = float[4] {1., 1., 2., 2.}>() "
    'r = Resize<mode = "nearest">(a, , f)',
    "linear": "a = Relu(c) f = Constant<value = float[4] {1., 1., 2., 2.}>() "
    'r = Resize<mode = "linear">(a, , f)',
    "cubic": "a = Relu(c) f = Constant<value = float[4] {1., 1., 2., 2.}>() "
    'r = Resize<mode = "cubic">(a, , f)',
    "pad": "a = Relu(c) p = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>() r = Pad(a, p)",
    "pad_zero": "p = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>() "
    "z = Constant<value = float {0.}>() r = Pad(c, p, z)",
    "reflect": "p = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>() "
    'r = Pad<mode = "reflect">(c, p)',
    "slice": "f = Constant<value = int64[1] {1}>() t = Constant<value = int64[1] {5}>() "
    "x2 = Constant<value = int64[1] {2}>() r = Slice(c, f, t, x2)",
    "slice_steps": "f = Constant<value = int64[1] {1}>() t = Constant<value = int64[1] {5}>() "
    "x2 = Constant<value = int64[1] {2}>() o = Constant<value = int64[1] {2}>() "
    "r = Slice(c, f, t, x2, o)",
    "turn": "r = Transpose<perm = [0, 1, 3, 2]>(c)",
    "reshape": "d = Constant<value = int64[4] {1, 8, 49, 1}>() r = Reshape(c, d)",
    "times": "r = Mul(c, s)",
    "over": "r = Div(c, s)",
    "plus": "a = Add(s, c) r = Relu(a)",
    "plus_one_number": "u = Constant<value = float[1] {0.5}>() a = Add(c, u) r = Relu(a)",
    "clip_below": "l = Constant<value = float {0.}>() r = Clip(c, l)",
    "twice": "a = Relu(c) p = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a) "
    "r = Concat<axis = 1>(a, p)",
}


def extremes(graph: gs.Graph, samples: Sequence[Feeds]) -> dict[str, NDArray[np.float32]]:
    """Smallest and largest value per channel of every tensor that `equalize` asks for."""
    model = to_model(graph)
    wanted = equalization_tensors(graph)
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in wanted
        if name not in present
    )
    names = [output.name for output in model.graph.output]
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for feeds in samples:
        values = dict(zip(names, run(model, feeds), strict=True))
        for name in wanted:
            found[name].append(np.moveaxis(values[name], 1, 0).reshape(values[name].shape[1], -1))
    joined = {name: np.concatenate(arrays, axis=1) for name, arrays in found.items()}
    return {name: np.stack([each.min(1), each.max(1)]) for name, each in joined.items()}


def spread(graph: gs.Graph, name: str, *, seed: int = 0, octaves: float = 6.0) -> None:
    """Make the output channels of a linear node very uneven."""
    node = next(node for node in graph.nodes if node.name == name)
    channels = node.outputs[0].shape[1]
    factors = np.exp2(-octaves * np.random.default_rng(seed).random(channels)).astype("f4")
    node.inputs[1].values = node.inputs[1].values.copy()
    weight = weight_view(node)
    weight *= factors.reshape(*weight.shape[:2], 1, 1)
    added = [t for reader in node.outputs[0].outputs for t in reader.inputs if node.op == "MatMul"]
    for bias in [*node.inputs[2:], *added]:
        if isinstance(bias, gs.Constant):
            bias.values = bias.values * factors


def samples_of(graph: gs.Graph, count: int = 2) -> list[Feeds]:
    return [random_feeds(to_model(graph), seed) for seed in range(count)]


def equalized(graph: gs.Graph) -> tuple[gs.Graph, Equalization]:
    """An equalized copy, valid and with the same outputs to the last bit."""
    samples = samples_of(graph)
    after = graph.copy()
    result = equalize(after, extremes(graph, samples))
    check_model(to_model(after))
    for feeds in samples:
        for one, other in zip(
            run(to_model(after), feeds), run(to_model(graph), feeds), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    return after, result


def chain(between: str) -> gs.Graph:
    return network(CHAIN.format(between=between, inputs=16 if "Concat" in between else 8))


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_factors_pass_what_scales_with_its_input(between: str) -> None:
    graph = chain(between)
    spread(graph, "Conv_c")
    _, result = equalized(graph)

    assert [each.where for each in result.rescaled] == ["c"]
    assert result.rescaled[0].largest >= 4 * result.rescaled[0].smallest
    assert result.rescaled[0].noise <= 0.8


LINEAR = {
    "grouped": (
        "g (float[2, 4, 7, 7] x)",
        "r = Conv<group = 2>(x, w, b)",
        "8, 2, 3, 3",
        "5, 8, 1, 1",
    ),
    "gemm": ("g (float[2, 4] x)", "r = Gemm<transB = 1>(x, w, b)", "8, 4", "8, 5"),
    "gemm_plain": ("g (float[2, 4] x)", "r = Gemm<alpha = 0.5>(x, w, b)", "4, 8", "8, 5"),
    "matmul": ("g (float[2, 4] x)", "m = MatMul(x, w) r = Add(m, b)", "4, 8", "8, 5"),
    "signal": ("g (float[2, 4, 9] x)", "r = Conv(x, w, b)", "8, 4, 3", "5, 8, 1"),
    "transposed": (
        "g (float[2, 4, 7, 7] x)",
        "r = ConvTranspose(x, w, b)",
        "4, 8, 3, 3",
        "5, 8, 1, 1",
    ),
    "transposed_groups": (
        "g (float[2, 4, 7, 7] x)",
        "r = ConvTranspose<group = 2>(x, w, b)",
        "4, 4, 3, 3",
        "5, 8, 1, 1",
    ),
}


@pytest.mark.parametrize(("head", "maker", "shape", "reader"), LINEAR.values(), ids=LINEAR)
def test_linear_layers_of_every_kind_take_factors(
    head: str, maker: str, shape: str, reader: str
) -> None:
    dims = ", ".join("?" * len(reader.split(",")))
    op = "Conv" if len(reader) > 4 else "MatMul"
    graph = network(
        f"{head} => (float[{dims}] y) <float[{shape}] w, float[8] b, float[{reader}] v>"
        f"{{ {maker} a = Relu(r) y = {op}(a, v) }}"
    )
    spread(graph, graph.nodes[0].name)
    _, result = equalized(graph)

    assert result.changed == 1
    assert result.rescaled[0].largest > 1


@pytest.mark.parametrize(
    ("reader", "shape"),
    [
        ("Conv<group = 4>", "4, 2, 3, 3"),
        ("ConvTranspose", "8, 5, 2, 2"),
        ("ConvTranspose<group = 2>", "8, 3, 2, 2"),
    ],
)
def test_layers_of_every_kind_take_factors_back(reader: str, shape: str) -> None:
    graph = network(
        f"g (float[1, 4, 7, 7] x) => (float[1, ?, ?, ?] y) <float[8, 4, 3, 3] w, float[{shape}] v>"
        f"{{ c = Conv(x, w) r = Relu(c) y = {reader}(r, v) }}"
    )
    spread(graph, "Conv_c")
    _, result = equalized(graph)

    assert result.changed == 1


def test_all_readers_take_factors_back_also_behind_a_concat_of_two_sites() -> None:
    graph = network(
        """g (float[1, 4, 8, 8] x) => (float[1, 3, 4, 4] y, float[1, 4, 8, 8] z)
        <float[8, 4, 1, 1] w, float[6, 4, 1, 1] u, float[3, 14, 1, 1] v, float[4, 8, 1, 1] t>
        { c = Conv(x, w) r = Relu(c) d = Conv(x, u) q = LeakyRelu(d) z = Conv(r, t)
          k = Concat<axis = 1>(q, r) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(k)
          y = Conv(p, v) }"""
    )
    spread(graph, "Conv_c")
    spread(graph, "Conv_d", seed=1)
    after, result = equalized(graph)

    assert [each.where for each in result.rescaled] == ["c", "d"]
    assert equalization_tensors(graph) == ("r", "d", "q", "k", "p")
    assert ops_of(after) == ops_of(graph)


def ops_of(graph: gs.Graph) -> list[tuple[str, str]]:
    return [(node.op, node.name) for node in graph.nodes]


def test_a_tensor_far_smaller_than_its_neighbour_in_a_concat_is_lifted_as_a_whole() -> None:
    graph = network(
        """g (float[1, 4, 8, 8] x) => (float[1, 3, 8, 8] y)
        <float[8, 4, 1, 1] w, float[8, 4, 1, 1] u, float[3, 16, 1, 1] v>
        { c = Conv(x, w) r = Relu(c) d = Conv(x, u) q = Relu(d)
          k = Concat<axis = 1>(r, q) y = Conv(k, v) }"""
    )
    node = next(node for node in graph.nodes if node.name == "Conv_d")
    node.inputs[1].values = node.inputs[1].values / 64
    last = next(node for node in graph.nodes if node.name == "Conv_y")
    last.inputs[1].values = (
        last.inputs[1].values * np.repeat([[1], [64]], 8, 0).astype("f4")[..., None]
    )
    _, result = equalized(graph)

    (lifted,) = (each for each in result.rescaled if each.where == "d")
    assert lifted.smallest >= 8


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    per_group=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    reader_groups=st.sampled_from([1, 2, 4]),
    activation=st.sampled_from(["Relu", "LeakyRelu<alpha = 0.3>", "Identity"]),
    branch=st.sampled_from(["", "concat", "add"]),
    octaves=st.integers(0, 10),
    seed=st.integers(0, 9),
)
def test_the_float_network_stays_the_same_bits_and_a_second_time_changes_nothing(
    groups: int,
    per_group: int,
    kernel: int,
    stride: int,
    reader_groups: int,
    activation: str,
    branch: str,
    octaves: int,
    seed: int,
) -> None:
    channels, outputs = 4 * per_group, 8
    joins = {
        "": ("k = Identity(r)", channels),
        "concat": ("k = Concat<axis = 1>(p, r, q)", 4 + 2 * channels),
        "add": ("k = Add(r, q)", channels),
    }
    join, inputs = joins[branch]
    graph = network(
        f"""g (float[1, 4, 8, 8] x) => (float[1, {outputs}, ?, ?] y, float[1, 6, ?, ?] z)
        <float[{channels}, {4 // groups}, {kernel}, {kernel}] w, float[{channels}] b,
         float[{channels}, 4, {kernel}, {kernel}] u, float[4, 4, {kernel}, {kernel}] t,
         float[{outputs}, {inputs // reader_groups}, 2, 2] v, float[6, {channels}, 1, 1] o>
        {{ c = Conv<group = {groups}, strides = [{stride}, {stride}]>(x, w, b)
           r = {activation}(c)
           d = Conv<strides = [{stride}, {stride}]>(x, u) q = Relu(d)
           p = Conv<strides = [{stride}, {stride}]>(x, t) z = Conv(q, o)
           {join} y = Conv<group = {reader_groups}, pads = [1, 1, 1, 1]>(k, v) }}""",
        seed=seed,
    )
    spread(graph, "Conv_c", seed=seed, octaves=octaves)
    spread(graph, "Conv_d", seed=seed + 1, octaves=octaves)
    after, result = equalized(graph)

    assert all(each.noise <= 0.8 for each in result.rescaled)
    assert all(2**-7 <= each.smallest <= each.largest <= 2**7 for each in result.rescaled)
    if all(each.smallest > 2**-7 and each.largest < 2**7 for each in result.rescaled):
        _, again = equalized(after)
        assert again.changed == 0


UNEVEN_DEPTHWISE = """g (float[1, 3, 24, 24] x) => (float[1, 8, 24, 24] y)
<float[16, 3, 1, 1] a, float[16] a_bias, float[16, 1, 3, 3] b, float[16] b_bias,
 float[8, 16, 1, 1] c>
{ p = Conv(x, a, a_bias) {first}
  q = Conv<group = 16, pads = [1, 1, 1, 1]>(r, b, b_bias) {second}  y = Conv(s, c) }"""


def uneven_depthwise(first: str, second: str, size: float = 1.0) -> gs.Graph:
    """Small channels before the depthwise layer, whose weights make up for it."""
    graph = network(UNEVEN_DEPTHWISE.replace("{first}", first).replace("{second}", second), seed=3)
    factors = np.exp2(-8 * np.random.default_rng(1).random(16))
    values = {tensor.name: tensor for tensor in graph.tensors().values()}
    for name, factor in (("a", factors * size), ("a_bias", factors * size), ("b", 1 / factors)):
        weight = values[name]
        scaled = weight.values * factor.reshape(-1, *[1] * (weight.values.ndim - 1))
        weight.values = scaled.astype("f4")
    return graph


def test_uneven_depthwise_channels_gain_ten_decibels() -> None:
    graph = uneven_depthwise("r = Relu(p)", "s = Relu(q)")
    after, result = equalized(graph)

    samples = samples_of(graph)
    before = quantize(graph, samples=samples).sqnr_db(samples[0])
    gained = quantize(after, samples=samples).sqnr_db(samples[0])
    assert before < 25
    assert gained > before + 10
    assert result.rescaled[0].where == "p"
    assert result.rescaled[0].noise < 0.1


SIX = "Constant<value = float {6.}>() zero = Constant<value = float {0.}>()"


def test_relu6_lets_channels_grow_up_to_half_its_bound() -> None:
    graph = uneven_depthwise(
        f"six = {SIX} r = Clip(p, zero, six)", "s = Clip(q, zero, six)", size=4
    )
    samples = samples_of(graph)
    before = extremes(graph, samples)["r"][1]
    after, result = equalized(graph)

    highest = extremes(after, samples)["r"][1]
    reaches = before >= 6
    factors = highest / before
    assert reaches.any()
    assert result.rescaled[0].where == "p"
    np.testing.assert_array_equal(factors[before > 3], 1)
    assert (highest[~reaches & (factors > 1)] <= 3).all()
    assert factors.max() >= 16
    assert (
        quantize(after, samples=samples).sqnr_db(samples[0])
        > quantize(graph, samples=samples).sqnr_db(samples[0]) + 6
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Relu(c) z = Conv(y, v)", "'y' is an output"),
        ("r = Relu(c) n = Sigmoid(c) y = Mul(r, n) z = Conv(r, v)", "Sigmoid 'Sigmoid_n' does not"),
        ("r = Relu(c) y = Add(r, c) z = Conv(r, v)", "Add 'Add_y' does not"),
        ("y = Mul(c, c) z = Conv(c, v)", "Mul 'Mul_y' does not"),
        ("y = Concat<axis = 2>(c, c) z = Conv(c, v)", "Concat 'Concat_y' does not"),
        ("l = Constant<value = float {-1.}>() y = Clip(c, l) z = Conv(c, v)", "Clip 'Clip_y' does"),
        ("y = Div(s, c) z = Conv(c, v)", "Div 'Div_y' does not"),
        ("y = PRelu(c, x2) z = Conv(c, v)", "PRelu 'PRelu_y' does not"),
        ("y = Transpose<perm = [1, 0, 2, 3]>(c) z = Conv(c, v)", "Transpose 'Transpose_y' does"),
        ("y = Flatten(c) z = Conv(c, v)", "Flatten 'Flatten_y' does not"),
        ("y = Conv(c, x3) z = Conv(c, v)", "Conv 'Conv_y' does not"),
        (
            "p = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>() "
            "o = Constant<value = float {1.}>() y = Pad(c, p, o) z = Conv(c, v)",
            "Pad 'Pad_y' does not",
        ),
        (
            "p = Constant<value = int64[8] {0, 0, -1, -1, 0, 0, 1, 1}>() y = Pad(c, p) "
            "z = Conv(c, v)",
            "Pad 'Pad_y' does not",
        ),
        (
            "f = Constant<value = float[4] {1., 1.1, 2., 2.}>() "
            'y = Resize<mode = "nearest">(c, , f) z = Conv(c, v)',
            "Resize 'Resize_y' does not",
        ),
        (
            "f = Constant<value = int64[1] {-1}>() t = Constant<value = int64[1] {-99}>() "
            "a = Constant<value = int64[1] {1}>() y = Slice(c, f, t, a, f) z = Conv(c, v)",
            "Slice 'Slice_y' does not",
        ),
    ],
)
def test_what_does_not_hand_factors_on_is_in_the_way(body: str, reason: str) -> None:
    dims = "?, ?" if "Flatten" in body else "?, ?, ?, ?"
    graph = network(
        f"""g (float[1, 4, 6, 6] x, float[1, 8, 6, 6] x2, float[2, 8, 1, 1] x3)
        => (float[{dims}] y, float[1, 2, ?, ?] z)
        <float[8, 4, 1, 1] w, float[2, 8, 1, 1] v, float[1, 8, 1, 1] s>
        {{ c = Conv(x, w) {body} }}"""
    )
    spread(graph, "Conv_c")
    _, result = equalized(graph)

    assert result.changed == 0
    (declined,) = result.skipped
    assert declined.where == "c"
    assert declined.reason.startswith(reason)


def test_layers_that_no_other_layer_reads_are_not_mentioned() -> None:
    graph = network(
        """g (float[1, 4, 6, 6] x, float[1, 5, 4] t) => (float[1, 8, 6, 6] y, float[1, 5, 2] z)
        <float[8, 4, 1, 1] w, float[4, 8] u, float[8, 2] v>
        { c = Conv(x, w) y = Sigmoid(c) m = MatMul(t, u) r = Relu(m) z = MatMul(r, v) }"""
    )
    _, result = equalized(graph)

    assert (result.rescaled, result.skipped) == ((), ())


def test_even_channels_stay_as_they_are() -> None:
    graph = chain("r = Relu(c)")
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant):
            tensor.values = np.ones_like(tensor.values)
    before = to_model(graph).SerializeToString()
    after, result = equalized(graph)

    assert result.skipped == (Declined("c", "factors would not lower the predicted noise much"),)
    assert to_model(after).SerializeToString() == before


def test_a_weight_that_two_layers_share_is_scaled_for_one_of_them() -> None:
    graph = network(
        """g (float[1, 4, 6, 6] x) => (float[1, 8, 6, 6] y, float[1, 8, 6, 6] z)
        <float[8, 4, 1, 1] w, float[8] b, float[8, 8, 1, 1] v>
        { c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, b) a = Abs(x) z = Conv(a, w, b) }"""
    )
    spread(graph, "Conv_c")
    after, result = equalized(graph)

    assert result.changed == 1
    names = {node.name: [tensor.name for tensor in node.inputs[1:]] for node in after.nodes}
    assert names["Conv_c"] == ["w_rescaled", "b_rescaled"]
    assert names["Conv_y"] == ["v", "b"]
    assert names["Conv_z"] == ["w", "b"]


def test_weights_near_the_ends_of_float32_bound_the_factors() -> None:
    graph = chain("r = Relu(c)")
    spread(graph, "Conv_c")
    weights = {node.name: node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    values = weights["Conv_y"].values.copy()
    values[0, :4] = np.float32(1e-38)  # a reader's weight is divided by the factor
    weights["Conv_y"].values = values
    after, result = equalized(graph)

    last = next(node for node in after.nodes if node.name == "Conv_y").inputs[1].values
    assert result.changed == 1
    np.testing.assert_array_equal(last[:, :4], values[:, :4])
    assert not np.array_equal(last[:, 4:], values[:, 4:])


def test_missing_or_odd_extremes_are_named() -> None:
    graph = chain("r = Relu(c)")
    found = extremes(graph, samples_of(graph))

    with pytest.raises(ValueError, match="there are no channel extremes of 'r'"):
        equalize(graph, {})
    with pytest.raises(ValueError, match=r"'r' are \(2, 7\), expected \(2, 8\)"):
        equalize(graph, {"r": found["r"][:, 1:]})
    found["r"][1, 3] = np.inf
    result = equalize(graph, found)
    assert result.skipped == (Declined("c", "'r' is not finite in the samples"),)


def test_dead_channels_and_a_dead_tensor_stay() -> None:
    graph = chain("r = Relu(c)")
    spread(graph, "Conv_c")
    found = extremes(graph, samples_of(graph))
    found["r"][:, :2] = 0
    before = graph.nodes[0].inputs[1].values
    result = equalize(graph, found)
    assert result.changed == 1
    np.testing.assert_array_equal(graph.nodes[0].inputs[1].values[:2], before[:2])
    assert equalize(graph, {"r": np.zeros((2, 8), "f4")}).changed == 0


def test_the_prediction_is_the_noise_of_rounded_weights_and_activations() -> None:
    graph = network(
        """g (float[1, 16, 1, 1] x) => (float[1, 6, 1, 1] y) <float[6, 8, 1, 1] v>
        { y = Conv<group = 2>(x, v) }"""
    )
    rng = np.random.default_rng(0)
    largest = np.exp2(rng.uniform(-3, 0, 16))
    x = rng.uniform(0, 1, (20000, 16)) * largest
    node = graph.nodes[0]
    predicted = np.zeros(6)
    measured = np.zeros(6)
    for seed in range(60):
        node.inputs[1].values = np.random.default_rng(seed).normal(size=(6, 8, 1, 1)).astype("f4")
        weight = node.inputs[1].values[..., 0, 0]
        read = Activation(np.stack([0 * largest, largest]).astype("f4"))
        step = np.abs(weight).max(1, keepdims=True) / 127
        rounded = np.rint(weight / step) * step
        inputs = x[seed::60]
        quantized = np.rint(inputs * 255 / largest.max()) / 255 * largest.max()
        halves = [
            (quantized[:, i : i + 8] @ rounded[j : j + 3].T)
            - (inputs[:, i : i + 8] @ weight[j : j + 3].T)
            for i, j in ((0, 0), (8, 3))
        ]
        measured += np.square(np.concatenate(halves, axis=1)).mean(0)
        predicted += Reader(node, read).noise().reshape(-1) / 12
    np.testing.assert_allclose(predicted, measured, rtol=0.3)


def test_a_tensor_that_a_branch_reads_is_in_the_way() -> None:
    graph = network(
        """g (float[1, 4, 6, 6] x, bool up) => (float[1, 2, 6, 6] y, float[1, 8, 6, 6] z)
        <float[8, 4, 1, 1] w, float[2, 8, 1, 1] v>
        { c = Conv(x, w) y = Conv(c, v)
          z = If(up) <then_branch = one () => (float[1, 8, 6, 6] p) { p = Abs(c) },
                      else_branch = two () => (float[1, 8, 6, 6] q) { q = Neg(c) }> }"""
    )
    assert equalization_tensors(graph) == ()
    assert equalize(graph, {}).skipped == (Declined("c", "'c' is read inside a subgraph"),)
