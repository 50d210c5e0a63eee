from itertools import product

import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cost.machine import Machine
from compiler.cost.model import CostModel
from compiler.graph.query import output_ids, readers
from compiler.quantize.plan import Int8Options, find_kept_float
from compiler.quantize.worth import MARGIN, find_not_worth
from tests.support.rewrites import graph_of, machine

NETWORK = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y)
    <float[8, 8, 1, 1] a, float[8, 1, 1, 1] b, float[8, 8, 1, 1] c>
    { [dense] p = Conv(x, a)  [depthwise] q = Conv<group = 8>(p, b)  [last] r = Conv(q, c)
      [sum] y = Add(r, p) }"""


def kept(graph: gs.Graph, on: Machine, options: Int8Options | None = None) -> set[str]:
    kept_float = find_kept_float(graph, options or Int8Options())
    return set(find_not_worth(graph, CostModel(on, "int8"), kept_float))


def total(graph: gs.Graph, on: Machine, floats: set[str]) -> float:
    """Predicted ms of the graph with `floats` in float, conversions included."""
    integer, floating = CostModel(on, "int8"), CostModel(on, "fp32")
    time = 0.0
    for node in graph.nodes:
        if node.name in floats:
            time += floating.milliseconds([node])
        else:
            time += MARGIN * integer.milliseconds([node])
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant):
            continue
        maker_floats = not tensor.inputs or tensor.inputs[0].name in floats
        seen = {node.name in floats for node in readers(tensor)}
        if id(tensor) in output_ids(graph):
            seen.add(True)
        if (not maker_floats) in seen:
            time += integer.conversion(tensor)
    return time


def test_layers_that_integers_make_slower_stay_float() -> None:
    graph = graph_of(NETWORK)
    slow = machine(conv_float=9.0, conv_int8=1.0, depthwise_int8=90.0, byte=0.1)
    assert kept(graph, slow) == {"depthwise"}
    (reason,) = find_not_worth(
        graph, CostModel(slow, "int8"), find_kept_float(graph, Int8Options())
    ).values()
    assert reason == (
        "it is not worth it: 0.104 ms on integers, 0.000 in float, conversions at its borders apart"
    )


def test_all_stays_float_where_conversions_cost_more_than_integers_save() -> None:
    dear = machine(conv_float=2.0, conv_int8=1.0, quantize=1e4)
    assert kept(graph_of(NETWORK), dear) == {"dense", "depthwise", "last", "sum"}


def test_all_runs_on_integers_where_they_are_faster() -> None:
    fast = machine(conv_float=9.0, conv_int8=1.0, depthwise_float=9.0, depthwise_int8=1.0, byte=1.0)
    assert kept(graph_of(NETWORK), fast) == set()


def test_what_the_options_keep_float_is_not_named_again() -> None:
    dear = machine(conv_float=2.0, conv_int8=1.0, quantize=1e4)
    graph = graph_of(NETWORK)
    options = Int8Options(skip_conv_layers=("last",))
    assert kept(graph, dear, options) == {"dense", "depthwise", "sum"}


@pytest.mark.parametrize("seed", range(3))
@settings(deadline=None, max_examples=40)
@given(
    prices=st.tuples(*[st.floats(0, 10)] * 4),
    quantize=st.floats(0, 200),
    node=st.floats(0, 5000),
)
def test_no_other_choice_is_cheaper(
    seed: int, prices: tuple[float, ...], quantize: float, node: float
) -> None:
    graph = graph_of(NETWORK)
    keys = ("conv_float", "conv_int8", "depthwise_float", "depthwise_int8")
    on = machine(**dict(zip(keys, prices, strict=True)), quantize=quantize, node=node, byte=seed)
    chosen = total(graph, on, kept(graph, on))
    names = [one.name for one in graph.nodes]
    others = (
        {name for name, floats in zip(names, choice, strict=True) if floats}
        for choice in product([False, True], repeat=len(names))
    )
    assert chosen <= min(total(graph, on, other) for other in others) + 1e-9


def test_pixels_that_are_bytes_need_no_conversion() -> None:
    graph = graph_of(
        """<ir_version: 9, opset_import: ["" : 17]>
        g (uint8[1, 8, 6, 6] x) => (float[1, 8, 1, 1] y) <float[8, 8, 6, 6] w>
        { f = Cast<to = 1>(x) [first] y = Conv(f, w) }"""
    )
    on = machine(conv_float=9.0, conv_int8=1.0, quantize=200.0)
    assert kept(graph, on) == set()
    taken = graph_of(NETWORK.replace("[sum] y = Add(r, p)", "y = Add(r, p)"))
    assert "dense" in kept(taken, on)
