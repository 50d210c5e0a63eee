import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.runner.onnxruntime import SESSION_GRAPH, load
from compiler.runner.profile import Kernel, TensorType, Trace, read_trace
from tests.support.project import two_convolutions

Event = dict[str, object]


def _run(start: int, duration: int) -> Event:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": duration, "args": {}}


def _node(start: int, duration: int, name: str = "conv", index: str = "3") -> Event:
    facts = {
        "op_name": "Conv",
        "provider": "CPUExecutionProvider",
        "node_index": index,
        "input_type_shape": [{"float": [1, 3, 8, 8]}, {"float": [16]}],
        "output_type_shape": [{"float": [1, 16, 8, 8]}],
        "activation_size": "768",
        "output_size": "4096",
    }
    event: Event = {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration}
    return event | {"args": facts}


def _write(folder: Path, *events: Event) -> Path:
    path = folder / "trace.json"
    path.write_text(json.dumps(events))
    return path


def test_means_leave_the_first_run_out(tmp_path: Path) -> None:
    first = [_run(100, 900), _node(110, 700)]
    others = [_run(1000, 50), _node(1010, 20), _run(2000, 70), _node(2010, 30)]
    loading: Event = {"cat": "Session", "name": "session_initialization", "ts": 1, "dur": 99}
    trace = read_trace(_write(tmp_path, loading, *first, *others))
    assert trace == Trace(
        kernels=(
            Kernel(
                name="conv",
                op="Conv",
                provider="CPUExecutionProvider",
                microseconds=25.0,
                inputs=(TensorType("float", (1, 3, 8, 8)), TensorType("float", (16,))),
                outputs=(TensorType("float", (1, 16, 8, 8)),),
                bytes_read=768,
                bytes_written=4096,
            ),
        ),
        microseconds=60.0,
        runs=2,
    )


def test_a_node_inside_a_loop_counts_as_often_as_it_ran(tmp_path: Path) -> None:
    events = [_run(0, 9), _run(10, 9), _node(11, 2), _node(13, 3), _node(16, 4)]
    (kernel,) = read_trace(_write(tmp_path, *events)).kernels
    assert kernel.microseconds == 9.0


def test_nodes_of_one_name_stay_apart_and_in_order(tmp_path: Path) -> None:
    events = [_run(0, 9), _run(10, 9), _node(13, 3, index="4"), _node(11, 2, index="7")]
    kernels = read_trace(_write(tmp_path, *events)).kernels
    assert [kernel.microseconds for kernel in kernels] == [2.0, 3.0]


def test_one_run_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 runs traced"):
        read_trace(_write(tmp_path, _run(0, 9), _node(1, 5)))


def test_a_session_traces_every_node_of_its_own_graph(tmp_path: Path) -> None:
    onnx.save(two_convolutions(), tmp_path / "net.onnx")
    session = load(tmp_path / "net.onnx", threads=1, trace=tmp_path)
    for _ in range(3):
        session.run({"input": np.zeros((1, 3, 16, 16), np.float32)})
    trace = session.profile()
    session.close()
    graph = onnx.load(tmp_path / SESSION_GRAPH, load_external_data=False).graph
    assert {kernel.name for kernel in trace.kernels} == {node.name for node in graph.node}
    assert trace.runs == 2
    assert 0 < sum(kernel.microseconds for kernel in trace.kernels) <= trace.microseconds


def test_a_session_without_a_trace_folder_has_no_profile(tmp_path: Path) -> None:
    onnx.save(two_convolutions(), tmp_path / "net.onnx")
    session = load(tmp_path / "net.onnx", threads=1)
    with pytest.raises(ValueError, match="without a folder for its trace"):
        session.profile()
