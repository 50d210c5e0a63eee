"""Which nodes of a quantized model the session really runs on integers.

Whether ONNX Runtime fuses a QDQ pattern depends on scales, zero points, readers and its version,
so the only dependable answer is the graph that a session has made for itself. It keeps node names,
with these suffixes: "/MatMulAddFusion" where a MatMul took its bias, "_token_<n>" where a node
moved to channels-last layout.
"""

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

logger = logging.getLogger(__name__)

_SUFFIXES = re.compile(r"(/MatMulAddFusion)?(_token_\d+)?$")
_INTEGER_OPS = ("QLinear", "QGemm", "MatMulInteger")
_MAY_VANISH = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice", "Gather"}
)
_INTEGER_TYPES = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)


class Planned(Protocol):
    """What has to be known of a node that should run on integers."""

    @property
    def node(self) -> str:
        """Name of the node."""

    @property
    def op(self) -> str:
        """ONNX operator type."""

    @property
    def output(self) -> str:
        """Float tensor that it hands on."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """How one planned node runs.

    Args:
        node: Name of the node.
        op: Operator type in the float graph.
        ran_as: Operator type in the session's graph; empty if the session needs no such node.
        integer: Whether it runs on integers, or not at all.
        reason: Why it does not; else empty.
    """

    node: str
    op: str
    ran_as: str
    integer: bool
    reason: str


@dataclass(frozen=True, slots=True)
class IntegerReport:
    """What a session makes of a quantized model.

    Args:
        nodes: One per planned node, in the order given.
        stray: Names of QuantizeLinear nodes that do no work: followed by DequantizeLinear alone,
            or preceded by one with the same scale and zero point.
        operators: Operator type -> number of nodes in the session's graph.
    """

    nodes: tuple[NodeState, ...]
    stray: tuple[str, ...]
    operators: Mapping[str, int]

    @property
    def float_nodes(self) -> tuple[NodeState, ...]:
        """Planned nodes that run in float."""
        return tuple(node for node in self.nodes if not node.integer)


def inspect_session_graph(model: Path | bytes, planned: Iterable[Planned]) -> IntegerReport:
    """Let ONNX Runtime optimize a model for this CPU and compare the result with the plan.

    Args:
        model: QDQ model: a file (with or without external data) or its bytes.
        planned: Nodes that should run on integers.

    Returns:
        The state of each planned node, and what is left of Q/DQ pairs.

    Raises:
        ValueError: ONNX Runtime does not accept the model.
    """
    graph = _optimized_graph(model)
    session = _SessionGraph(graph)
    nodes = tuple(session.state(node) for node in planned)
    for node in nodes:
        if not node.integer:
            logger.warning("%s '%s' runs in float: %s", node.op, node.node, node.reason)
    return IntegerReport(nodes, session.stray(), Counter(node.op_type for node in graph.node))


def _optimized_graph(model: Path | bytes) -> onnx.GraphProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        # Weights stay on disk: reading the graph back then costs no memory.
        for key, value in {
            "session.optimized_model_external_initializers_file_name": "weights.bin",
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        }.items():
            options.add_session_config_entry(key, value)
        source = model if isinstance(model, bytes) else str(model)
        try:
            ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base but this
            raise ValueError(f"ONNX Runtime refuses the quantized model: {error}") from error
        return onnx.load(path, load_external_data=False).graph


class _SessionGraph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.by_name = {_SUFFIXES.sub("", node.name): node for node in graph.node if node.name}
        self.nodes = list(graph.node)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.integers = {
            tensor.name for tensor in graph.initializer if tensor.data_type in _INTEGER_TYPES
        } | {one.name for one in graph.input if one.type.tensor_type.elem_type in _INTEGER_TYPES}
        for node in graph.node:
            if _gives_integers(node, self.integers):
                self.integers.update(node.output)

    def state(self, planned: Planned) -> NodeState:
        node = self.by_name.get(planned.node)
        if node is None:
            gone = planned.op in _MAY_VANISH
            reason = "" if gone else "the session's graph has no node of this name"
            return NodeState(planned.node, planned.op, "", gone, reason)
        integer = node.op_type.startswith(_INTEGER_OPS) or node.input[0] in self.integers
        reason = "" if integer else f"the session runs it as {node.op_type} on float32"
        return NodeState(planned.node, planned.op, node.op_type, integer, reason)

    def stray(self) -> tuple[str, ...]:
        quantizers = (node for node in self.nodes if node.op_type == "QuantizeLinear")
        return tuple(node.name for node in quantizers if self._is_stray(node))

    def _is_stray(self, node: onnx.NodeProto) -> bool:
        if self._rounds_to_16_bits(node):
            return False  # meant for other engines; this one computes between them in float
        following = self.readers.get(node.output[0], [])
        if following and all(reader.op_type == "DequantizeLinear" for reader in following):
            return True
        maker = self.makers.get(node.input[0])
        if maker is None or maker.op_type != "DequantizeLinear":
            return False
        return self._values(maker) == self._values(node)

    def _rounds_to_16_bits(self, node: onnx.NodeProto) -> bool:
        zero_points = [self.constants[name] for name in node.input[2:] if name in self.constants]
        return any(one.data_type == onnx.TensorProto.UINT16 for one in zero_points)

    def _values(self, node: onnx.NodeProto) -> list[float]:
        """Scale and zero point of a Q or DQ node."""
        constants = [self.constants[name] for name in node.input[1:] if name in self.constants]
        return [float(np.max(numpy_helper.to_array(tensor))) for tensor in constants]


def _gives_integers(node: onnx.NodeProto, integers: set[str]) -> bool:
    if node.op_type == "QGemm":
        return len(node.input) > 7  # with the scale of its output
    if node.op_type in ("DequantizeLinear", "MatMulIntegerToFloat"):
        return False
    if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
        return True
    return bool(node.input) and node.input[0] in integers
