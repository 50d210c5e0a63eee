"""ONNX Runtime as an engine: one file per engine, each with `load` and a session with `run`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from compiler.errors import BuildFileError, MissingRequirementError
from compiler.runner.cpu import cpus
from compiler.runner.engine import Provider, Tensor
from compiler.runner.optimized_graph import CPU, Options, open_kept, write_graph
from compiler.runner.profile import Trace, read_trace

SESSION_GRAPH = "session.onnx"
"""Name of the graph that a session has made for itself, in the folder of its trace."""

_ERRORS_ONLY = 3
_SPINNING = "session.intra_op.allow_spinning"
_STOP_SPINNING = "session.force_spinning_stop"
_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"
_TRACE = "trace"
_WEIGHTS = "session.weights"

onnxruntime.disable_telemetry_events()  # also where the program imported onnxruntime before


def version() -> str:
    """Version of the installed onnxruntime."""
    return str(onnxruntime.__version__)


class OrtSession:
    """A graph loaded by ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._providers = session.get_providers()

    @property
    def on_cpu(self) -> bool:
        return bool(self._providers == [CPU])

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = self._session.run(self._outputs, dict(feeds))
        return dict(zip(self._outputs, map(np.asarray, results), strict=True))

    def profile(self) -> Trace:
        """Times of the runs so far, of a graph that was loaded to be traced; ends the tracing.

        Raises:
            ValueError: It was not, or there were fewer than two runs.
        """
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
    instances: int = 1,
    providers: Sequence[Provider] | None = None,
    arena: bool = True,
    trace: Path | None = None,
    bfloat16: bool = False,
    in_turns: bool = False,
    digest: str | None = None,
) -> OrtSession:
    """Load a graph, or what was kept of it as optimized for this CPU.

    External data is mapped, not copied, where no optimization rewrites it: of a kept graph, none.

    Args:
        model: ONNX file; external data beside it.
        threads: Threads of one operator; None takes every CPU that this process may use.
        instances: Samples that will run at the same time; a session takes any number of them.
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
        digest: Names the contents of graph and weights; None, a trace or a provider other than the
            CPU keep nothing in the user's cache.

    Raises:
        MissingRequirementError: A provider is not in the installed onnxruntime, or does not start.
        Exception: What ONNX Runtime raises for a graph that it cannot load; it has no common base.
    """
    del instances
    if isinstance(providers, str):
        providers = (providers,)
    wanted = [_resolve(provider) for provider in providers or (CPU,)]

    def new_options() -> Options:
        return _options(threads or cpus(), arena=arena, bfloat16=bfloat16, in_turns=in_turns)

    session = None
    if digest is not None and trace is None and wanted == [(CPU, {})]:
        session = open_kept(model, digest, new_options, bfloat16=bfloat16)
    if session is None:
        options = new_options()
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


def _options(threads: int, *, arena: bool, bfloat16: bool, in_turns: bool) -> Options:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena = arena
    if not arena:  # in the order of the file, so that a tensor goes soon after its readers there
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.add_session_config_entry(_SPINNING, "0")
    if in_turns:
        options.add_session_config_entry(_STOP_SPINNING, "1")
    if bfloat16:
        options.add_session_config_entry(_BFLOAT16, "1")
    return options


def _record(options: Options, folder: Path) -> None:
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / _TRACE)
    write_graph(options, folder / SESSION_GRAPH, weights=_WEIGHTS)


def _resolve(provider: Provider) -> tuple[str, dict[str, object]]:
    try:
        name, options = (provider, {}) if isinstance(provider, str) else provider
        short, options = name.lower().removesuffix("executionprovider"), dict(options)
    except (TypeError, ValueError, AttributeError) as error:
        raise BuildFileError(
            f"{provider!r} is no execution provider",
            where="providers",
            fix='give a list of names, or of pairs such as ("CUDA", {"device_id": 1})',
        ) from error
    present: list[str] = onnxruntime.get_available_providers()
    spellings = {full.lower().removesuffix("executionprovider"): full for full in present}
    full = spellings.get(short)
    if full is None:
        raise MissingRequirementError(
            f"no execution provider {name!r}; present: {', '.join(present)}",
            where=f"onnxruntime {onnxruntime.__version__}",
            fix="use one of those present, or install the onnxruntime package that has it",
        )
    return full, options
