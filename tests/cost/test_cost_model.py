from pathlib import Path

import pytest

from compiler.cost.machine import BUILT_IN, Machine, read_machine, write_machine
from compiler.cost.model import CostModel, Precision
from compiler.errors import MissingRequirementError
from tests.support.rewrites import graph_of, machine

WEIGHTS = """float[16, 16, 3, 3] w, float[16, 16, 1, 1] k, float[1, 16, 3, 3] few,
    float[16, 1, 3, 3] dw,
    float[16, 16, 2, 2] up, float[4] scales = {1.0, 1.0, 2.0, 2.0}, float[8, 8] m"""


def ns(nodes: str, on: Machine, precision: Precision = "fp32", only: str = "") -> float:
    """Predicted time of the nodes of type `only`, or of all."""
    graph = graph_of(
        f"""<ir_version: 9, opset_import: ["" : 17]>
        g (float[1, 16, 8, 8] x) => (float[?, ?, ?, ?] y) <{WEIGHTS}> {{ {nodes} }}"""
    )
    chosen = [node for node in graph.nodes if only in ("", node.op)]
    return 1e6 * CostModel(on, precision).milliseconds(chosen)


MACS = 16 * 36 * 16 * 9


@pytest.mark.parametrize(
    ("nodes", "on", "precision", "expected"),
    [
        ("y = Conv(x, w)", machine(conv_float=1.0), "fp32", MACS),
        ("y = Conv(x, w)", machine(conv_int8=1.0), "int8", MACS),
        ("y = Conv(x, few)", machine(conv_float=1.0), "fp32", MACS),  # a block of 16 for one
        ("y = Conv<group = 16>(x, dw)", machine(depthwise_float=1.0), "fp32", MACS / 16),
        ("y = Conv<group = 16>(x, dw)", machine(depthwise_int8=1.0), "int8", MACS / 16),
        ("y = MatMul(x, m)", machine(matmul_int8=1.0), "int8", 16 * 64 * 8),
        ("y = MatMul(m, x)", machine(matmul_int8_left=1.0), "int8", 16 * 64 * 8),
        ("y = MatMul(m, x)", machine(matmul_float=1.0), "fp32", 16 * 64 * 8),
        ("y = ConvTranspose<strides = [2, 2]>(x, up)", machine(col2im=1.0), "int8", 16 * 256),
        ("y = Mul(x, x)", machine(multiply_int8=1.0), "int8", 1024),
        ("y = Transpose<perm = [0, 3, 2, 1]>(x)", machine(shuffle_int8=1.0), "int8", 1024),
        ("y = Transpose<perm = [0, 2, 1, 3]>(x)", machine(shuffle_int8=1.0), "int8", 0),
        ("y = Conv(x, w)", machine(row_int8=1.0), "int8", 36),
        ('y = Resize<mode = "cubic">(x, , scales)', machine(resize_cubic=1.0), "fp32", 16 * 256),
        ("y = Abs(x)", machine(byte=1.0), "fp32", 4 * 2 * 1024),
        ("y = Abs(x)", machine(byte=1.0), "int8", 2 * 1024),
        ("y = Abs(x)", machine(node=1.0), "fp32", 1),
    ],
)
def test_each_constant_prices_what_it_is_the_time_of(
    nodes: str, on: Machine, precision: Precision, expected: float
) -> None:
    assert ns(nodes, on, precision) == pytest.approx(expected)


def test_taps_in_the_padding_are_free_in_float_and_not_in_int8() -> None:
    nodes = "y = Conv<pads = [8, 8, 8, 8], dilations = [8, 8]>(x, w)"
    assert ns(nodes, machine(conv_float=1.0)) == pytest.approx(16 * 16 * 64)
    assert ns(nodes, machine(conv_int8=1.0), "int8") == pytest.approx(16 * 16 * 64 * 9)


def test_channels_that_the_integer_kernel_cannot_block_are_gathered() -> None:
    gather = machine(gather_tap=1.0, gather_byte=10.0)
    assert ns("y = Conv(x, few)", gather, "int8") == pytest.approx(36 * 9 * (1 + 160))
    assert ns("y = Conv(x, w)", gather, "int8") == 0
    assert ns("y = Conv(x, k)", gather, "int8") == 0


def test_an_activation_after_a_convolution_is_part_of_it() -> None:
    traffic = machine(byte=1.0)
    assert ns("c = Conv(x, w) y = Relu(c)", traffic, only="Relu") == 0
    assert ns("c = Conv(x, w) y = Sigmoid(c)", traffic, only="Sigmoid") == 0
    assert ns("c = Conv(x, w) y = Sigmoid(c)", traffic, "int8", only="Sigmoid") > 0
    assert ns("c = Conv(x, w) r = Relu(c) y = Add(r, c)", traffic, only="Relu") > 0
    assert ns("a = Abs(x) y = Relu(a)", traffic, only="Relu") > 0


def test_float_only_operators_convert_in_an_int8_graph() -> None:
    nodes = "y = ConvTranspose<strides = [2, 2]>(x, up)"
    assert ns(nodes, machine(quantize=1.0), "int8") == 1024 + 4096
    assert ns(nodes, machine(quantize=1.0), "fp32") == 0


def test_a_layout_that_changes_costs_a_pass_over_the_tensor() -> None:
    layouts = machine(transpose_int8=1.0)
    assert ns("c = Conv<pads = [1, 1, 1, 1]>(x, w) y = MatMul(c, m)", layouts, "int8") == 1024
    assert ns("c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Conv(c, w)", layouts, "int8") == 0
    assert ns("c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Concat<axis = 2>(c, c)", layouts) == 0
    float_layout = machine(byte=1.0)
    inner, outer = (
        ns(f"c = Conv<pads = [1,1,1,1]>(x, w) y = Concat<axis = {axis}>(c, c)", float_layout)
        for axis in (2, 1)
    )
    assert inner - outer == 2 * 8 * 1024


def test_transposes_that_the_engine_cancels_are_free() -> None:
    on = machine(byte=1.0)
    assert ns("y = Transpose<perm = [0, 2, 3, 1]>(x)", on, "int8") == 0
    assert ns("y = Transpose<perm = [0, 2, 1, 3]>(x)", on, "int8") > 0
    assert ns("y = Transpose<perm = [0, 2, 3, 1]>(x)", on, "fp32") > 0


@pytest.mark.parametrize(
    ("after", "constant"),
    [
        ("y = Conv(u, w)", "resize_float"),
        ("r = Concat<axis = 1>(u, u) n = Neg(r) y = Identity(n)", "resize_plain"),
        ("r = Add(u, u) y = Conv(r, w)", "resize_float"),
        ("n = Neg(u) y = Conv(n, w)", "resize_plain"),
        ("y = Neg(u)", "resize_plain"),
    ],
)
def test_a_resize_among_convolutions_is_faster(after: str, constant: str) -> None:
    nodes = f'u = Resize<mode = "linear">(x, , scales) {after}'
    assert ns(nodes, machine(**{constant: 1.0}), only="Resize") == 16 * 256
    integer = "resize_plain" if constant == "resize_plain" else "resize_int8"
    assert ns(nodes, machine(**{integer: 1.0}), "int8", only="Resize") == 16 * 256


def test_in_float_a_resize_keeps_the_layout_of_the_convolution_before_it() -> None:
    nodes = (
        'c = Conv<pads = [1, 1, 1, 1]>(x, w) u = Resize<mode = "linear">(c, , scales) y = Neg(u)'
    )
    assert ns(nodes, machine(resize_float=1.0), only="Resize") == 16 * 256
    assert ns(nodes, machine(resize_plain=1.0), "int8", only="Resize") == 16 * 256


def test_what_depends_on_constants_alone_is_computed_when_the_graph_is_loaded() -> None:
    assert ns("n = Neg(m) y = MatMul(x, n)", machine(1.0), only="Neg") == 0


def test_unknown_shapes_count_as_one_node() -> None:
    graph = graph_of(
        """<ir_version: 9, opset_import: ["" : 17]>
        g (float[N, 4] x) => (float[?, ?] y) { y = Abs(x) }"""
    )
    assert CostModel(machine(node=5.0, byte=1.0), "fp32").milliseconds(graph.nodes) == 5e-6


def test_constants_are_stored_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "machine.json"
    write_machine(BUILT_IN, path)
    assert read_machine(path) == BUILT_IN
    path.write_text(path.read_text().replace('"node"', '"knots"'))
    with pytest.raises(MissingRequirementError, match="other constants") as caught:
        read_machine(path)
    assert caught.value.fix == "run: modc tune"
    write_machine(BUILT_IN, path)
    for wrong in ("NaN", "-1", '"fast"', "null"):
        path.write_text(path.read_text().replace('"byte": 0.02857142857142857', f'"byte": {wrong}'))
        with pytest.raises(MissingRequirementError, match=r"byte is .*, expected a number"):
            read_machine(path)
        write_machine(BUILT_IN, path)
    path.unlink()
    with pytest.raises(MissingRequirementError, match="cannot be read"):
        read_machine(path)
