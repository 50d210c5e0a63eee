"""The graph that compares, against layers recomputed one at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from compiler.graph.convert import to_bytes, to_model
from compiler.quantize.comparison import (
    accumulated_name,
    compared_layers,
    comparison_graph,
    isolated_name,
)
from compiler.quantize.insert_qdq import dequantized_name
from compiler.quantize.plan import Int8Options, plan_int8
from compiler.verify.integer import inspect_session_graph
from tests.quantize.networks import Feeds, Quantized, network, quantize, run_all
from tests.support.models import random_feeds, run

CHAIN = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
<float[2, 2, 1, 1] w, float[2] b, float[2, 2, 1, 1] v>
{ c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, b) }"""

MIXED = """g (float[1, 4, 8, 8] x) => (float[1, 4, 1, 1] y, float[1, 4, 16, 16] z)
<float[4, 4, 3, 3] w, float[4, 8, 1, 1] v, float[4, 4, 2, 2] t, float[4, 1, 1] k,
 float[4, 4, 1, 1] u, float low = {0}, float high = {2}>
{ a = Conv<pads = [1, 1, 1, 1]>(x, w) m = MaxPool<kernel_shape = [1, 1]>(a)
  s = Sigmoid(m) p = Mul(s, k) q = Add(p, a) j = Concat<axis = 1>(q, m) c = Conv(j, v)
  f = Clip(c, low, high) l = LeakyRelu(f) n = Conv<pads = [1, 1, 1, 1]>(l, w)
  o = AveragePool<kernel_shape = [3, 3]>(n) h = GlobalAveragePool(o) y = Conv(h, u)
  z = ConvTranspose<strides = [2, 2]>(n, t) }"""

MATRICES = """g (float[6, 8] x) => (float[6, 5] y, float[6, 6] z)
<float[8, 7] w, float[7] b, float[5, 7] v, float[5] c>
{ m = MatMul(x, w) s = Add(m, b) r = Relu(s) y = Gemm<transB = 1>(r, v, c)
  t = Transpose<perm = [1, 0]>(r) u = MatMul(r, t) z = Softmax(u) }"""

CHOICE = """g (float[1, 2, 8, 8] x, bool[1, 1, 8, 8] which) => (float[1, 2, 8, 8] y)
<float[2, 2, 1, 1] w, float[2, 2, 1, 1] v>
{ a = Conv(x, w) b = Conv(x, v) c = Where(which, a, b) y = Conv(c, w) }"""

NETWORKS = {"chain": CHAIN, "mixed": MIXED, "matrices": MATRICES, "choice": CHOICE}


@pytest.fixture(params=NETWORKS)
def result(request: pytest.FixtureRequest) -> Quantized:
    return quantize(network(NETWORKS[request.param]))


def _compare(result: Quantized, feeds: Feeds, **which: bool) -> dict[str, NDArray[Any]]:
    graph = comparison_graph(result.graph, result.qdq, result.plan, **which)
    model = to_model(graph)
    onnx.checker.check_model(model, full_check=True)
    names = [output.name for output in model.graph.output]
    return dict(zip(names, run_all(model, feeds), strict=True))


def _tensors(graph: gs.Graph, names: list[str], feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Values of tensors, inputs among them, of a plain run."""
    wider = graph.copy()
    tensors = wider.tensors()
    made = [name for name in names if tensors[name].inputs]
    wider.outputs = [*(tensors[name] for name in made), *wider.outputs]
    values = run(to_model(wider), feeds)
    return {**feeds, **dict(zip(made, values[: len(made)], strict=True))}


def _sums(reference: NDArray[Any], other: NDArray[Any]) -> list[float]:
    one, two = reference.astype(np.float64), other.astype(np.float64)
    return [float(np.square(values).sum()) for values in (one, two, one - two)]


def _alone(result: Quantized, node: str, output: str, feeds: Feeds) -> NDArray[Any]:
    """Output of one layer whose inputs and weights alone are rounded, recomputed in numpy's way:
    the float graph cut down to the layer, with other weights, fed with rounded arrays.
    """
    graph, stored = result.graph.copy(), result.qdq.tensors()
    nodes = {one.name: one for one in graph.nodes}
    chain = [nodes[node]]
    while chain[-1].outputs[0].name != output:
        chain.append(chain[-1].outputs[0].outputs[0])
    inner = {one.outputs[0].name for one in chain}
    read = {tensor.name: tensor for one in chain for tensor in one.inputs}
    values = _tensors(result.graph, [n for n in read if n in result.plan.tensors], feeds)
    layer_feeds = {}
    for name, tensor in read.items():
        if isinstance(tensor, gs.Constant) and f"{name}_quantized" in stored:
            tensor.values = _dequantized(result.qdq, name)
        elif name not in inner and name in result.plan.tensors and name in values:
            tensor.inputs.clear()
            scale = stored[f"{name}_scale"].values
            zero = stored[f"{name}_zero_point"].values.astype(np.float32)
            integers = np.clip(np.rint(values[name] / scale) + zero, 0, 255)
            layer_feeds[name] = ((integers - zero) * scale).astype(np.float32)
        elif name in feeds:
            layer_feeds[name] = feeds[name]
    graph.inputs = [read[name] for name in layer_feeds]
    graph.outputs = [chain[-1].outputs[0]]
    graph.cleanup()
    (alone,) = run(to_model(graph), layer_feeds)
    return alone


def _dequantized(qdq: gs.Graph, name: str) -> NDArray[np.float32]:
    """Values of a stored constant, as its DequantizeLinear gives them."""
    node = qdq.tensors()[dequantized_name(name)].inputs[0]
    only = gs.Graph([node.copy(node.inputs, [gs.Variable("values", np.float32)])], opset=17)
    only.outputs = [only.nodes[0].outputs[0]]
    (values,) = run(to_model(only), {})
    return np.asarray(values)


def test_an_isolated_layer_is_the_layer_with_rounded_inputs_and_weights(result: Quantized) -> None:
    feeds = random_feeds(result.model, seed=3)
    found = _compare(result, feeds, accumulated=False)

    layers = compared_layers(result.graph, result.plan)
    reference = _tensors(result.graph, [layer.output for layer in layers], feeds)
    assert list(found) == [isolated_name(layer.node) for layer in layers]
    for layer in layers:
        alone = _alone(result, layer.node, layer.output, feeds)
        expected = _sums(reference[layer.output], alone)
        np.testing.assert_allclose(
            found[isolated_name(layer.node)], expected, rtol=1e-4, atol=1e-6, err_msg=layer.node
        )


def test_accumulated_sums_are_those_of_the_tensors_of_the_int8_network(result: Quantized) -> None:
    feeds = random_feeds(result.model, seed=3)
    found = _compare(result, feeds, isolated=False)

    layers = compared_layers(result.graph, result.plan)
    names = list(dict.fromkeys([*result.plan.observed, *(layer.output for layer in layers)]))
    assert set(found) == {accumulated_name(name) for name in names}
    reference = _tensors(result.graph, names, feeds)
    present = result.qdq.tensors()
    shown = {n: m if (m := dequantized_name(n)) in present else n for n in names}
    model = result.qdq.copy()
    tensors = model.tensors()
    model.outputs = [tensors[name] for name in shown.values()]
    values = dict(zip(names, run_all(to_model(model), feeds), strict=True))
    for name in names:
        expected = [
            *_sums(reference[name], values[name]),
            float(np.abs(reference[name] - values[name]).max()),
        ]
        np.testing.assert_allclose(
            found[accumulated_name(name)], expected, rtol=2e-4, atol=1e-6, err_msg=name
        )


def test_the_int8_network_runs_on_integers_also_while_it_is_compared(result: Quantized) -> None:
    graph = comparison_graph(result.graph, result.qdq, result.plan)
    planned = [replace(node, node=f"int8:{node.node}") for node in result.plan.integer_nodes]
    report = inspect_session_graph(to_bytes(to_model(graph)), planned)
    assert report.float_nodes == ()
    before = {state.node: state.ran_as for state in result.report.nodes}
    assert {state.node: state.ran_as for state in report.nodes} == {
        f"int8:{node}": kernel for node, kernel in before.items()
    }


def test_layers_name_the_tensors_of_the_plan_and_movers_are_left_out() -> None:
    result = quantize(network(MIXED))
    layers = {layer.output: layer for layer in compared_layers(result.graph, result.plan)}
    assert list(layers) == ["a", "s", "p", "q", "j", "f", "l", "n", "o", "h", "y"]
    assert (layers["p"].inputs, layers["p"].op) == (("s", "k"), "Mul")
    assert layers["j"].inputs == ("q", "m")
    assert (layers["f"].node, layers["f"].op, layers["f"].inputs) == ("Conv_c", "Conv", ("j",))


def test_a_drafted_node_stands_for_the_networks_own() -> None:
    graph = network(CHAIN)
    graph.nodes[0].name = "conv1=>left"
    result = quantize(graph)
    layers = compared_layers(result.graph, result.plan)
    assert [layer.origin for layer in layers] == ["conv1", "Conv_y"]


@pytest.mark.parametrize("opset", [17, 21])
def test_a_layer_of_16_bits_errs_less_than_one_of_8(opset: int) -> None:
    graph = network(CHAIN, opset)
    narrow, wide = quantize(graph), quantize(graph, Int8Options(uint16_layers=("Conv_y",)))
    feeds = random_feeds(narrow.model)
    noise = [_compare(one, feeds)[isolated_name("Conv_y")][2] for one in (narrow, wide)]
    layers = compared_layers(wide.graph, wide.plan)
    assert [layer.node for layer in layers] == ["Conv_c", "Conv_y"]
    assert 0 < noise[1] < 0.8 * noise[0]  # what is left is that of the 8-bit weights


def test_weights_of_float_layers_are_there_once_and_inputs_are_shared() -> None:
    text = """g (float[1, 4, 8, 8] x) => (float[1, 4, 16, 16] y)
    <float[4, 4, 1, 1] w, float[4, 4, 2, 2] t>
    { c = Conv(x, w) u = ConvTranspose<strides = [2, 2]>(c, t) y = Conv(u, w) }"""
    result = quantize(network(text))
    graph = comparison_graph(result.graph, result.qdq, result.plan)
    held = [tensor for tensor in graph.tensors().values() if isinstance(tensor, gs.Constant)]
    floats = [t.name for t in held if t.values.dtype == np.float32 and t.values.size > 4]
    assert sorted(floats) == ["t", "w"]
    assert graph.tensors()["t"].values is result.graph.tensors()["t"].values
    assert [tensor.name for tensor in graph.inputs] == ["x"]


def test_neither_graph_is_changed() -> None:
    result = quantize(network(CHAIN))
    before = [to_bytes(to_model(graph)) for graph in (result.graph, result.qdq)]
    one, other = (comparison_graph(result.graph, result.qdq, result.plan) for _ in range(2))
    assert [to_bytes(to_model(graph)) for graph in (result.graph, result.qdq)] == before
    assert to_bytes(to_model(one)) == to_bytes(to_model(other))


def test_a_bias_that_only_the_int8_network_has_counts() -> None:
    result = quantize(network(CHAIN.replace("Conv(r, v, b)", "Conv(r, v)")))
    conv = next(node for node in result.qdq.nodes if node.name == "Conv_y")
    conv.inputs = [*conv.inputs, gs.Constant("correction", np.array([100.0, 0.0], np.float32))]
    feeds = random_feeds(result.model)
    found = _compare(result, feeds, accumulated=False)
    reference, _, error = found[isolated_name("Conv_y")]
    assert error == pytest.approx(100.0**2 * 64, rel=0.01)
    assert error > 10 * reference


def test_an_input_of_bytes_is_exact() -> None:
    text = """g (uint8[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y) <float[2, 2, 1, 1] w>
    { f = Cast<to = 1>(x) c = Conv(f, w) y = Conv(c, w) }"""
    result = quantize(network(text))
    feeds = {"x": np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8), np.uint8)}
    found = _compare(result, feeds)
    assert found[accumulated_name("c")][2] > 0
    alone = _alone(result, "Conv_c", "c", feeds)
    assert found[isolated_name("Conv_c")][1] == pytest.approx(_sums(alone, alone)[0], rel=1e-5)


def test_a_tensor_that_only_bytes_are_moved_of_is_compared_as_rounded() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 10, 10] y)
    <float[2, 2, 1, 1] w, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}>
    { c = Conv(x, w) y = Pad(c, pads) }"""
    result = quantize(network(text))
    assert dequantized_name("c") not in result.qdq.tensors()
    found = _compare(result, random_feeds(result.model))
    scale = result.ranges["c"].scale
    assert found[accumulated_name("c")][3] > 0.4 * scale
    planned = [replace(result.plan.integer_nodes[0], node="int8:Conv_c")]
    graph = comparison_graph(result.graph, result.qdq, result.plan)
    assert inspect_session_graph(to_bytes(to_model(graph)), planned).float_nodes == ()


def test_a_float_node_beside_the_layers_may_share_its_constants_with_them() -> None:
    text = """g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y, float[1, 2, 16, 16] z)
    <float[2, 2, 1, 1] w, int64[4] size = {1, 2, 16, 16}>
    { y = Conv(x, w) z = Resize<mode = "cubic">(x, , , size) }"""
    result = quantize(network(text))
    found = _compare(result, random_feeds(result.model))
    assert sorted(found) == [accumulated_name("x"), accumulated_name("y"), isolated_name("Conv_y")]


def test_nodes_may_be_named_like_their_tensors() -> None:
    graph = network(CHAIN)
    for node in graph.nodes:
        node.name = node.outputs[0].name
    result = quantize(graph)
    found = _compare(result, random_feeds(result.model))
    assert {isolated_name("c"), isolated_name("y"), accumulated_name("y")} <= found.keys()
    assert all(len(sums) == 4 - name.startswith("isolated") for name, sums in found.items())


def test_later_opsets_and_scalars() -> None:
    text = """g (float[4] x) => (float y)
    <float[4, 4] w> { a = MatMul(x, w) y = MatMul(a, x) }"""
    result = quantize(network(text, opset=18))
    feeds = random_feeds(result.model)
    found = _compare(result, feeds)
    reference = _tensors(result.graph, ["y"], feeds)["y"]
    assert reference.shape == ()
    sums = found[isolated_name("MatMul_y")]
    assert sums.shape == (3,)
    assert sums[0] == pytest.approx(float(reference) ** 2, rel=1e-5)


def test_sums_of_large_tensors_are_right_to_a_thousandth_of_a_decibel() -> None:
    text = """g (float[1, 1, 1024, 1024] x) => (float[1, 2, 1024, 1024] y)
    <float[2, 1, 1, 1] w> { y = Conv(x, w) }"""
    rows = np.full((1, 1, 1024, 1024), 0.1, np.float32)  # rounding errors of equal values add up
    rows[:, :, :, ::2] = 0.77
    result = quantize(network(text), samples=[{"x": rows}])
    found = _compare(result, {"x": rows})
    weight = result.graph.tensors()["w"].values
    exact = float(np.square(rows.astype(np.float64)).sum() * np.square(weight).sum())
    measured = float(found[isolated_name("Conv_y")][0])
    assert 10 * np.log10(measured / exact) == pytest.approx(0.0, abs=1e-3)


def test_a_plan_of_another_graph_is_refused() -> None:
    result = quantize(network(CHAIN))
    plan = plan_int8(result.graph, Int8Options())
    result.graph.nodes[0].inputs[1].to_variable(np.float32, (2, 2, 1, 1))
    with pytest.raises(ValueError, match="the plan was made for another graph"):
        compared_layers(result.graph, plan)
