"""Graphs as callables: written to a work folder, run by ONNX Runtime, gone when left."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import onnx_graphsurgeon as gs

from compiler.errors import GraphError
from compiler.graph.convert import save_model
from compiler.pipeline.samples import Feeds
from compiler.runner.onnxruntime import OrtSession, load
from compiler.verify.compare import Tensors

OBSERVATION_THREADS = 2
"""Fixed, because float results may depend on how a kernel splits its work."""

Run = Callable[[Feeds], Tensors]


@contextmanager
def open_model(
    path: Path,
    *,
    threads: int | None = OBSERVATION_THREADS,
    arena: bool = False,
    bfloat16: bool = False,
    in_turns: bool = False,
) -> Iterator[Run]:
    """Run a model file; its memory is given back at the end of the block.

    Without the memory arena a network needs little more than its weights and one sample.
    """
    session = load_model(path, threads=threads, arena=arena, bfloat16=bfloat16, in_turns=in_turns)

    def run(feeds: Feeds) -> Tensors:
        try:
            return session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise _refusal(error, "run") from error

    try:
        yield run
    finally:
        session.close()
        give_back_memory()


def open_as_deployed(path: Path) -> AbstractContextManager[Run]:
    """Run a model file as the runner does, on all CPUs, with the memory arena; in turns."""
    return open_model(path, threads=None, arena=True, in_turns=True)


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
        raise _refusal(error, "load") from error


def _refusal(error: Exception, action: str) -> GraphError:
    return GraphError(
        f"ONNX Runtime cannot {action} it: {error}",
        where="the network",
        fix="export it with element types and operators that ONNX Runtime has on a CPU",
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
