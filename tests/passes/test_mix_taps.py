import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cost.model import CostModel
from compiler.cost.work import total_macs
from compiler.passes.mix_taps import mix_taps
from tests.support.models import ops
from tests.support.rewrites import graph_of, machine, rewritten

CONV = machine(conv_float=1.0)  # counts what a kernel computes: blocks of 16 output channels
TRAFFIC = machine(byte=1.0)


def network(
    *,
    channels: int = 2,
    x: str = "1, 32, 9, 8",
    kernel: str = "3, 3",
    conv: str = "pads = [1, 1, 1, 1]",
    group: int = 1,
) -> str:
    inputs = int(x.split(",")[1]) // group
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[{x}] x) => (float[?, ?, ?, ?] y)
    <float[{channels}, {inputs}, {kernel}] w, float[{channels}] b>
    {{ y = Conv<{conv}, group = {group}>(x, w, b) }}"""


def test_a_head_with_few_channels_mixes_first_and_shifts_then() -> None:
    graph, result = rewritten(network(), mix_taps, CONV)
    assert (result.changed, result.skipped) == (1, [])
    assert ops(graph) == ["Conv", "Conv"]
    mix, shift = graph.nodes
    assert mix.inputs[1].shape == (18, 32, 1, 1)
    assert shift.inputs[1].shape == (2, 18, 3, 3)
    assert set(shift.inputs[1].values.ravel()) == {0.0, 1.0}
    assert total_macs(graph) == 18 * 32 * 72 + 2 * 18 * 9 * 72


def test_it_keeps_the_name_of_the_layer() -> None:
    text = network().replace("y = Conv", "[head] y = Conv")
    graph, _ = rewritten(text, mix_taps, CONV)
    assert [node.name.partition("=>")[0] for node in graph.nodes] == ["head", "head"]


@settings(deadline=None, max_examples=30)
@given(
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    dilations=st.tuples(*[st.integers(1, 2)] * 2),
)
def test_any_geometry_gives_the_same_result(
    channels: int,
    kernel: tuple[int, int],
    pads: tuple[int, ...],
    strides: tuple[int, int],
    dilations: tuple[int, int],
) -> None:
    conv = f"pads = {list(pads)}, strides = {list(strides)}, dilations = {list(dilations)}"
    text = network(channels=channels, x="2, 5, 9, 8", kernel=str(kernel)[1:-1], conv=conv)
    _, result = rewritten(text, mix_taps, machine())
    assert result.changed == 1


def test_it_is_declined_with_numbers_where_it_does_not_pay() -> None:
    graph, result = rewritten(network(), mix_taps, TRAFFIC)
    assert ops(graph) == ["Conv"]
    (skip,) = result.skipped
    assert skip.where == "y"
    assert skip.reason == ("it would not pay: 0.1 MMAC in 0.02 ms instead of 0.0 MMAC in 0.01 ms")


@pytest.mark.parametrize(
    "text",
    [network(channels=9), network(kernel="1, 1", conv="strides = [1, 1]"), network(group=2)],
    ids=["many channels", "one tap", "groups"],
)
def test_other_convolutions_are_not_looked_at(text: str) -> None:
    result = mix_taps(graph_of(text), cost=CostModel(CONV, "fp32"))
    assert (result.changed, result.skipped) == (0, [])
