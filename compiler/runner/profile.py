"""What an engine did in its runs, node by node."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

Event: TypeAlias = Mapping[str, Any]  # Any: a JSON object

_KERNEL: Final = "_kernel_time"
_RUN: Final = "model_run"


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, in the engine's word, and shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One node of the engine's own graph.

    Args:
        name: As the engine calls it: it fuses and renames nodes.
        op: Operator type as run, such as "QLinearConv".
        provider: Execution provider.
        microseconds: Mean of the runs but the first.
        inputs: Tensors read; without weights that the engine holds in a form of its own.
        outputs: Tensors written.
        bytes_read: Of the inputs that are no constants.
        bytes_written: Of the outputs.
    """

    name: str
    op: str
    provider: str
    microseconds: float
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Several runs of one graph.

    Args:
        kernels: In the order in which they ran.
        microseconds: Mean time of a run, all of it, the first left out.
        runs: How many the means are of.
    """

    kernels: tuple[Kernel, ...]
    microseconds: float
    runs: int


def read_trace(path: Path) -> Trace:
    """The trace that ONNX Runtime's profiler wrote; its first run is left out.

    Args:
        path: JSON file: a list of events, each with `name`, `cat`, `ts` (start) and `dur`
            (microseconds); those of a kernel have its operator and tensors in `args`.

    Raises:
        ValueError: Fewer than two runs are in it.
    """
    events: list[Event] = json.loads(path.read_text(encoding="utf-8"))
    runs = sorted((event for event in events if event.get("name") == _RUN), key=_start)
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} runs traced; the first one is left out, so give two or more")
    counted = [event for event in events if _start(event) >= _start(runs[1])]
    kernels: dict[tuple[str, str], list[Event]] = {}
    for event in sorted(counted, key=_start):
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            key = (event["name"], event["args"].get("node_index", ""))
            kernels.setdefault(key, []).append(event)
    return Trace(
        tuple(_kernel(of_one, len(runs) - 1) for of_one in kernels.values()),
        sum(event["dur"] for event in runs[1:]) / (len(runs) - 1),
        len(runs) - 1,
    )


def _start(event: Event) -> int:
    return int(event.get("ts", 0))


def _kernel(events: list[Event], runs: int) -> Kernel:
    """One node, with as many events as it ran times."""
    facts = events[0]["args"]
    return Kernel(
        name=events[0]["name"].removesuffix(_KERNEL),
        op=facts["op_name"],
        provider=facts["provider"],
        microseconds=sum(event["dur"] for event in events) / runs,
        inputs=_types(facts["input_type_shape"]),
        outputs=_types(facts["output_type_shape"]),
        bytes_read=int(facts["activation_size"]),
        bytes_written=int(facts["output_size"]),
    )


def _types(tensors: Iterable[Mapping[str, list[int]]]) -> tuple[TensorType, ...]:
    """Each tensor is written as {element type: shape}."""
    return tuple(
        TensorType(dtype, tuple(shape)) for tensor in tensors for dtype, shape in tensor.items()
    )
