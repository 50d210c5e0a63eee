"""What is compared in an evaluation: bundles, the float network, results that vamp wrote."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from compiler.compat.vamp.datalist import read_npz
from compiler.errors import BuildFileError, BundleError
from compiler.evaluate.masks import See
from compiler.graph.convert import save_model
from compiler.pipeline.detections import find_detections
from compiler.pipeline.network import load_network, postprocessing_of
from compiler.pipeline.open_sizes import shapes_of, size_at_largest
from compiler.pipeline.rebuild import stored_config
from compiler.pipeline.record import inputs_of
from compiler.pipeline.samples import Feeds, image_loader
from compiler.pipeline.sessions import open_model
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineChoice, Tensor
from compiler.runner.load import Runner
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import seen_window
from compiler.runner.preprocessing import bundle_chain
from compiler.runner.read import Bundle

MOST_INSTANCES: Final = 8
"""Samples that run at the same time: each needs memory of its own."""

Outputs: TypeAlias = Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Contender:
    """A network, or results of one.

    Args:
        name: In tables; all are different.
        dtype: fp32, fp16, int8, …; empty if it is not known.
        source: Bundle, ONNX file or folder.
        engine: What runs it; empty where nothing runs.
        rule: From its first output to a class map, if that is one.
        bundle: It says how images become inputs; None if that is not known.
        prepare: File → feeds; called by several threads.
        infer: Feeds → outputs in graph order; likewise.
        instances: Samples to run at the same time.
    """

    name: str
    dtype: str
    source: str
    engine: str
    rule: Postprocessing | None
    bundle: Bundle | None
    prepare: Callable[[Path], Feeds]
    infer: Callable[[Feeds], Outputs]
    instances: int


@dataclass(frozen=True, slots=True)
class Running:
    """How bundles are run; see `compiler.runner.load.Runner`."""

    engine: EngineChoice | None = None
    threads: int | None = None
    instances: int | None = None
    allow_custom_code: bool = False

    @property
    def together(self) -> int:
        """Samples at the same time: by default one per CPU."""
        return self.instances or max(1, min(MOST_INSTANCES, cpus() // (self.threads or 1)))


@contextmanager
def open_bundle(prefix: str, name: str, running: Running) -> Iterator[Contender]:
    """A bundle, with its own preprocessing.

    Raises:
        BundleError: It cannot be used, or takes no images.
    """
    with Runner(
        prefix,
        engine=running.engine,
        threads=running.threads,
        instances=running.together,
        allow_custom_code=running.allow_custom_code,
    ) as runner:
        if runner.preprocessing is None:
            raise without_images(runner.bundle)
        order = [spec.name for spec in runner.outputs]

        def infer(feeds: Feeds) -> Outputs:
            found = runner.infer(feeds)
            return [found[one] for one in order]

        yield Contender(
            name,
            dtype_of(runner.bundle),
            prefix,
            runner.engine,
            runner.manifest.postprocessing,
            runner.bundle,
            runner.prepare,
            infer,
            runner.instances,
        )


@contextmanager
def open_original(model: Path, bundle: Bundle, name: str, running: Running) -> Iterator[Contender]:
    """The network that a bundle was made from, unchanged, in float32 on ONNX Runtime.

    It gets the bundle's preprocessing and what the build file puts in front of the network and
    behind it (`graph`): the same images go in, and the same kind of outputs comes out.

    Args:
        model: ONNX file.
        bundle: It has the preprocessing and the build file.
        name: For tables.
        running: How to run it, the engine apart.

    Raises:
        BuildFileError: There is no such file.
        GraphError: It cannot be read, or has other inputs than the build file says.
        BundleError: The bundle takes no images, or is of another version of modc.
    """
    if not model.is_file():
        raise BuildFileError(
            "no such file", where=str(model), fix="give the ONNX file of the bundle with --onnx"
        )
    if bundle.manifest.preprocessing is None:
        raise without_images(bundle)
    config = stored_config(bundle, fix="compile it again (modc compile), or leave out --onnx")
    frontend = config.frontend.model_copy(update={"checkpoint": str(model.resolve())})
    config = config.model_copy(update={"frontend": frontend})
    loaded, edits = load_network(config)
    graph = loaded.graph
    size_at_largest(graph, shapes_of(config))
    if detections := find_detections(config, graph, edits):
        graph = detections.append(graph)
    chain = bundle_chain(bundle, allow_custom_code=running.allow_custom_code)
    order, rule = [one.name for one in graph.outputs], postprocessing_of(graph)
    prepare = image_loader(chain, inputs_of(graph)[0])
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        save_model(graph, folder / "original.onnx", folder / "original.params")
        del graph, loaded  # or the weights would be in memory twice
        threads = running.threads or max(1, cpus() // running.together)
        with open_model(folder / "original.onnx", threads=threads, arena=True) as run:

            def infer(feeds: Feeds) -> Outputs:
                found = run(feeds)
                return [found[one] for one in order]

            yield Contender(
                name,
                "fp32",
                str(model),
                "onnxruntime",
                rule,
                bundle,
                prepare,
                infer,
                running.together,
            )


@contextmanager
def open_results(
    files: Mapping[Path, Path],
    folder: Path,
    name: str,
    rule: Postprocessing | None,
    bundle: Bundle | None,
) -> Iterator[Contender]:
    """Results that vamp wrote, in place of a network.

    Args:
        files: Line of the datalist → result.
        folder: Of the results.
        name: For tables.
        rule: How they are read.
        bundle: That made them, if it is known.
    """

    def read(line: Path) -> Feeds:
        file = files[line]
        arrays = read_npz(file, where=str(file))
        return {f"output_{number}": array for number, array in enumerate(arrays)}

    yield Contender(
        name, "", str(folder), "", rule, bundle, read, lambda feeds: list(feeds.values()), cpus()
    )


def see_of(bundle: Bundle) -> See | None:
    """What a bundle's network sees of an image; None if the bundle takes no images."""
    from compiler.preprocess.serialise import op_from_dict

    facts = bundle.manifest.preprocessing
    if facts is None:
        return None
    return partial(seen_window, tuple(op_from_dict(op) for op in facts.ops), facts.shape)


def dtype_of(bundle: Bundle) -> str:
    """Precision that a bundle was built for."""
    return str(bundle.manifest.quantization.get("dtype", ""))


def without_images(bundle: Bundle) -> BundleError:
    """What to say of a bundle that takes tensors only."""
    return BundleError(
        "it has no preprocessing, so that no image can be given to it",
        where=str(bundle.prefix),
        fix="add dataset.process_ops to its build file and compile it again",
    )
