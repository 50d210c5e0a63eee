"""What differs between two bundles, or between a bundle and an ONNX file, or two ONNX files."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx_graphsurgeon as gs

from calibration.ranges import TensorRange
from calibration.table import read_table
from compiler.cost.work import total_macs
from compiler.errors import BuildFileError, GraphError
from compiler.frontend.load_onnx import LoadedModel, load_onnx
from compiler.graph.convert import save_model
from compiler.passes.fold_constants import fold_constants
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.run import run_passes
from compiler.pipeline.build_diff import (
    BuildDiff,
    ScaleChange,
    diff_builds,
    diff_scales,
)
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.graph_diff import GraphDiff, diff_graphs
from compiler.pipeline.latency import measure_latency
from compiler.pipeline.layer_diff import LayerDiff, diff_layers
from compiler.pipeline.open_sizes import size_at_largest
from compiler.pipeline.profile import input_loader
from compiler.pipeline.record import bundle_graph, inputs_of, specs_of
from compiler.pipeline.samples import Feeds, random_feeds
from compiler.runner.manifest import STEM, TensorSpec
from compiler.runner.read import Bundle, file_fact, use_bundle
from compiler.verify.result import TensorFigures

BUNDLE = "bundle"
ONNX_FILE = "ONNX file"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two networks.

    Args:
        path: As the user named it.
        kind: "bundle" or "ONNX file".
        dtype: Precision that the bundle was built with; "fp32" for an ONNX file.
        inputs: In graph order.
        outputs: Likewise.
        nodes: How many.
        opset: Of an ONNX file after its conversion, if it is older than the compiler reads.
        macs: Multiply-accumulates.
        size: Bytes of the model and its weights.
    """

    path: str
    kind: str
    dtype: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: int
    opset: int
    macs: int
    size: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both networks on the same inputs.

    Args:
        fed: What they read, in words.
        outputs: Figures of B against A, one per output that both have.
        layers: Inner tensors that both have, worst first.
        milliseconds: Median time of a run of A and of B, which took turns.
        threads: Per operator.
    """

    fed: str
    outputs: tuple[TensorFigures, ...]
    layers: tuple[LayerDiff, ...]
    milliseconds: tuple[float, float]
    threads: int

    @property
    def ratio(self) -> float:
        """Time of B over that of A."""
        return self.milliseconds[1] / self.milliseconds[0]


@dataclass(frozen=True, slots=True)
class Diff:
    """Two networks, A and B.

    Args:
        a: What was named first.
        b: What was named second.
        identical: Whether every file of the two has the same contents.
        graph: None where they are identical, as are the next three.
        build: None also unless both are bundles.
        scales: None also unless both are int8 bundles.
        run: None also where nothing was run.
        notes: What was assumed or could not be compared, one sentence each.
    """

    a: Side
    b: Side
    identical: bool
    graph: GraphDiff | None = None
    build: BuildDiff | None = None
    scales: tuple[ScaleChange, ...] | None = None
    run: Comparison | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Network:
    """A network in memory, with what its files told; `digests` are those of its files."""

    side: Side
    graph: gs.Graph
    digests: tuple[str, ...]
    bundle: Bundle | None = None
    table: tuple[TensorRange, ...] | None = None
    notes: tuple[str, ...] = ()


def diff_networks(
    a: str | Path,
    b: str | Path,
    *,
    image: Path | None = None,
    run: bool = True,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Diff:
    """Compare two networks: graphs, builds, scales, values, speed.

    Example:
        diff_networks("deploy_weights/official_unet3p_int8/mod", "official_unet3p.onnx")

    Args:
        a: `…/<name>/mod`, its folder, or an ONNX file; values are compared with those of A.
        b: Likewise.
        image: What to feed, through the preprocessing of A, else of B; else seeded random values.
        run: Whether to run the two.
        allow_custom_code: Whether a bundle's preprocessing may run Python code.
        progress: Called as progress(stage, done, total).

    Raises:
        BundleError: No bundle there, or its preprocessing cannot be used.
        GraphError: An ONNX file cannot be read, or a network cannot be run.
        BuildFileError: An image, but no bundle with preprocessing.
        CalibrationError: The image cannot be read, or does not fit.
    """
    clock = Clock(progress)
    with clock.stage("load"):
        one, other = _open_both(str(a), str(b))
    if one.side.kind == other.side.kind and one.digests == other.digests:
        return Diff(one.side, other.side, identical=True)
    notes = [*one.notes, *other.notes, *_origin_notes(one, other)]
    with clock.stage("compare"):
        graph = diff_graphs(one.graph, other.graph)
    build = None
    if one.bundle is not None and other.bundle is not None:
        build = diff_builds(one.bundle.manifest, other.bundle.manifest)
    scales = None
    if one.table is not None and other.table is not None:
        scales = diff_scales(one.table, other.table)
    comparison = None
    if run and (reason := _why_not_run(one.side, other.side)):
        notes.append(reason)
    elif run:
        feeds, fed = _feeds(one, other, image, allow_custom_code)
        comparison = _run(one, other, feeds, fed, clock)
    return Diff(
        one.side,
        other.side,
        identical=False,
        graph=graph,
        build=build,
        scales=scales,
        run=comparison,
        notes=tuple(dict.fromkeys(notes)),
    )


def _open_both(a: str, b: str) -> tuple[_Network, _Network]:
    """Bundles first: sizes that an ONNX file leaves open are those of the bundle."""
    shapes: dict[str, Sequence[int]] = {}
    opened: dict[str, _Network] = {}
    for path in (a, b):
        if not _is_onnx_file(path):
            prefix = path.removesuffix(".onnx")
            opened[path] = use_bundle(prefix, partial(_of_bundle, path))
            shapes |= {one.name: one.shape for one in inputs_of(opened[path].graph)}
    for path in (a, b):
        if path not in opened:
            opened[path] = _of_file(path, shapes)
    return opened[a], opened[b]


def _is_onnx_file(path: str) -> bool:
    """Whether a path names an ONNX file that is no bundle's own."""
    file = Path(path)
    return file.suffix == ".onnx" and not (
        file.stem == STEM and file.with_suffix(".json").is_file()
    )


def _of_bundle(path: str, bundle: Bundle) -> _Network:
    manifest = bundle.manifest
    table: tuple[TensorRange, ...] | None = None
    notes = []
    if f"{STEM}.calib.txt" in manifest.files:
        try:
            file = bundle.folder / f"{STEM}.calib.txt"
            table = read_table(file.read_text(encoding="utf-8"), str(file))
        except ValueError as error:
            notes.append(f"scales cannot be compared: {error}")
    files = [manifest.files.get(f"{STEM}{suffix}") for suffix in (".onnx", ".params")]
    size = sum(fact.size for fact in files if fact is not None)
    graph = bundle_graph(bundle)
    dtype = str(manifest.quantization.get("dtype", ""))
    side = _side(path, BUNDLE, dtype, graph, size)
    return _Network(side, graph, (bundle.digest,), bundle, table, tuple(notes))


def _of_file(path: str, shapes: Mapping[str, Sequence[int]]) -> _Network:
    loaded = _load(Path(path), shapes)
    size_at_largest(loaded.graph, shapes)
    facts = [file_fact(file) for file in loaded.sources]
    size = sum(fact.size for fact in facts)
    digests = tuple(fact.sha256 for fact in facts)
    side = _side(path, ONNX_FILE, "fp32", loaded.graph, size)
    return _Network(side, loaded.graph, digests, notes=loaded.notes)


def _load(path: Path, shapes: Mapping[str, Sequence[int]]) -> LoadedModel:
    try:
        return load_onnx(path, {})
    except GraphError as error:
        with suppress(GraphError):
            return load_onnx(path, shapes)
        raise GraphError(
            error.what,
            where=error.where,
            fix="name a bundle, or a float ONNX network; sizes that its inputs leave open are "
            "those of the bundle that it is compared with",
        ) from error


def _side(path: str, kind: str, dtype: str, graph: gs.Graph, size: int) -> Side:
    counted = graph.copy()
    run_passes(counted, (infer_shapes, fold_constants))  # or some shapes would stay unknown
    return Side(
        path=path,
        kind=kind,
        dtype=dtype,
        inputs=specs_of(graph.inputs),
        outputs=specs_of(graph.outputs),
        nodes=len(graph.nodes),
        opset=int(graph.opset),
        macs=total_macs(counted),
        size=size,
    )


def _origin_notes(a: _Network, b: _Network) -> list[str]:
    """Whether an ONNX file is the one that the bundle beside it was made from."""
    notes = []
    for bundled, named in ((a, b), (b, a)):
        if bundled.bundle is None or named.bundle is not None:
            continue
        sources = bundled.bundle.manifest.sources
        known = {source.sha256 for source in sources if source.role == "model"}
        made = "was" if known.issuperset(named.digests) else "was not"
        notes.append(f"{bundled.side.path} {made} made from {named.side.path}")
    return notes


def _why_not_run(a: Side, b: Side) -> str | None:
    if sorted(a.inputs, key=str) == sorted(b.inputs, key=str):
        return None
    texts = [", ".join(map(str, side.inputs)) for side in (a, b)]
    return f"nothing was run: A reads {texts[0]}, but B reads {texts[1]}"


def _feeds(a: _Network, b: _Network, image: Path | None, allow: bool) -> tuple[Feeds, str]:
    inputs = inputs_of(a.graph)
    if image is None:
        return next(random_feeds(inputs, 1)), "random values"
    bundles = [one.bundle for one in (a, b) if one.bundle is not None]
    able = [bundle for bundle in bundles if bundle.manifest.preprocessing is not None]
    if not able:
        raise BuildFileError(
            "an image given, but neither A nor B has preprocessing",
            where="--image",
            fix="leave out --image, or name a bundle that was built with process_ops",
        )
    feeds = input_loader(able[0], image, allow)(inputs)
    return feeds, f"{image.name}, through the preprocessing of {able[0].manifest.name}"


def _run(a: _Network, b: _Network, feeds: Feeds, fed: str, clock: Clock) -> Comparison:
    equalized = any(_is_equalized(one.bundle) for one in (a, b))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with clock.stage("run"):
            outputs, layers = diff_layers(a.graph, b.graph, feeds, folder, equalized=equalized)
        with clock.stage("latency"):
            for one, stem in ((a, "a"), (b, "b")):
                save_model(one.graph, folder / f"{stem}.onnx", folder / f"{stem}.params")
            times = measure_latency(folder / "a.onnx", folder / "b.onnx", feeds)
    return Comparison(fed, outputs, layers, (times.fp32, times.compiled), times.threads)


def _is_equalized(bundle: Bundle | None) -> bool:
    """Whether a build moved factors between the layers of the network."""
    return bundle is not None and bool(bundle.manifest.quantization.get("equalized"))
