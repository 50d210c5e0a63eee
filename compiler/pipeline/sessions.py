"""Graphs as callables: written to a work folder, run by an engine, gone when left."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

import onnx_graphsurgeon as gs

from compiler.errors import GraphError, ModcError
from compiler.graph.convert import save_model
from compiler.pipeline.samples import Feeds
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineName, Session, open_session
from compiler.runner.onnxruntime import OrtSession, load
from compiler.verify.compare import Tensors

OBSERVATION_THREADS = 2
"""Fixed, because float results may depend on how a kernel splits its work."""

Run = Callable[[Feeds], Tensors]

_NAMES: Final[dict[EngineName, str]] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@contextmanager
def open_model(
    path: Path,
    *,
    threads: int | None = OBSERVATION_THREADS,
    arena: bool = False,
    bfloat16: bool = False,
    in_turns: bool = False,
    engine: EngineName = "onnxruntime",
) -> Iterator[Run]:
    """Run a model file; its memory is given back at the end of the block.

    Without the memory arena, which is ONNX Runtime's, a network needs little more than its weights
    and one sample.
    """
    session: Session
    if engine == "onnxruntime":
        session = load_model(
            path, threads=threads, arena=arena, bfloat16=bfloat16, in_turns=in_turns
        )
    else:
        session = load_on(engine, path, threads=threads, bfloat16=bfloat16)

    def run(feeds: Feeds) -> Tensors:
        try:
            return session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors have no common base
            sizes = ", ".join(f"{name} {list(one.shape)}" for name, one in feeds.items())
            raise GraphError(
                f"{_NAMES[engine]} cannot run it on {sizes}: {error}",
                where="the network",
                fix="give it samples whose sizes and values it can take",
            ) from error

    try:
        yield run
    finally:
        session.close()
        give_back_memory()


def open_as_deployed(path: Path, engine: EngineName = "onnxruntime") -> AbstractContextManager[Run]:
    """Run a model file as the runner does, on all CPUs, with the memory arena; in turns."""
    return open_model(path, threads=None, arena=True, in_turns=True, engine=engine)


def load_on(
    engine: EngineName, path: Path, *, threads: int | None = None, bfloat16: bool = False
) -> Session:
    """Load a model file as the runner does; nothing of it is kept in the user's cache.

    Raises:
        MissingRequirementError: The engine is not installed.
        GraphError: The engine has no kernel for one of its operators and element types.
    """
    try:
        return open_session(engine, path, threads=threads or cpus(), bfloat16=bfloat16)
    except ModcError:
        raise
    except Exception as error:  # engines' errors have no common base
        raise _refusal(error, engine) from error


def engine_version(engine: EngineName) -> str:
    """Version of an installed engine.

    Raises:
        MissingRequirementError: It is not installed.
    """
    return str(import_module(f"compiler.runner.{engine}").version())


def load_model(
    path: Path,
    *,
    threads: int | None = None,
    arena: bool = True,
    trace: Path | None = None,
    bfloat16: bool = False,
    in_turns: bool = False,
) -> OrtSession:
    """Load a model file; see `compiler.runner.onnxruntime.load`.

    Raises:
        GraphError: ONNX Runtime has no kernel for one of its operators and element types.
    """
    try:
        return load(
            path,
            threads=threads,
            arena=arena,
            trace=trace,
            bfloat16=bfloat16,
            in_turns=in_turns,
        )
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise _refusal(error, "onnxruntime") from error


def _refusal(error: Exception, engine: EngineName) -> GraphError:
    name = _NAMES[engine]
    return GraphError(
        f"{name} cannot load it: {error}",
        where="the network",
        fix=f"export it with element types and operators that {name} has on a CPU",
    )


def give_back_memory() -> None:
    """Return freed memory to the operating system, where the C library holds it back (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def save_with_outputs(graph: gs.Graph, names: Sequence[str], path: Path, data: Path) -> None:
    """Write a graph that also returns inner tensors.

    Args:
        graph: Not changed.
        names: Tensors to return besides the graph's outputs.
        path: Model file.
        data: File for its weights, in the same folder.
    """
    wider = graph.copy()
    tensors = wider.tensors()
    present = {tensor.name for tensor in wider.outputs}
    wider.outputs = [
        *wider.outputs,
        *(tensors[name] for name in names if name not in present and tensors[name].inputs),
    ]
    save_model(wider, path, data)
