"""OpenVINO as an engine.

Loading compiles the graph for this CPU, which takes several times as long as ONNX Runtime needs;
the result is therefore kept in the user's cache, by what it was made from.

OpenVINO computes int64 in 32 bits and float64 in float32. It checks inputs against the graph, but
neither indices, nor whether open sizes suit each other: where they do not, it reads and writes
memory that is not its own; hence feeds are checked against the manifest before. It pins its threads
to CPUs unless told not to: two processes would then share one CPU, however many there are.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from queue import LifoQueue
from typing import Any, Final

import numpy as np

from compiler.errors import MissingRequirementError
from compiler.runner.cpu import cpu_features, cpus, has_bfloat16
from compiler.runner.engine import Tensor
from compiler.runner.user_cache import KeptFiles, cache_folder

_DEVICE: Final = "CPU"
_RESULT: Final = "/sink_port_0"  # the frontend names results after outputs, with this at the end
_NOISE: Final = ("Exception from ", "Check '")  # lines of an error that point into its sources
_KEPT_BYTES: Final = 1 << 30
_LARGEST: Final = 64 << 20  # beyond, reading takes as long as compiling (measured)

_LOG = logging.getLogger(__name__)

Config = dict[str, object]


class OpenVinoSession:
    """A graph compiled by OpenVINO."""

    on_cpu: Final = True

    def __init__(self, compiled: Any, instances: int) -> None:  # Any: openvino has no types
        self._inputs = {one.any_name: _dtype(one) for one in compiled.inputs}
        self._outputs = [_output_name(one) for one in compiled.outputs]
        self._requests: LifoQueue[Any] = LifoQueue()  # Any: as above
        for _ in range(instances):
            self._requests.put(compiled.create_infer_request())

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for inputs by name; waits while all instances are busy.

        Raises:
            ValueError: Not the inputs of the graph, or another element type.
            RuntimeError: OpenVINO cannot run it, for instance because of a shape.
        """
        given = {name: array.dtype for name, array in feeds.items()}
        if given != self._inputs:
            raise ValueError(f"the graph takes {_text(self._inputs)}; {_text(given)} given")
        requests = self._requests
        request = requests.get()
        try:
            # Of the ways to hand arrays over, none is measurably faster; this one copies least.
            request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            return {
                name: np.array(request.get_output_tensor(index).data)
                for index, name in enumerate(self._outputs)
            }
        finally:
            requests.put(request)

    def close(self) -> None:
        """Free the network's memory, once the runs in other threads have ended."""
        del self._requests


def load(
    model: Path,
    *,
    threads: int | None = None,
    instances: int = 1,
    bfloat16: bool = False,
    digest: str | None = None,
) -> OpenVinoSession:
    """Load a graph, or take what was compiled of the same graph before.

    Args:
        model: ONNX file; external data beside it.
        threads: Threads of one operator; None shares the CPUs among the instances.
        instances: Samples that run at the same time, each with so many threads.
        bfloat16: Multiply in bfloat16 where the CPU can (see `compiler.runner.cpu`); elsewhere it
            changes nothing.
        digest: Names the contents of graph and weights; None keeps nothing in the user's cache.

    Raises:
        MissingRequirementError: openvino is not installed.
        ValueError: It cannot load the graph.
    """
    each = threads or max(1, cpus() // instances)
    config: Config = {
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 and has_bfloat16("openvino") else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else activations of float layers may become int8
        "NUM_STREAMS": instances,
        "INFERENCE_NUM_THREADS": each * instances,
        "ENABLE_CPU_PINNING": False,
    }
    version()  # or what is missing
    start = time.perf_counter()
    try:
        compiled = _compile(model, config) if digest is None else _kept(model, config, digest)
    except RuntimeError as error:
        raise ValueError(_plain(error)) from error
    _LOG.debug("openvino: %s loaded in %.3f s", model, time.perf_counter() - start)
    return OpenVinoSession(compiled, instances)


def version() -> str:
    """Version of the installed openvino.

    Raises:
        MissingRequirementError: It is not installed.
    """
    return str(_import().get_version())


def _kept(model: Path, config: Config, digest: str) -> Any:  # Any: openvino has no types
    """The compiled graph, from the cache where it is there."""
    facts = [digest, version(), sorted(cpu_features()), config]
    name = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".blob"
    kept = KeptFiles(cache_folder("openvino", chosen="openvino"), limit=_KEPT_BYTES)
    data = kept.read(name)
    if data is not None:
        try:
            return _core().import_model(data, _DEVICE, config)
        except RuntimeError as error:
            _LOG.warning("openvino: what was kept of %s is not used: %s", model, _plain(error))
            kept.remove(name)
    compiled = _compile(model, config)
    if kept.folder is not None:
        data = compiled.export_model().getvalue()
        if len(data) <= _LARGEST:
            kept.write(name, data)
    return compiled


def _compile(model: Path, config: Config) -> Any:  # Any: openvino has no types
    return _core().compile_model(str(model), _DEVICE, config)


@cache
def _core() -> Any:  # Any: openvino has no types
    """The engine itself, which starts its threads once."""
    return _import().Core()


def _import() -> Any:  # Any: openvino has no types
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise MissingRequirementError(
            f"the engine openvino cannot be imported: {error}",
            where="openvino",
            fix="pip install 'modc[openvino]', or choose engine onnxruntime",
        ) from error
    return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import openvino as if its telemetry package were not installed.

    Else the import alone writes an identifier into the user's home and reports to a server.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # documented: the import then fails
    try:
        yield
    finally:
        del sys.modules[name]


def _output_name(output: Any) -> str:  # Any: openvino has no types
    """Name of a graph output; a tensor that Identity passes on has several, in no order."""
    name = str(output.get_node().friendly_name).removesuffix(_RESULT)
    return name if name in output.names else str(output.any_name)


def _dtype(port: Any) -> np.dtype[Any]:  # Any: openvino has no types; arrays of all dtypes
    element: np.dtype[Any] = np.dtype(port.element_type.to_dtype())
    return element


def _text(tensors: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in tensors.items()) or "nothing"


def _plain(error: RuntimeError) -> str:
    """What an error says, without the lines that point into OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_NOISE)]
    return " ".join(told) or " ".join(lines)
