"""From ONNX text to what the session really runs, with ranges measured on the given inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

from calibration.ranges import TensorRange
from compiler.graph.convert import infer_shapes, to_graph, to_model
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Form, Int8Options, Int8Plan, plan_int8
from compiler.verify.integer import IntegerReport, inspect_session_graph
from tests.support.models import model_from_text, random_feeds

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Quantized:
    """A float graph and everything made of it."""

    graph: gs.Graph
    plan: Int8Plan
    ranges: Mapping[str, TensorRange]
    qdq: gs.Graph
    model: onnx.ModelProto
    report: IntegerReport

    def form(self, op: str) -> Form:
        """Form of the only node of type `op`."""
        (node,) = (node for node in self.plan.nodes if node.op == op)
        return node.form

    def ran_as(self, op: str) -> str:
        """What the session runs for the only node of type `op`."""
        (state,) = (state for state in self.report.nodes if state.op == op)
        return state.ran_as

    def sqnr_db(self, feeds: Feeds) -> float:
        """Signal to quantization noise ratio of the first output."""
        reference, actual = run_all(to_model(self.graph), feeds)[0], run_all(self.model, feeds)[0]
        noise = float(np.square(reference - actual).sum())
        signal = float(np.square(reference).sum())
        return float("inf") if noise == 0 else 10 * float(np.log10(signal / noise))


def network(text: str, opset: int = 17, seed: int = 0) -> gs.Graph:
    """Float graph from the part of an ONNX text that follows the opset line."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>\n'
    graph = to_graph(model_from_text(head + text, seed))
    infer_shapes(graph)
    return graph


def quantize(
    graph: gs.Graph, options: Int8Options | None = None, samples: Sequence[Feeds] = ()
) -> Quantized:
    """Plan, measure, insert, check, and let a session optimize the result."""
    plan = plan_int8(graph, options or Int8Options())
    model = to_model(graph)
    ranges = measure(model, plan, samples or [random_feeds(model)])
    qdq = insert_qdq(graph, plan, ranges)
    infer_shapes(qdq)
    quantized = to_model(qdq)
    onnx.checker.check_model(quantized, full_check=True)
    report = inspect_session_graph(quantized.SerializeToString(), plan.integer_nodes)
    return Quantized(graph, plan, ranges, qdq, quantized, report)


def measure(
    model: onnx.ModelProto, plan: Int8Plan, samples: Sequence[Feeds]
) -> dict[str, TensorRange]:
    """Smallest and largest value of every observed tensor, as ranges."""
    outputs = {tensor.name for tensor in model.graph.output}
    inputs = {tensor.name for tensor in model.graph.input}
    hidden = [name for name in plan.observed if name not in outputs | inputs]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in hidden
    )
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    bounds: dict[str, tuple[float, float]] = {}
    for feeds in samples:
        values = {**feeds, **dict(zip(names, session.run(names, dict(feeds)), strict=True))}
        for name in plan.observed:
            low, high = bounds.get(name, (0.0, 0.0))
            bounds[name] = min(low, values[name].min()), max(high, values[name].max())
    return {name: as_range(name, *bounds[name]) for name in plan.observed}


def as_range(name: str, low: float, high: float) -> TensorRange:
    """Range that spans [low, high] and 0."""
    low, high = min(0.0, float(low)), max(0.0, float(high))
    scale = float(np.float32((high - low) / 255)) or 1.0
    return TensorRange(
        name=name,
        method="max",
        minimum=low,
        maximum=high,
        threshold=max(-low, high),
        scale=scale,
        zero_point=round(-low / scale),
    )


def open_session(model: onnx.ModelProto) -> Any:  # onnxruntime has no types
    """Session on one thread with every optimization."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_all(model: onnx.ModelProto, feeds: Feeds) -> list[NDArray[Any]]:
    """All outputs of a model, optimized."""
    return list(open_session(model).run(None, dict(feeds)))
