"""The constants of the cost model, measured on this machine and kept in the user's cache."""

import tempfile
import time
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
import onnxruntime

from compiler.cost.machine import BUILT_IN, Machine, read_machine
from compiler.cost.probes import PROBES, machine_of
from compiler.graph.convert import to_bytes
from compiler.pipeline.clock import Report
from compiler.pipeline.samples import Feeds, Input, random_feeds
from compiler.pipeline.sessions import load_model
from compiler.runner.cpu import cpu_name
from compiler.runner.onnxruntime import OrtSession
from compiler.runner.user_cache import user_folder

ROUNDS: Final = 20
"""Each graph runs once a round; the shortest of its times counts, as the least disturbed one."""


def machine_path() -> Path:
    """Where the constants of this machine are kept."""
    return user_folder() / "machine.json"


def machine_for(choice: Literal["builtin", "tuned"]) -> Machine:
    """The constants that a build file asks for (`backend.optimize.machine`).

    Raises:
        MissingRequirementError: "tuned", and `modc tune` has not run on this machine.
    """
    return BUILT_IN if choice == "builtin" else read_machine(machine_path())


def measure_machine(*, rounds: int = ROUNDS, progress: Report | None = None) -> Machine:
    """Measure every constant on ONNX Runtime, with one thread.

    Args:
        rounds: Repetitions; the graphs take turns.
        progress: Called as progress(stage, done, total).
    """
    report = progress or (lambda stage, done, total: None)
    report("tune", 0, rounds)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            (name, repeats): _load(probe.build(repeats), Path(folder) / "probe.onnx")
            for name, probe in PROBES.items()
            for repeats in probe.repeats
        }
    shortest = dict.fromkeys(runs, float("inf"))
    for done in range(1, rounds + 1):
        for key, (session, feeds) in runs.items():
            shortest[key] = min(shortest[key], _cpu_nanoseconds(session, feeds))
        report("tune", done, rounds)
    per_repeat = {}
    for name, probe in PROBES.items():
        few, many = probe.repeats
        per_repeat[name] = (shortest[name, many] - shortest[name, few]) / (many - few)
    return machine_of(per_repeat, f"{cpu_name()}, onnxruntime {onnxruntime.__version__}")


def _load(model: onnx.ModelProto, path: Path) -> tuple[OrtSession, Feeds]:
    """A graph that has run once, and what to feed it."""
    path.write_bytes(to_bytes(model))
    session = load_model(path, threads=1)
    (feeds,) = random_feeds([_input(info) for info in model.graph.input], 1)
    session.run(feeds)
    return session, feeds


def _input(info: onnx.ValueInfoProto) -> Input:
    tensor = info.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return Input(info.name, tuple(size.dim_value for size in tensor.shape.dim), dtype)


def _cpu_nanoseconds(session: OrtSession, feeds: Feeds) -> float:
    start = time.process_time_ns()
    session.run(feeds)
    return time.process_time_ns() - start
