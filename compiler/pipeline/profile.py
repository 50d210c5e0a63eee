"""Where the time of a bundle goes, node by node, beside that of the network it was made from."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx_graphsurgeon as gs

from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.cost.kernels import EngineNode, engine_nodes
from compiler.cost.work import total_macs
from compiler.errors import BuildFileError, BundleError
from compiler.graph.convert import save_model
from compiler.passes.fold_constants import fold_constants
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.run import run_passes
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.network import load_network
from compiler.pipeline.node_times import GraphProfile, NodeTime, Profile
from compiler.pipeline.open_sizes import shapes_of, size_at_largest
from compiler.pipeline.record import bundle_graph, bundle_inputs, inputs_of
from compiler.pipeline.samples import Feeds, Input, image_loader, random_feeds
from compiler.pipeline.sessions import give_back_memory, load_model
from compiler.preprocess.chain import Chain
from compiler.runner.cpu import cpus
from compiler.runner.onnxruntime import SESSION_GRAPH, OrtSession
from compiler.runner.profile import Kernel
from compiler.runner.read import Bundle, file_fact, use_bundle

RUNS = 10

Loader = Callable[[Sequence[Input]], Feeds]


@dataclass(frozen=True, slots=True)
class _Network:
    """A network that is being traced, and what to feed it."""

    session: OrtSession
    folder: Path
    feeds: Feeds
    macs: int

    def result(self) -> GraphProfile:
        trace = self.session.profile()
        self.session.close()
        known = engine_nodes(self.folder / SESSION_GRAPH)
        nodes = [_node_time(kernel, known.get(kernel.name)) for kernel in trace.kernels]
        nodes.sort(key=lambda node: -node.milliseconds)
        return GraphProfile(tuple(nodes), trace.microseconds / 1000, self.macs)


def profile_bundle(
    prefix: str | Path,
    *,
    original: Path | None = None,
    image: Path | None = None,
    threads: int | None = None,
    runs: int = RUNS,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Profile:
    """Run a bundle and the network it was made from in turns, and time every node.

    Args:
        prefix: `…/<name>/mod` or its folder.
        original: The network; else the one that the bundle's build file names, if it is unchanged.
        image: What to feed, through the bundle's preprocessing; else seeded random values.
        threads: Threads of one operator; None takes every CPU that this process may use.
        runs: Runs that count; one more comes first.
        allow_custom_code: Whether the bundle's preprocessing may run Python code.
        progress: Called as progress(stage, done, total).

    Raises:
        BundleError: No bundle there, or it has no preprocessing for the image.
        BuildFileError: `original` does not exist.
        GraphError: The original network cannot be read.
        CalibrationError: The image cannot be read, or does not fit.
    """
    threads, clock = threads or cpus(), Clock(progress)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with clock.stage("load"):
            bundle, compiled = _open_bundle(prefix, image, allow_custom_code, threads, folder)
            config, notes = _original_of(bundle, original, folder)
            networks = [compiled]
            if config is not None:
                load = input_loader(bundle, image, allow_custom_code)
                networks.append(_open_original(config, load, threads, folder))
        with clock.stage("profile", runs + 1) as step:
            for done in range(1, runs + 2):
                for network in networks:
                    network.session.run(network.feeds)
                step(done)
        results = [network.result() for network in networks]
    give_back_memory()
    engine = bundle.manifest.engine
    if engine != "onnxruntime":
        notes.append(f"these are ONNX Runtime's times; the bundle names engine {engine}")
    return Profile(
        name=bundle.manifest.name,
        dtype=str(bundle.manifest.quantization.get("dtype", "")),
        threads=threads,
        runs=runs,
        compiled=results[0],
        original=results[1] if config is not None else None,
        notes=tuple(notes),
    )


def _open_bundle(
    prefix: str | Path, image: Path | None, allow: bool, threads: int, folder: Path
) -> tuple[Bundle, _Network]:
    def open_(bundle: Bundle) -> tuple[Bundle, _Network]:
        feeds = input_loader(bundle, image, allow)(bundle_inputs(bundle))
        graph = bundle_graph(bundle)
        return bundle, _trace(bundle.model, feeds, graph, threads, folder / "compiled")

    return use_bundle(prefix, open_)


def _open_original(config: BuildConfig, load: Loader, threads: int, folder: Path) -> _Network:
    graph = load_network(config)[0].graph
    size_at_largest(graph, shapes_of(config))
    path = folder / "original.onnx"
    save_model(graph, path, folder / "original.params")
    return _trace(path, load(inputs_of(graph)), graph, threads, folder / "original")


def _trace(model: Path, feeds: Feeds, graph: gs.Graph, threads: int, folder: Path) -> _Network:
    folder.mkdir(exist_ok=True)
    run_passes(graph, (infer_shapes, fold_constants))  # or some shapes would stay unknown
    return _Network(
        load_model(model, threads=threads, trace=folder), folder, feeds, total_macs(graph)
    )


def input_loader(bundle: Bundle, image: Path | None, allow: bool) -> Loader:
    """What a network with given inputs is fed: the image, or random values."""
    if image is None:
        return lambda inputs: next(random_feeds(inputs, 1))
    facts = bundle.manifest.preprocessing
    if facts is None:
        raise BundleError(
            "an image given, but the bundle has no preprocessing",
            where=str(bundle.prefix),
            fix="leave out --image: random values take the same time",
        )
    try:
        chain = Chain.from_list(facts.ops, facts.shape, allow_custom_code=allow)
    except ValueError as error:
        raise BundleError(
            f"its preprocessing cannot be used: {error}",
            where=str(bundle.prefix),
            fix="allow custom code if you trust the bundle, or leave out --image",
        ) from error
    return lambda inputs: image_loader(chain, inputs[0])(image)


def _original_of(
    bundle: Bundle, given: Path | None, folder: Path
) -> tuple[BuildConfig | None, list[str]]:
    """How to load the network that a bundle was made from, None if it cannot be; and notes."""
    text = folder / "build.yaml"
    text.write_text(bundle.manifest.build, encoding="utf-8")
    try:
        config = load_config(text)
    except BuildFileError:
        return None, ["the compiled network alone: its build file is of another version of modc"]
    known = {source.sha256 for source in bundle.manifest.sources if source.role == "model"}
    notes = []
    if given is None:
        written = config.frontend.checkpoint
        found = list(_places(written, bundle))
        path = next((one for one in found if file_fact(one).sha256 in known), None)
        if path is None:
            what = f"{written} {'has changed since' if found else 'is not to be found'}"
            return None, [f"the compiled network alone: {what}; name it with --original"]
    else:
        path = resolve_input(str(given), Path.cwd(), where="--original")
        if not path.is_file():
            raise BuildFileError(
                f"{given} is no file", where="--original", fix="name the network, an ONNX file"
            )
        if file_fact(path).sha256 not in known:
            notes.append(f"{path} is not the file that the bundle was made from")
    frontend = config.frontend.model_copy(update={"checkpoint": str(path)})
    return config.model_copy(update={"frontend": frontend}), notes


def _places(written: str, bundle: Bundle) -> Iterator[Path]:
    """Files that a path of the build file may mean, whose own folder a bundle does not record.

    They are looked for from the current folder, the one that the workspace is in, and the folders
    in these.
    """
    for start in dict.fromkeys((Path.cwd(), bundle.folder.resolve().parent.parent)):
        for base in (start, *sorted(start.glob("*/"))):
            with suppress(BuildFileError, OSError):
                yield resolve_input(written, base, where="frontend.checkpoint")


def _node_time(kernel: Kernel, node: EngineNode | None) -> NodeTime:
    """A kernel's time, with what the engine's graph tells of its weights."""
    macs, weights = 0, 0
    if node is not None:
        macs = node.macs(
            [one.shape for one in kernel.inputs], [one.shape for one in kernel.outputs]
        )
        weights = node.constant_bytes
    return NodeTime(
        name=kernel.name,
        op=kernel.op if node is None else node.label,
        provider=kernel.provider,
        milliseconds=kernel.microseconds / 1000,
        macs=macs,
        bytes=kernel.bytes_read + weights + kernel.bytes_written,
    )
