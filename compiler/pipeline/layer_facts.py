"""What a network consists of: operators and bytes as a whole, then layer by layer."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.work import size_of, work_of
from compiler.graph.query import is_static, producer
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.fold_constants import fold_constants
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.result import PassResult, Skip
from compiler.passes.run import run_passes
from compiler.pipeline.quantizer import Quantized
from compiler.quantize.plan import Form
from compiler.verify.integer import IntegerReport
from compiler.verify.result import TensorFigures, VerifyResult

Facts = dict[str, Any]  # Any: a JSON object

_CONVERSIONS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})


def graph_facts(graph: gs.Graph) -> Facts:
    """Operators, multiply-accumulates and bytes of a network.

    Args:
        graph: With shapes; not changed. Where some depend on values, a copy finds them out.
    """
    constants = {id(one): one for node in graph.nodes for one in _constants(node)}
    return {
        "operators": dict(sorted(Counter(node.op for node in graph.nodes).items())),
        "nodes": len(graph.nodes),
        "macs": sum(_macs(node) for node in _sized(graph).nodes),
        "parameter_bytes": sum(map(_bytes, constants.values())),
    }


def layer_facts(
    graph: gs.Graph,
    dtype: str,
    passes: Iterable[PassResult],
    quantized: Quantized | None,
    session: IntegerReport | None,
    verification: VerifyResult,
) -> list[Facts]:
    """The nodes of a compiled network that compute, in graph order.

    Args:
        graph: As it stands in the bundle.
        dtype: Of the build.
        passes: Which tell why a node of an fp16 network stays in float32.
        quantized: For int8, what was to become of each node.
        session: For int8, what became of it.
        verification: Figures by tensor.
    """
    plans = {plan.node: plan for plan in quantized.plan.nodes} if quantized else {}
    kept_wide = {skip.where: skip.reason for skip in _casts(passes)}
    surprises = {node.node: node.reason for node in session.float_nodes} if session else {}
    figures = {one.name: one for one in (*verification.layers, *verification.outputs)}

    def facts_of(node: gs.Node) -> Facts:
        output, plan, macs = node.outputs[0], plans.get(node.name), _macs(node)
        if plan is not None and plan.form is not Form.FLOAT and node.name not in surprises:
            found, reason = "int8", ""
        elif dtype == "bf16" and macs:  # the engine multiplies in bfloat16, and nothing else
            found, reason = "bfloat16", ""
        else:
            found = _dtype(output)
            reason = surprises.get(node.name) or (plan.reason if plan is not None else "")
            reason = reason or (kept_wide.get(output.name, "") if found == "float32" else "")
        known = figures.get(output.name) or (figures.get(plan.output) if plan else None)
        return {
            "node": node.name,
            "op": node.op,
            "dtype": found,
            "reason": reason,
            "shape": [int(size) if isinstance(size, int) else -1 for size in output.shape or ()],
            "macs": macs,
            "parameter_bytes": sum(map(_bytes, _parameters(node))),
            "tensor": output.name,
            **_agreement(known),
        }

    return [facts_of(node) for node in graph.nodes if node.op not in _CONVERSIONS]


def _sized(graph: gs.Graph) -> gs.Graph:
    """The graph, or a copy without the nodes that compute shapes, so that all are known."""
    if all(is_static(one) for node in graph.nodes for one in node.outputs if one.name):
        return graph
    copy = graph.copy()
    run_passes(copy, (infer_shapes, fold_constants))
    return copy


def _macs(node: gs.Node) -> int:
    work = work_of(node)
    return 0 if work is None else work.macs


def _constants(node: gs.Node) -> list[gs.Constant]:
    return [tensor for tensor in node.inputs if isinstance(tensor, gs.Constant)]


def _parameters(node: gs.Node) -> list[gs.Constant]:
    """Constants that a node reads, with scale and zero point where they are stored as integers."""
    found = _constants(node)
    for maker in map(producer, node.inputs):
        if maker is not None and maker.op == "DequantizeLinear":
            found += _constants(maker) if isinstance(maker.inputs[0], gs.Constant) else []
    return found


def _bytes(constant: gs.Constant) -> int:
    return size_of(constant) * int(np.dtype(constant.dtype).itemsize)


def _dtype(tensor: gs.Tensor) -> str:
    return "unknown" if tensor.dtype is None else np.dtype(tensor.dtype).name


def _casts(passes: Iterable[PassResult]) -> list[Skip]:
    return [skip for one in passes if one.name == cast_float16.__name__ for skip in one.skipped]


def _agreement(figures: TensorFigures | None) -> Mapping[str, float | None]:
    if figures is None:
        return {"sqnr_db": None, "cosine": None}
    return {"sqnr_db": figures.sqnr_db, "cosine": figures.cosine}
