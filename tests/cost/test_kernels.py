from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compiler.cost.kernels import EngineNode, engine_nodes

Shape = tuple[int, ...]

ROWS: list[tuple[str, dict[int, Shape], dict[str, int], list[Shape], list[Shape], int]] = [
    # 16 outputs of 27 products each, on 8×8 pixels
    ("Conv", {1: (16, 3, 3, 3), 2: (16,)}, {}, [(1, 3, 8, 8)], [(1, 16, 8, 8)], 27648),
    # depthwise, stride 2
    ("FusedConv", {1: (16, 1, 3, 3)}, {"group": 16}, [(1, 16, 8, 8)], [(1, 16, 4, 4)], 2304),
    # the weight is the fourth operand; channels last
    ("QLinearConv", {3: (8, 3, 3, 3)}, {}, [(1, 8, 8, 3)], [(1, 8, 8, 8)], 13824),
    # every input element is multiplied with 4·2·2 weights
    ("ConvTranspose", {1: (3, 4, 2, 2)}, {}, [(1, 3, 8, 8)], [(1, 4, 16, 16)], 3072),
    ("MatMul", {1: (32, 10)}, {}, [(5, 32)], [(5, 10)], 1600),
    ("MatMul", {}, {}, [(2, 5, 32), (2, 32, 10)], [(2, 5, 10)], 3200),
    ("QLinearMatMul", {3: (32, 10)}, {}, [(5, 32)], [(5, 10)], 1600),
    ("Gemm", {1: (10, 32)}, {"transA": 1}, [(32, 5)], [(5, 10)], 1600),
    ("MaxPool", {}, {}, [(1, 3, 8, 8)], [(1, 3, 4, 4)], 0),
    ("Relu", {}, {}, [(1, 3, 8, 8)], [(1, 3, 8, 8)], 0),
]


@pytest.mark.parametrize(("op", "constants", "attributes", "read", "written", "macs"), ROWS)
def test_multiply_accumulates_by_operator(
    op: str,
    constants: dict[int, Shape],
    attributes: dict[str, int],
    read: list[Shape],
    written: list[Shape],
    macs: int,
) -> None:
    node = EngineNode(op, False, attributes, constants, 0)
    assert node.macs(read, written) == macs


def test_nodes_of_a_file_with_layout_and_weights(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [16, 3, 3, 3], [0.0] * 432)
    blocked = helper.make_node("Conv", ["x", "w"], ["c"], "a", domain="com.microsoft.nchwc")
    graph = helper.make_graph(
        [blocked, helper.make_node("Relu", ["c"], ["y"], "b")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(graph), tmp_path / "session.onnx")
    nodes = engine_nodes(tmp_path / "session.onnx")
    assert [node.label for node in nodes.values()] == ["Conv (NCHWc)", "Relu"]
    assert nodes["a"].constants == {1: (16, 3, 3, 3)}
    assert nodes["a"].constant_bytes == 1728
    assert nodes["b"].constant_bytes == 0
