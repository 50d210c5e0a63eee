import pytest

from compiler.cost.work import Work, taps_inside, total_macs, work_of
from tests.support.rewrites import graph_of


def network(nodes: str, weights: str, x: str = "2, 4, 5, 5") -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[{x}] x) => (float[?, ?, ?, ?] y) <{weights}> {{ {nodes} }}"""


@pytest.mark.parametrize(
    ("nodes", "weights", "x", "macs"),
    [
        ("y = Conv(x, w)", "float[6, 4, 3, 3] w", "2, 4, 5, 5", 2 * 6 * 9 * 4 * 9),
        ("y = Conv<group = 2>(x, w)", "float[6, 2, 3, 3] w", "2, 4, 5, 5", 2 * 6 * 9 * 2 * 9),
        ("y = ConvTranspose(x, w)", "float[4, 3, 2, 2] w", "2, 4, 5, 5", 2 * 4 * 25 * 3 * 4),
        ("y = MatMul(x, w)", "float[5, 7] w", "2, 4, 5, 5", 2 * 4 * 5 * 7 * 5),
        ("y = Gemm<transA = 1>(x, w)", "float[4, 7] w", "4, 3", 3 * 7 * 4),
        ("y = Abs(x)", "", "2, 4, 5, 5", 0),
    ],
)
def test_multiply_accumulates_are_counted_from_shapes(
    nodes: str, weights: str, x: str, macs: int
) -> None:
    assert total_macs(graph_of(network(nodes, weights, x))) == macs


def test_elements_are_counted_by_what_becomes_of_them() -> None:
    graph = graph_of(network("y = Conv(x, w)", "float[6, 4, 3, 3] w"))
    work = work_of(graph.nodes[0])
    assert work == Work(macs=3888, read=200, constant=216, written=108)


def test_unknown_shapes_have_no_work() -> None:
    graph = graph_of(network("y = Abs(x)", "", "N, 4"))
    assert work_of(graph.nodes[0]) is None
    assert total_macs(graph) == 0


@pytest.mark.parametrize(
    ("attributes", "share"),
    [
        ("pads = [0, 0, 0, 0]", 1.0),
        ("pads = [1, 1, 1, 1]", (13 / 15) ** 2),
        ("pads = [4, 4, 4, 4], dilations = [4, 4]", (7 / 15) ** 2),
        ("pads = [1, 0, 1, 0], strides = [2, 1]", 7 / 9),
    ],
)
def test_taps_in_the_padding_are_told_apart(attributes: str, share: float) -> None:
    graph = graph_of(network(f"y = Conv<{attributes}>(x, w)", "float[6, 4, 3, 3] w"))
    assert taps_inside(graph.nodes[0]) == pytest.approx(share)
