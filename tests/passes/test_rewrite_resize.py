import pytest

from compiler.passes.rewrite_resize import rewrite_resize
from tests.support.models import ops
from tests.support.rewrites import machine, rewritten

LOOP = machine(resize_plain=1.0, resize_cubic=1.0)
BANDED = machine(resize_plain=1e3, matmul_float=1.0)


def network(attributes: str, *, to: str = "2, 3, 33, 20", size: str = "9, 5") -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 3, {size}] x) => (float[?, ?, ?, ?] y)
    <int64[4] sizes = {{{to}}}>
    {{ y = Resize<{attributes}>(x, , , sizes) }}"""


@pytest.mark.parametrize(
    "attributes",
    [
        'mode = "linear"',
        'mode = "linear", coordinate_transformation_mode = "align_corners"',
        'mode = "cubic", cubic_coeff_a = -0.5',
    ],
)
def test_a_resize_becomes_two_products(attributes: str) -> None:
    graph, result = rewritten(network(attributes), rewrite_resize, LOOP)
    assert (result.changed, result.skipped) == (1, [])
    assert ops(graph) == ["MatMul", "MatMul"]


def test_the_vertical_product_is_cut_into_strips_where_arithmetic_costs() -> None:
    graph, _ = rewritten(
        network('mode = "linear"', to="2, 3, 64, 20", size="32, 5"), rewrite_resize, BANDED
    )
    assert ops(graph).count("Slice") == 32
    assert ops(graph)[-1] == "Concat"


def test_strips_are_few_where_copies_cost() -> None:
    graph, _ = rewritten(
        network('mode = "linear"', to="2, 3, 64, 20", size="32, 5"),
        rewrite_resize,
        machine(resize_plain=1e4, matmul_float=0.1, byte=1.0),
    )
    assert ops(graph) == ["MatMul", "MatMul"]


def test_it_is_declined_where_the_loop_is_faster() -> None:
    graph, result = rewritten(network('mode = "linear"'), rewrite_resize, machine(node=1.0))
    assert ops(graph) == ["Resize"]
    assert [skip.reason.partition(":")[0] for skip in result.skipped] == ["it would not pay"]


def test_a_resize_that_shrinks_is_declined() -> None:
    text = network('mode = "linear"', to="2, 3, 4, 4")
    _, result = rewritten(text, rewrite_resize, LOOP)
    assert [skip.reason for skip in result.skipped] == ["its Resize does not enlarge"]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (
            """g (float[1, 2, 4, 4] x) => (float[1, 2, 8, 8] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>
            { y = Resize<mode = "nearest">(x, , s) }""",
            "copying nearest neighbours takes no arithmetic",
        ),
        (
            """g (int32[1, 2, 4, 4] x) => (int32[1, 2, 8, 8] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>
            { y = Resize<mode = "nearest">(x, , s) }""",
            "it is not float32",
        ),
    ],
)
def test_what_is_no_interpolation_is_declined(network: str, reason: str) -> None:
    text = f'<ir_version: 9, opset_import: ["" : 17]> {network}'
    _, result = rewritten(text, rewrite_resize, LOOP)
    assert [skip.reason for skip in result.skipped] == [reason]
