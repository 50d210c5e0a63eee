"""Arithmetic of the nodes of an engine's own graph, fused and renamed as it may have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final, TypeAlias

import onnx

Shape: TypeAlias = Sequence[int]

_WEIGHT_OF_CONV: Final = {
    "Conv": 1,
    "FusedConv": 1,
    "NhwcFusedConv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
}
_WEIGHT_OF_TRANSPOSED: Final = {"ConvTranspose": 1}
_MATRIX_PRODUCTS: Final = frozenset(
    {
        *("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat"),
        *("DynamicQuantizeMatMul", "QLinearMatMul", "Gemm", "FusedGemm", "QGemm"),
    }
)
_BLOCKED: Final = "com.microsoft.nchwc"


@dataclass(frozen=True, slots=True)
class EngineNode:
    """One node of the graph that an engine made for itself.

    Args:
        op: Operator type.
        blocked: Whether it reads and writes blocks of channels (NCHWc).
        attributes: By name.
        constants: Shape of each constant input, by position.
        constant_bytes: Of all constant inputs.
    """

    op: str
    blocked: bool
    attributes: Mapping[str, Any]  # Any: values of ONNX attributes
    constants: Mapping[int, Shape]
    constant_bytes: int

    @property
    def label(self) -> str:
        """Operator type and, where it is none of ONNX, layout."""
        return f"{self.op} (NCHWc)" if self.blocked else self.op

    def macs(self, read: Sequence[Shape], written: Sequence[Shape]) -> int:
        """Multiply-accumulates as the kernel computes them: channels rounded up to its blocks.

        Args:
            read: Shapes of its inputs, as far as the engine tells.
            written: Shapes of its outputs.

        Returns:
            0 for operators that are neither convolution nor matrix product.
        """
        weight = self.constants.get(_WEIGHT_OF_CONV.get(self.op, -1))
        if weight is not None:
            return prod(written[0]) * prod(weight[1:])
        weight = self.constants.get(_WEIGHT_OF_TRANSPOSED.get(self.op, -1))
        if weight is not None:
            return prod(read[0]) * prod(weight[1:])
        if self.op in _MATRIX_PRODUCTS:
            return prod(written[0]) * read[0][-2 if self.attributes.get("transA") else -1]
        return 0


def engine_nodes(path: Path) -> dict[str, EngineNode]:
    """Nodes by name of the graph that an engine made for itself; its weights are not read."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {node.name: _node(node, constants) for node in graph.node}


def _node(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> EngineNode:
    used = {i: constants[name] for i, name in enumerate(node.input) if name in constants}
    return EngineNode(
        op=node.op_type,
        blocked=node.domain == _BLOCKED,
        attributes={one.name: onnx.helper.get_attribute_value(one) for one in node.attribute},
        constants={i: tuple(tensor.dims) for i, tensor in used.items()},
        constant_bytes=sum(_bytes(tensor) for tensor in used.values()),
    )


def _bytes(tensor: onnx.TensorProto) -> int:
    width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(prod(tensor.dims)) * width
