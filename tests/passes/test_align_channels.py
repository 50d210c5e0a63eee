import numpy as np
import pytest

from compiler.passes.align_channels import align_channels
from tests.support.models import ops
from tests.support.rewrites import machine, rewritten

GATHER = machine(gather_tap=1.0, gather_byte=1.0)


def network(inputs: int, outputs: int, kernel: int = 3, group: int = 1) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, {inputs}, 9, 8] x) => (float[?, ?, ?, ?] y)
    <float[{outputs}, {inputs // group}, {kernel}, {kernel}] w, float[{outputs}] b>
    {{ y = Conv<strides = [2, 1], group = {group}>(x, w, b) }}"""


@pytest.mark.parametrize(
    ("inputs", "outputs", "left"),
    [
        (3, 16, ["Pad", "Conv"]),
        (8, 1, ["Conv", "Slice"]),
        (5, 21, ["Pad", "Conv", "Slice"]),
    ],
)
def test_channels_are_padded_to_what_the_kernel_computes_in_place(
    inputs: int, outputs: int, left: list[str]
) -> None:
    graph, result = rewritten(network(inputs, outputs), align_channels, GATHER, "int8")
    assert (result.changed, result.skipped) == (1, [])
    assert ops(graph) == left
    weight = next(node for node in graph.nodes if node.op == "Conv").inputs[1].values
    assert weight.shape[0] % 16 == weight.shape[1] % 4 == 0
    assert not np.any(weight[outputs:])
    assert not np.any(weight[:, inputs:])


@pytest.mark.parametrize(
    "text",
    [network(4, 16), network(3, 5, kernel=1), network(6, 6, group=2)],
    ids=["aligned", "1x1", "groups"],
)
def test_other_convolutions_are_not_looked_at(text: str) -> None:
    graph, result = rewritten(text, align_channels, GATHER, "int8")
    assert (result.changed, result.skipped, ops(graph)) == (0, [], ["Conv"])


def test_float_kernels_need_no_alignment() -> None:
    _, result = rewritten(network(3, 5), align_channels, GATHER, "fp32")
    assert (result.changed, result.skipped) == (0, [])


def test_it_is_declined_where_copies_cost_more_than_gathering() -> None:
    graph, result = rewritten(network(3, 5), align_channels, machine(byte=1.0), "int8")
    assert ops(graph) == ["Conv"]
    assert [skip.reason.partition(":")[0] for skip in result.skipped] == ["it would not pay"]
