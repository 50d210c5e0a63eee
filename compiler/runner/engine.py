"""What an engine is: it loads a graph and runs it. One file per engine, imported when asked for."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, cast, get_args

from numpy.typing import NDArray

from compiler.errors import MissingRequirementError

Tensor: TypeAlias = NDArray[Any]  # Any: graphs carry float, integer and bool tensors alike
Provider: TypeAlias = str | tuple[str, Mapping[str, object]]
EngineName: TypeAlias = Literal["onnxruntime", "openvino"]
EngineChoice: TypeAlias = Literal["onnxruntime", "openvino", "auto"]

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)


class Session(Protocol):
    """A loaded graph, whatever the engine; `run` may be called from several threads."""

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU runs every node."""
        ...

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for inputs by name, in the shapes and dtypes of the graph."""
        ...

    def close(self) -> None:
        """Free the network's memory."""
        ...


class _Engine(Protocol):
    """The module of an engine."""

    def load(
        self, model: Path, *, threads: int, instances: int, bfloat16: bool, **options: object
    ) -> Session: ...


def open_session(
    engine: EngineName,
    model: Path,
    *,
    threads: int,
    instances: int = 1,
    providers: Sequence[Provider] | None = None,
    bfloat16: bool = False,
    digest: str | None = None,
) -> Session:
    """Load a graph.

    Args:
        engine: Its name.
        model: ONNX file; external data beside it.
        threads: Threads of one operator.
        instances: Samples that will run at the same time, each with so many threads.
        providers: ONNX Runtime's execution providers; None is the CPU.
        bfloat16: Multiply in bfloat16 where this CPU can.
        digest: Names the contents of graph and weights, so that an engine can keep what it makes
            of them in the user's cache; None keeps nothing.

    Raises:
        MissingRequirementError: The engine or a provider is not installed.
        Exception: What the engine raises for a graph that it cannot load; it has no common base.
    """
    options: dict[str, object] = {"digest": digest}
    if providers is not None:
        if engine != "onnxruntime":
            raise MissingRequirementError(
                f"execution providers are ONNX Runtime's; the engine is {engine}",
                where="providers",
                fix="choose engine onnxruntime, or leave the providers out",
            )
        options["providers"] = providers
    module = cast(_Engine, import_module(f"compiler.runner.{engine}"))
    return module.load(model, threads=threads, instances=instances, bfloat16=bfloat16, **options)
