"""Graph files as callables, on ONNX Runtime and on OpenVINO."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compiler.runner.onnxruntime import load
from tests.benchmarks.engines.columns import Column

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with one input and one output, ready to run.

    Args:
        run: Output for an input. The array may be overwritten by the next run.
        load_seconds: From the file to here.
        precision: In which the engine computes what is not int8.
    """

    run: Run
    load_seconds: float
    precision: str


def cpu_has_bf16() -> bool:
    """Whether bf16 is OpenVINO's default precision on this machine."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_column(column: Column, path: Path, threads: int, *, input_name: str = "input") -> Loaded:
    """Load a contestant's graph, whose only input has the given name, into its engine."""
    start = time.perf_counter()
    if column.engine == "onnxruntime":
        run, precision = _open_onnxruntime(path, threads, input_name), "f32"
    else:
        run, precision = _open_openvino(path, threads, exact=column.precision == "f32")
    return Loaded(run, time.perf_counter() - start, precision)


def open_unoptimized(path: Path) -> Run:
    """A network in ONNX Runtime without any of its graph optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(values: Floats) -> Floats:
        output: Floats = session.run(None, {"input": values})[0]
        return output

    return run


def _open_onnxruntime(path: Path, threads: int, input_name: str) -> Run:
    session = load(path, threads=threads)

    def run(values: Floats) -> Floats:
        (output,) = session.run({input_name: values}).values()
        return output

    return run


def _open_openvino(path: Path, threads: int, *, exact: bool) -> tuple[Run, str]:
    import openvino

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if exact:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    network = openvino.Core().compile_model(path, "CPU", options)
    request = network.create_infer_request()

    def run(values: Floats) -> Floats:
        output: Floats = request.infer({0: values}, share_inputs=True, share_outputs=True)[0]
        return output

    return run, network.get_property("INFERENCE_PRECISION_HINT").get_type_name()
