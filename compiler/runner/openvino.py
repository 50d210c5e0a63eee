"""OpenVINO as an engine.

Loading compiles the graph for this CPU, which takes several times as long as ONNX Runtime needs;
the result is therefore kept in the user's cache, by what it was made from.

OpenVINO computes int64 in 32 bits and float64 in float32. It checks inputs against the graph, but
neither indices, nor whether open sizes suit the network and each other: where they do not, it
yields what memory happens to hold, or reads and writes memory that is not its own. Hence shapes are
inferred first where sizes are open. It pins its threads to CPUs unless told not to: two processes
would then share one CPU, however many there are.

Each instance is a compiled graph of its own with one stream. One graph with two streams, which is
what OpenVINO offers for it, computes int8 networks wrongly in more than half of all loads
(2026.4.1, unet3p: logits off by up to 9 in a range of 17), and is no faster.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import Any, Final, TypeAlias

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
_KEPT_SHAPES: Final = 4096  # that are known to be right

_LOG = logging.getLogger(__name__)

Config = dict[str, object]
Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
InferShapes: TypeAlias = Callable[[Shapes], None]


class OpenVinoSession:
    """A graph compiled by OpenVINO."""

    on_cpu: Final = True

    def __init__(  # Any: openvino has no types
        self, instances: Sequence[Any], infer_shapes: InferShapes | None
    ) -> None:
        self._infer_shapes = infer_shapes
        self._inputs = {one.any_name: _dtype(one) for one in instances[0].inputs}
        self._outputs = [_output_name(one) for one in instances[0].outputs]
        self._next = Lock()
        self._requests: LifoQueue[Any] = LifoQueue()  # Any: as above
        for compiled in instances:
            self._requests.put(compiled.create_infer_request())

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for inputs by name; waits while all instances are busy.

        Raises:
            ValueError: Not the inputs of the graph, another element type, or OpenVINO cannot run
                it, for instance because of a shape.
        """
        given = {name: array.dtype for name, array in feeds.items()}
        if given != self._inputs:
            raise ValueError(f"the graph takes {_text(self._inputs)}; {_text(given)} given")
        try:
            if self._infer_shapes is not None:
                self._infer_shapes(tuple((name, feeds[name].shape) for name in self._inputs))
            return self._run(feeds)
        except RuntimeError as error:
            raise ValueError(_plain(error)) from error

    def close(self) -> None:
        """Free the network's memory, once the runs in other threads have ended."""
        del self._requests

    def _run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        requests = self._requests
        with self._next:  # else who gives a request back could take it again before all others
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
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": each,
        "ENABLE_CPU_PINNING": False,
    }
    version()  # or what is missing
    start = time.perf_counter()
    try:
        compiled = _compile(model, instances, config, digest)
        is_open = any(one.partial_shape.is_dynamic for one in compiled[0].inputs)
        infer_shapes = _shape_inference(_core().read_model(str(model))) if is_open else None
    except RuntimeError as error:
        raise ValueError(_plain(error)) from error
    _LOG.debug("openvino: %s loaded in %.3f s", model, time.perf_counter() - start)
    return OpenVinoSession(compiled, infer_shapes)


def version() -> str:
    """Version of the installed openvino.

    Raises:
        MissingRequirementError: It is not installed.
    """
    return str(_import().get_version())


def _shape_inference(graph: Any) -> InferShapes:  # Any: openvino has no types
    """Infer the shapes of a graph from those of its inputs; what was right once is remembered.

    The result raises RuntimeError for shapes that an operator cannot compute with.
    """
    inferring = Lock()

    @lru_cache(_KEPT_SHAPES)
    def infer(inputs: Shapes) -> None:
        sizes = {name: _import().PartialShape(list(shape)) for name, shape in inputs}
        with inferring:
            graph.reshape(sizes)

    return infer


def _compile(  # Any: openvino has no types
    model: Path, instances: int, config: Config, digest: str | None
) -> list[Any]:
    """Compiled graphs that do the same at the same time, from the cache where it has them."""
    facts = [digest, version(), sorted(cpu_features()), config]
    name = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".blob"
    folder = None if digest is None else cache_folder("openvino", chosen="openvino")
    kept = KeptFiles(folder, limit=_KEPT_BYTES)
    data = kept.read(name)
    if data is not None:
        try:
            return _copies(data, instances, config)
        except RuntimeError as error:
            _LOG.warning("openvino: what was kept of %s is not used: %s", model, _plain(error))
            kept.remove(name)
    compiled = _core().compile_model(str(model), _DEVICE, config)
    if folder is None and instances == 1:
        return [compiled]
    data = compiled.export_model().getvalue()  # of a copy, it would be no blob that can be read
    if len(data) <= _LARGEST:
        kept.write(name, data)
    return [compiled, *_copies(data, instances - 1, config)]


def _copies(data: bytes, count: int, config: Config) -> list[Any]:  # Any: openvino has no types
    return [_core().import_model(data, _DEVICE, config) for _ in range(count)]


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
