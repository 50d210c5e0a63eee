"""ONNX Runtime as an engine: one file per engine, each with `load` and a session with `run`."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compiler.errors import MissingRequirementError
from compiler.runner.cpu import has_bfloat16
from compiler.runner.profile import Trace, read_trace

Tensor: TypeAlias = NDArray[Any]  # Any: graphs carry float, integer and bool tensors alike
Provider: TypeAlias = str | tuple[str, Mapping[str, object]]

SESSION_GRAPH = "session.onnx"
"""Name of the graph that a session has made for itself, in the folder of its trace."""

_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_SPINNING = "session.intra_op.allow_spinning"
_STOP_SPINNING = "session.force_spinning_stop"
_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"
_TRACE = "trace"
_WEIGHTS = "session.weights"
_WEIGHT_BYTES = 1024


def dtypes() -> tuple[str, ...]:
    """Precisions, as a build file names them, that ONNX Runtime has for this CPU."""
    return ("fp32", "fp16", "int8", *(("bf16",) if has_bfloat16() else ()))


def check_dtype(dtype: str) -> None:
    """Refuse a precision that ONNX Runtime would silently replace by another on this CPU.

    Raises:
        MissingRequirementError: This CPU has no kernels for `dtype`.
    """
    if dtype not in dtypes():
        raise MissingRequirementError(
            f"ONNX Runtime computes {dtype} on Arm CPUs with the bf16 extension under Linux only; "
            f"this is {platform.machine() or 'another'} under {platform.system() or 'another'}",
            where=f"backend.dtype: {dtype}",
            fix=f"choose one of {', '.join(dtypes())}, or build on such a machine",
        )


class Session(Protocol):
    """A loaded graph, whatever the engine."""

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU runs every node."""
        ...

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for inputs by name, in the shapes and dtypes of the graph."""
        ...

    def profile(self) -> Trace:
        """Times of the runs so far, of a graph that was loaded to be traced; ends the tracing.

        Raises:
            ValueError: It was not, or there were fewer than two runs.
        """
        ...

    def close(self) -> None:
        """Free the network's memory."""
        ...


class OrtSession:
    """A graph loaded by ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._providers = session.get_providers()

    @property
    def on_cpu(self) -> bool:
        return bool(self._providers == [_CPU])

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = self._session.run(self._outputs, dict(feeds))
        return dict(zip(self._outputs, map(np.asarray, results), strict=True))

    def profile(self) -> Trace:
        path: str = self._session.end_profiling()
        if not path:
            raise ValueError("the graph was loaded without a folder for its trace")
        return read_trace(Path(path))

    def close(self) -> None:
        """Free the network's memory, also while somebody still holds `run`; it is gone then."""
        del self._session


def load(
    model: Path,
    *,
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    arena: bool = True,
    trace: Path | None = None,
    bfloat16: bool = False,
    in_turns: bool = False,
) -> OrtSession:
    """Load a graph; its external data is mapped, not copied, where no optimisation rewrites it.

    Args:
        model: ONNX file; external data beside it.
        threads: Threads of one operator; None takes every CPU that this process may use.
        providers: Execution providers in order of preference, by full or short name ("CUDA"),
            alone or with options; None is the CPU. Nodes that none of them runs go to the CPU.
        arena: Keep the memory of activations between runs. Without it a run takes longer (int8 30
            to 50 %, float32 5 to 10 %), and the process little more than weights and one sample.
            Threads then sleep between operators, so that a build leaves the CPU to others.
        trace: Folder for the trace that `profile` reads, and for `SESSION_GRAPH`.
        bfloat16: Multiply float32 matrices in bfloat16 and sum in float32 where the CPU can (see
            `compiler.runner.cpu`); elsewhere it changes nothing.
        in_turns: Let the CPUs go as soon as a run ends. By default its threads wait actively for
            the next one for a while, in which other sessions of the process take twice their time.

    Raises:
        MissingRequirementError: A provider is not in the installed onnxruntime, or does not start.
        Exception: What ONNX Runtime raises for a graph that it cannot load; it has no common base.
    """
    if isinstance(providers, str):
        providers = (providers,)
    wanted = [_resolve(provider) for provider in providers or (_CPU,)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpus()
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena = arena
    if not arena:  # in the order of the file, so that a tensor goes soon after its readers there
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.add_session_config_entry(_SPINNING, "0")
    if in_turns:
        options.add_session_config_entry(_STOP_SPINNING, "1")
    if bfloat16:
        options.add_session_config_entry(_BFLOAT16, "1")
    if trace is not None:
        _record(options, trace)
    session = onnxruntime.InferenceSession(str(model), options, providers=wanted)
    running = session.get_providers()
    if silent := [name for name, _ in wanted if name not in running]:
        raise MissingRequirementError(
            f"execution provider {silent[0]} is installed but does not start",
            where="onnxruntime",
            fix=f"check its driver and libraries, or use one that runs here: {', '.join(running)}",
        )
    return OrtSession(session)


def _record(options: onnxruntime.SessionOptions, folder: Path) -> None:
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / _TRACE)
    options.optimized_model_filepath = str(folder / SESSION_GRAPH)
    for key, value in {
        "external_initializers_file_name": _WEIGHTS,
        "external_initializers_min_size_in_bytes": str(_WEIGHT_BYTES),
    }.items():
        options.add_session_config_entry(f"session.optimized_model_{key}", value)


def _resolve(provider: Provider) -> tuple[str, dict[str, object]]:
    name, options = (provider, {}) if isinstance(provider, str) else provider
    present: list[str] = onnxruntime.get_available_providers()
    spellings = {full.lower().removesuffix("executionprovider"): full for full in present}
    full = spellings.get(name.lower().removesuffix("executionprovider"))
    if full is None:
        raise MissingRequirementError(
            f"no execution provider {name!r}; present: {', '.join(present)}",
            where=f"onnxruntime {onnxruntime.__version__}",
            fix="use one of those present, or install the onnxruntime package that has it",
        )
    return full, dict(options)


def cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
