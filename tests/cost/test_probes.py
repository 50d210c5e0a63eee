from dataclasses import fields
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from compiler.cost.machine import BUILT_IN, Machine
from compiler.cost.model import CostModel
from compiler.cost.probes import PROBES, Probe, machine_of
from compiler.graph.convert import infer_shapes, to_graph

CONSTANTS = [field.name for field in fields(Machine) if field.name != "source"]


def test_every_constant_of_a_machine_has_a_probe() -> None:
    assert set(PROBES) == set(CONSTANTS)


def test_the_constants_predict_the_times_that_they_come_from() -> None:
    """Times of a known machine, as the cost model gives them, lead back to that machine."""
    nanoseconds = {name: _predicted(BUILT_IN, name) for name in PROBES}
    machine = machine_of(nanoseconds, "here")
    assert machine.source == "here"
    for name in CONSTANTS:
        assert getattr(machine, name) == pytest.approx(getattr(BUILT_IN, name), rel=1e-6), name


def _predicted(machine: Machine, name: str) -> float:
    """Nanoseconds of one repeat of a probe."""
    probe = PROBES[name]
    if probe.amount is not None:
        return float(probe.amount * getattr(machine, name))
    few, many = (_nanoseconds(machine, probe, repeats) for repeats in probe.repeats)
    return (many - few) / (probe.repeats[1] - probe.repeats[0])


def _nanoseconds(machine: Machine, probe: Probe, repeats: int) -> float:
    graph = to_graph((probe.seen or probe.build)(repeats))
    infer_shapes(graph)
    return 1e6 * CostModel(machine, probe.precision).milliseconds(graph.nodes)


def test_no_constant_is_negative() -> None:
    machine = machine_of(dict.fromkeys(PROBES, 0.0) | {"node": 10.0}, "")
    assert machine.node == pytest.approx(10.0, rel=0.5)
    assert min(getattr(machine, name) for name in CONSTANTS) == 0.0


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("node", {"Conv"}),
        ("byte", {"Concat"}),
        ("conv_float", {"Conv"}),
        ("conv_int8", {"QLinearConv"}),
        ("matmul_float", {"MatMul"}),
        ("matmul_int8", {"QLinearMatMul"}),
        ("depthwise_float", {"Conv"}),
        ("depthwise_int8", {"QLinearConv"}),
        ("transpose_int8", {"Transpose"}),
        ("gather_byte", {"QLinearConv"}),
        ("gather_tap", {"QLinearConv"}),
        ("resize_float", {"MaxPool", "Conv", "Upsample"}),
        ("resize_plain", {"Resize"}),
        (
            "resize_int8",
            {"NhwcMaxPool", "QLinearConv", "DequantizeLinear", "Resize", "QuantizeLinear"},
        ),
        ("quantize", {"QuantizeLinear", "DequantizeLinear"}),
    ],
)
def test_onnxruntime_runs_what_a_probe_means_to_measure(
    name: str, operators: set[str], tmp_path: Path
) -> None:
    few, many = (_operators(PROBES[name].build(n), tmp_path) for n in PROBES[name].repeats)
    added = {op: many.count(op) - few.count(op) for op in {*few, *many}}
    repeats = PROBES[name].repeats[1] - PROBES[name].repeats[0]
    assert {op for op, count in added.items() if count} == operators
    assert all(added[op] % repeats == 0 for op in operators)


def _operators(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Operator types of the graph that a session makes of `model`."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "session.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "session.onnx").graph.node]
