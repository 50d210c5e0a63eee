"""What may go to float together, and what a set of float layers is predicted to take."""

from dataclasses import replace

import pytest

from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel
from compiler.pipeline.candidates import forecast, search_candidates
from compiler.quantize.plan import Int8Options, Int8Plan, plan_int8
from compiler.verify.sensitivity import LayerSensitivity
from tests.support.rewrites import graph_of

NETWORK = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 16, 32, 32] x) => (float[1, 16, 16, 16] y)
<float[16, 16, 3, 3] w, float[16, 16, 1, 1] v>
{
    [first] a = Conv<pads = [1, 1, 1, 1]>(x, w)
    [relu] b = Relu(a)
    [pool] c = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
    [second] d = Conv<pads = [1, 1, 1, 1]>(c, w)
    [third] e = Conv(c, v)
    [sum] f = Add(d, e)
    [last] y = Conv(f, v)
}"""
LAYERS = ("first", "pool", "second", "third", "sum", "last")
COST = CostModel(BUILT_IN, "int8")


def plan(*floats: str) -> Int8Plan:
    return plan_int8(graph_of(NETWORK), Int8Options(exclude_layers=floats))


def sensitivity(name: str, decibels: float) -> LayerSensitivity:
    return LayerSensitivity(name, "Conv", f"{name}_out", decibels, 1.0, decibels, 1.0, 0.1)


def test_a_layer_goes_with_the_makers_of_its_inputs() -> None:
    found = search_candidates(
        graph_of(NETWORK),
        plan(),
        [
            sensitivity(name, decibels)
            for name, decibels in zip(LAYERS, range(10, 70, 10), strict=True)
        ],
        LAYERS,
    )
    assert [set(one.layers) for one in found] == [
        {"first"},
        {"pool", "first"},
        {"second", "pool", "first"},  # a pool hands on what it reads, rounded or not
        {"third", "pool", "first"},
        {"sum", "second", "third"},
        {"last", "sum"},
    ]
    assert [one.noise for one in found] == pytest.approx([10.0**-i for i in range(1, 7)])


def test_makers_in_float_round_nothing() -> None:
    (found,) = search_candidates(
        graph_of(NETWORK), plan("second"), [sensitivity("sum", 20.0)], LAYERS
    )
    assert found.layers == {"sum", "third"}


def test_layers_that_no_build_file_can_name_are_left_out() -> None:
    measured = [sensitivity("first", 20.0), sensitivity("second", 20.0)]
    found = search_candidates(graph_of(NETWORK), plan(), measured, {"second", "pool"})
    assert [set(one.layers) for one in found] == [{"second", "pool"}]


def test_a_network_in_float_is_forecast_at_the_cost_of_its_nodes() -> None:
    graph = graph_of(NETWORK)
    in_float = replace(COST, precision="fp32")
    found = forecast(graph, plan(*LAYERS), COST)
    assert found.milliseconds == pytest.approx(in_float.milliseconds(graph.nodes))


def test_conversions_are_paid_once_where_integers_and_floats_meet() -> None:
    graph = graph_of(NETWORK)
    in_float, tensors = replace(COST, precision="fp32"), graph.tensors()
    on_integers = [node for node in graph.nodes if node.name != "second"]
    (floating,) = [node for node in graph.nodes if node.name == "second"]
    expected = COST.milliseconds(on_integers) + in_float.milliseconds([floating])
    # x and d become bytes, c and y floats again.
    expected += sum(COST.conversion(tensors[name]) for name in ("x", "c", "d", "y"))
    assert forecast(graph, plan("second"), COST).milliseconds == pytest.approx(expected)


def test_only_the_network_matters_to_its_forecast() -> None:
    graph = graph_of(NETWORK)
    assert forecast(graph, plan("first"), COST) == forecast(graph, plan("first", "x*"), COST)
    assert forecast(graph, plan(), COST).network != forecast(graph, plan("first"), COST).network
