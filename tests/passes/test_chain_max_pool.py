import onnx_graphsurgeon as gs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.chain_max_pool import chain_max_pool
from compiler.passes.result import Skip
from tests.support.models import assert_close, model_from_text, run


def network(pools: list[str], *, size: str = "24, 16", more: str = "") -> str:
    names = [f"y{index}" for index in range(len(pools))]
    nodes = " ".join(f"{name} = {pool}" for name, pool in zip(names, pools, strict=True))
    outputs = ", ".join(f"float[2, 3, ?, ?] {name}" for name in names)
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 3, {size}] x) => ({outputs}) {{ {more} {nodes} }}"""


def pool(height: int, width: int | None = None, more: str = "", x: str = "x") -> str:
    kernel = [height, width or height]
    return f"MaxPool<kernel_shape = {kernel}, strides = {kernel}{more}>({x})"


def graph_of(text: str) -> gs.Graph:
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def kernels(graph: gs.Graph) -> dict[str, tuple[str, list[int]]]:
    """What each output is pooled from, and by which kernel."""
    return {
        node.outputs[0].name: (node.inputs[0].name, node.attrs["kernel_shape"])
        for node in graph.nodes
    }


def assert_same_bits(text: str, graph: gs.Graph) -> None:
    after = to_model(graph)
    check_model(after)
    assert_close(run(after), run(model_from_text(text)), rtol=0, atol=0)


def test_large_pools_read_the_next_smaller_one() -> None:
    text = network([pool(8), pool(2), pool(4)])
    graph = graph_of(text)
    assert chain_max_pool(graph).changed == 2
    assert kernels(graph) == {"y1": ("x", [2, 2]), "y2": ("y1", [2, 2]), "y0": ("y2", [2, 2])}
    assert_same_bits(text, graph)
    assert chain_max_pool(graph).changed == 0


def test_every_axis_has_its_own_factor() -> None:
    text = network([pool(2, 1), pool(6, 4)])
    graph = graph_of(text)
    assert chain_max_pool(graph).changed == 1
    assert kernels(graph)["y1"] == ("y0", [3, 4])
    assert_same_bits(text, graph)


@pytest.mark.parametrize(
    "pools",
    [
        [pool(2), pool(3)],
        [pool(4, 2), pool(2, 4)],
        [pool(2), pool(2)],
        [pool(2), "Relu(x)"],
        [pool(2), pool(4, x="other")],
    ],
)
def test_pools_that_do_not_compose_stay(pools: list[str]) -> None:
    graph = graph_of(network(pools, more="other = Abs(x)" if "other" in pools[1] else ""))
    result = chain_max_pool(graph)
    assert (result.changed, result.skipped) == (0, [])


def test_pools_of_an_unknown_size_stay() -> None:
    graph = to_graph(model_from_text(network([pool(2), pool(4)], size="height, width")))
    assert chain_max_pool(graph).changed == 0


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("MaxPool<kernel_shape = [4, 4]>(x)", "its strides differ from its kernel"),
        (pool(4, more=", pads = [0, 1, 0, 0]"), "it pads"),
        (pool(4, more=', auto_pad = "SAME_UPPER"'), "it pads"),
        (pool(4, more=", dilations = [2, 2]"), "it has dilations"),
    ],
)
def test_windows_that_do_not_tile_the_input_stay(other: str, reason: str) -> None:
    graph = graph_of(network([pool(2), other]))
    result = chain_max_pool(graph)
    assert (result.changed, result.skipped) == (0, [Skip("y1", reason)])


def test_pools_that_yield_indices_stay() -> None:
    text = network([pool(2), pool(4)]).replace("y1 =", "y1, indices =")
    assert chain_max_pool(graph_of(text)).skipped == [Skip("y1", "it yields indices")]


def test_pools_that_round_differently_stay() -> None:
    graph = graph_of(network([pool(2, more=", ceil_mode = 1"), pool(4)], size="7, 8"))
    assert chain_max_pool(graph).changed == 0


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(8, 33), st.integers(8, 33)),
    small=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    factors=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    rounds_up=st.tuples(st.booleans(), st.booleans()),
)
def test_whatever_is_chained_keeps_its_bits(
    size: tuple[int, int],
    small: tuple[int, int],
    factors: tuple[int, int],
    rounds_up: tuple[bool, bool],
) -> None:
    large = [few * factor for few, factor in zip(small, factors, strict=True)]
    assume(all(many <= length for many, length in zip(large, size, strict=True)))
    ceil = [f", ceil_mode = {int(up)}" for up in rounds_up]
    text = network(
        [pool(large[0], large[1], more=ceil[0]), pool(small[0], small[1], more=ceil[1])],
        size=f"{size[0]}, {size[1]}",
    )
    graph = graph_of(text)
    expected = factors != (1, 1) and (
        rounds_up[0] == rounds_up[1]
        or all(length % few == 0 for length, few in zip(size, small, strict=True))
    )
    assert chain_max_pool(graph).changed == int(expected)
    assert_same_bits(text, graph)


def test_a_pool_in_a_branch_stays_there() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 2, 8, 8] x, bool c) => (float[1, 2, 2, 2] y, float[1, 2, ?, ?] z) {
      y = MaxPool<kernel_shape = [4, 4], strides = [4, 4]>(x)
      z = If (c) <
        then_branch = t () => (float[1, 2, 4, 4] a) {
          a = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) },
        else_branch = e () => (float[1, 2, 8, 8] b) { b = Abs(x) }>
    }"""
    graph = graph_of(text)
    assert chain_max_pool(graph).changed == 0
    check_model(to_model(graph))


def test_a_kernel_larger_than_the_map_is_not_chained() -> None:
    # ONNX Runtime cuts the window off at the border; a chain would leave pixels out.
    graph = graph_of(network([pool(6), pool(2)], size="18, 5"))
    assert chain_max_pool(graph).changed == 0
