"""The contestants: bundles and ONNX files, opened as a setting asks, with one sample to feed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import onnx

from compiler.bench.settings import Setting
from compiler.errors import BuildFileError, GraphError, ModcError
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineName, Tensor, open_session
from compiler.runner.inputs import Given
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec
from compiler.runner.random_feeds import Feeds, fits, random_feeds

if TYPE_CHECKING:
    from compiler.runner.stream import Stream


@dataclass(frozen=True, slots=True)
class Network:
    """A network, open and ready to run.

    Args:
        engine: What runs it.
        threads: Of one operator.
        instances: Samples that may run at the same time.
        feeds: One sample.
        infer: Runs the samples of a request.
        stream: Runs many images on the way from file to outputs, so many to a batch; None for an
            ONNX file, which has no preprocessing.
        close: Frees it.
    """

    engine: EngineName
    threads: int
    instances: int
    feeds: Feeds
    infer: Callable[[Sequence[Feeds]], object]
    stream: "Callable[[Iterable[Path], int], Stream[Given, dict[str, Tensor]]] | None"
    close: Callable[[], None]


Opener: TypeAlias = Callable[[Setting], Network]


def open_bundle(
    setting: Setting, *, prefix: str, image: Path | None, allow_custom_code: bool
) -> Network:
    """A bundle whose contents match their hashes.

    Args:
        setting: How to open it.
        prefix: As for `Runner`.
        image: Feeds it, through its preprocessing; None for random values.
        allow_custom_code: Whether its preprocessing may run a Python file.

    Raises:
        ModcError: As `Runner`, and as `Runner.prepare` for the image.
    """
    runner = Runner(
        prefix,
        engine=setting.engine,
        threads=setting.threads,
        instances=setting.instances,
        allow_custom_code=allow_custom_code,
    )
    feeds = random_feeds(runner.inputs) if image is None else runner.prepare(image)
    return Network(
        runner.engine,
        runner.threads,
        runner.instances,
        feeds,
        runner.infer_many,
        lambda images, batch: runner.stream(images, batch=batch),
        runner.close,
    )


def open_file(setting: Setting, *, path: Path, engine: EngineName, given: Feeds) -> Network:
    """An ONNX file.

    Args:
        setting: How to open it.
        path: The file.
        engine: What runs it where the setting names none, or "auto".
        given: What it is fed if that fits its inputs; else random values.

    Raises:
        GraphError: It cannot be read, or the engine cannot load or run it.
        MissingRequirementError: The engine is not installed.
    """
    specs = inputs_of(path)
    if setting.engine is not None and setting.engine != "auto":
        engine = setting.engine
    threads = setting.threads or max(1, cpus() // setting.instances)
    try:
        session = open_session(engine, path, threads=threads, instances=setting.instances)
    except ModcError:
        raise
    except Exception as error:  # engines' errors have no common base
        raise GraphError(
            f"{engine} cannot load it: {error}",
            where=str(path),
            fix="compare with a file that it can load, or choose another --engine",
        ) from error
    feeds = given if fits(specs, given) else random_feeds(specs)

    def infer(samples: Sequence[Feeds]) -> None:
        for sample in samples:
            session.run(sample)

    try:
        infer([feeds])
    except Exception as error:  # as above
        session.close()
        raise GraphError(
            f"{engine} cannot run it: {error}",
            where=str(path),
            fix="compare with a file whose inputs are those of the bundle",
        ) from error
    return Network(engine, threads, setting.instances, feeds, infer, None, session.close)


def inputs_of(path: Path) -> tuple[TensorSpec, ...]:
    """Inputs of an ONNX file.

    Raises:
        BuildFileError: There is none.
        GraphError: It cannot be read.
    """
    if not path.is_file():
        raise BuildFileError("no such file", where=str(path), fix="correct the path")
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's errors have no common base
        raise GraphError(
            f"it is no ONNX file: {error}", where=str(path), fix="give a bundle or an ONNX file"
        ) from error
    weights = {one.name for one in graph.initializer}
    return tuple(_spec(one) for one in graph.input if one.name not in weights)


def _spec(info: onnx.ValueInfoProto) -> TensorSpec:
    tensor = info.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(size.dim_value or -1 for size in tensor.shape.dim)
    return TensorSpec(info.name, shape, dtype.name)
