"""An ONNX file and input shapes to the graph that passes edit."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import inliner

from compiler.errors import GraphError
from compiler.frontend.convert_opset import convert_opset
from compiler.frontend.fix_shapes import fix_shapes
from compiler.frontend.read_weights import Arrays, read_weights
from compiler.frontend.widen_float16 import widen_float16
from compiler.graph.convert import check_graph, infer_shapes, to_graph

_LOG = logging.getLogger(__name__)
_DTYPES = {"fp32": "float32", "fp16": "float16", "fp64": "float64"}
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger")
_QUANTIZED_PREFIXES = ("QLinear", "MatMulInteger")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network ready for passes.

    Args:
        graph: Opset 17 or newer, unique node names, float32; inputs are static, but for the
            dimensions that were asked to stay open, which have names.
        notes: What was assumed or converted, one sentence each.
        sources: The model file, then its external data files, sorted.
    """

    graph: gs.Graph
    notes: tuple[str, ...]
    sources: tuple[Path, ...]


def load_onnx(
    path: Path, shapes: Mapping[str, Sequence[int]], dtype: str | None = None
) -> LoadedModel:
    """Read an ONNX network of opset 7 or newer and fix its input shapes.

    Args:
        path: The model; external data must lie in its folder or below.
        shapes: Input name to full shape, batch first; an `OpenSize` in it stays open. Inputs that
            are static may be absent.
        dtype: Element type that the build file expects of the inputs, such as "fp32". The network
            wins; a difference becomes a note.

    Raises:
        GraphError: The file cannot be read, is not a float ONNX network, uses operators that ONNX
            does not define, or does not fit `shapes`.
    """
    where = str(path)
    model = _parse(path)
    _refuse_unsupported(model, where)
    inputs = [info.name for info in _real_inputs(model)]
    model, weights, files = read_weights(model, path)
    fix_shapes([info for info in model.graph.input if info.name in inputs], shapes, where)
    model, converted = convert_opset(model, where)
    graph = _to_graph(model, weights)
    widened = widen_float16(graph)
    _check(graph, where)
    notes = [
        converted,
        f"{widened} float16 tensors became float32, inputs and outputs included"
        if widened
        else None,
        *_other_dtypes(graph, dtype),
    ]
    _LOG.info("%s: %d nodes, %d weights", path.name, len(graph.nodes), len(weights))
    return LoadedModel(graph, tuple(note for note in notes if note), (path, *files))


def _parse(path: Path) -> onnx.ModelProto:
    fix = "frontend.checkpoint must name an .onnx file; export or copy it again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GraphError(
            f"the model cannot be read: {error.strerror}", where=str(path), fix=fix
        ) from error
    if not data:
        raise GraphError("the model file is empty", where=str(path), fix=fix)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise GraphError(
            f"not an ONNX model, or a damaged one ({len(data)} bytes)", where=str(path), fix=fix
        ) from error
    if not model.opset_import or not model.graph.output:
        raise GraphError(
            f"not an ONNX model: no {'outputs' if model.opset_import else 'opset'} in its "
            f"{len(data)} bytes",
            where=str(path),
            fix=fix,
        )
    return _normalised(model)


def _normalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without old habits: functions inlined, one name for the ONNX domain, no weights as inputs."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    del model.graph.value_info[:]  # stale as soon as a shape is fixed
    for opset in model.opset_import:
        opset.domain = "" if opset.domain == "ai.onnx" else opset.domain
    for node in _nodes(model.graph):
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    inputs = _real_inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    return model


def _real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in weights]


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [*graph.node, *(node for each in inner for node in _nodes(each))]


def _refuse_unsupported(model: onnx.ModelProto, where: str) -> None:
    nodes = _nodes(model.graph)
    foreign = sorted(
        {
            f"{node.domain or 'ai.onnx'}.{node.op_type}"
            for node in nodes
            if node.domain or not onnx.defs.has(node.op_type)
        }
    )
    if foreign:
        raise GraphError(
            f"operators outside ONNX are not supported: {', '.join(foreign)}",
            where=where,
            fix="export the network with standard operators only (opset 17), without runtime "
            "optimisations",
        )
    quantized = sorted({node.op_type for node in nodes if _is_quantized(node.op_type)})
    if quantized:
        raise GraphError(
            f"the network is quantized already: it contains {', '.join(quantized)}",
            where=where,
            fix="give the float network that it was made from",
        )
    if model.graph.sparse_initializer:
        raise GraphError(
            f"sparse weights are not supported: {model.graph.sparse_initializer[0].values.name}",
            where=where,
            fix="export the network with dense weights",
        )
    _refuse_inputs(_real_inputs(model), where)


def _is_quantized(op: str) -> bool:
    return op in _QUANTIZED or op.startswith(_QUANTIZED_PREFIXES)


def _refuse_inputs(inputs: Sequence[onnx.ValueInfoProto], where: str) -> None:
    if not inputs:
        raise GraphError(
            "the network has no inputs", where=where, fix="export the network, not only its weights"
        )
    refused: dict[int, str] = {
        onnx.TensorProto.DOUBLE: "float64",
        onnx.TensorProto.BFLOAT16: "bfloat16",
    }
    for info in inputs:
        kind = refused.get(info.type.tensor_type.elem_type)
        if kind is None and info.type.HasField("tensor_type"):
            continue
        raise GraphError(
            f"input '{info.name}' is {kind or 'not a tensor'}, which is not supported",
            where=where,
            fix="export the network with float32 tensors as inputs",
        )


def _to_graph(model: onnx.ModelProto, weights: Arrays) -> gs.Graph:
    graph = to_graph(model)
    for tensor in graph.inputs:
        if tensor.name in weights:
            tensor.to_constant(weights[tensor.name])
    graph.inputs = [tensor for tensor in graph.inputs if not isinstance(tensor, gs.Constant)]
    return graph.cleanup().toposort()


def _check(graph: gs.Graph, where: str) -> None:
    try:
        infer_shapes(graph)
        check_graph(graph)
    except ValueError as error:
        raise GraphError(
            f"the network is invalid, or does not accept these input shapes: {error}",
            where=where,
            fix="check frontend.shape against the size that the network was exported with",
        ) from error


def _other_dtypes(graph: gs.Graph, dtype: str | None) -> list[str]:
    wanted = _DTYPES.get(dtype, dtype) if dtype else None
    return [
        f"frontend.dtype is {dtype}, but input '{tensor.name}' is {np.dtype(tensor.dtype).name}: "
        "the network decides"
        for tensor in graph.inputs
        if wanted and np.dtype(tensor.dtype).name != wanted
    ]
