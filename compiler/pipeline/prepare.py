"""The network as the frontend reads it, and the float graph after all passes."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig
from compiler.cost.model import CostModel
from compiler.graph.convert import load_graph, save_model
from compiler.graph.open_sizes import is_open
from compiler.passes import FLOAT_PASSES
from compiler.passes.result import PassResult, Skip
from compiler.passes.run import run_passes
from compiler.pipeline.cache import StageCache
from compiler.pipeline.calibrate import int8_options
from compiler.pipeline.clock import Clock
from compiler.pipeline.network import asked_passes, checkpoint_of, load_network
from compiler.pipeline.open_sizes import OPEN_NOTE, Shapes, shapes_of, size_at_largest
from compiler.pipeline.optimize import cost_model, optimize
from compiler.pipeline.stages import Facts, Source
from compiler.quantize.layers import list_layers
from compiler.quantize.plan import KeptFloat, find_kept_float
from compiler.runner.manifest import FileFact
from compiler.runner.read import file_fact

ORIGINAL: Final = "original"
_ORIGINAL_FACTS: Final = ("model", "external", "frontend", "graph", "process_ops")
_FLOAT, _REWRITTEN, _FACTS = "float", "rewritten", "facts.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network, ready for its precision.

    Args:
        source: What stored results of its stages are found by.
        files: The model file and its external data, with size and hash.
        notes: What was assumed or converted, one sentence each.
        original: Model file of the network before any pass.
        original_source: What results of that network are found by.
        interface: That network; its weights are not read until they are used.
        graph: Float graph after passes and rewrites.
        cost: What decided which rewrites pay.
        float_milliseconds: Predicted time of the network in float without rewrites, one thread.
        layers: Names that the build file's lists can give.
        kept_float: What those lists keep in float.
        passes: What each pass did or declined; rewrites are not among them.
        rewrites: What each rewrite did or declined.
    """

    source: Source
    files: tuple[tuple[Path, FileFact], ...]
    notes: tuple[str, ...]
    original: Path
    original_source: Source
    interface: gs.Graph
    graph: gs.Graph
    cost: CostModel
    float_milliseconds: float
    layers: tuple[str, ...]
    kept_float: KeptFloat
    passes: tuple[PassResult, ...]
    rewrites: tuple[PassResult, ...]


def prepare(config: BuildConfig, cache: StageCache, work: Path, clock: Clock) -> Prepared:
    """Read the network of a build file and run the float passes, or fetch the result.

    Args:
        config: The build file.
        cache: Of the stages.
        work: Folder that gets `original.onnx`.
        clock: Times the stages.

    Raises:
        BuildFileError: The checkpoint does not exist, or `graph` does not suit it.
        GraphError: The network cannot be read or a pass failed.
        MissingRequirementError: As `cost_model`.
    """
    cost = cost_model(config.backend)
    checkpoint = checkpoint_of(config)
    with clock.stage("load"):
        model = _known(checkpoint)
        facts = None if model is None else _facts(config, cost, model)
        source = Source(cache, facts, config.name)
        found = None
        if model is not None:
            shapes = shapes_of(config)
            read = partial(_read, checkpoint=checkpoint, model=model, shapes=shapes, work=work)
            found = source.load("passes", {}, read)
    if found is None:
        found = _compute(config, cost, work, clock)
        source.store("passes", {}, lambda folder: _write(found, folder, work))
    # Only who has read the model knows where the rest of it is.
    if facts is not None:
        facts = {**facts, "external": [fact.sha256 for _, fact in found.files[1:]]}
    kept = find_kept_float(found.plain, int8_options(config.backend.quantize))
    return Prepared(
        Source(cache, facts, config.name),
        found.files,
        found.notes,
        work / f"{ORIGINAL}.onnx",
        Source(cache, facts and {name: facts[name] for name in _ORIGINAL_FACTS}, config.name),
        found.interface,
        found.graph,
        cost,
        replace(cost, precision="fp32").milliseconds(found.plain.nodes),
        tuple(layer.node for layer in list_layers(found.plain)),
        kept,
        found.passes,
        found.rewrites,
    )


@dataclass(frozen=True, slots=True)
class _Result:
    """What is stored; `plain` is the graph before rewrites, whose layers the lists name."""

    files: tuple[tuple[Path, FileFact], ...]
    notes: tuple[str, ...]
    interface: gs.Graph
    plain: gs.Graph
    graph: gs.Graph
    passes: tuple[PassResult, ...]
    rewrites: tuple[PassResult, ...]


def _known(checkpoint: Path) -> FileFact | None:
    try:
        return file_fact(checkpoint)
    except OSError:
        return None  # reading it will say why


def _facts(config: BuildConfig, cost: CostModel, model: FileFact) -> Facts:
    dataset = config.dataset if config.graph.fold_normalization else None
    return {
        "model": model.sha256,
        "frontend": config.frontend.model_dump(mode="json", exclude={"checkpoint"}),
        "graph": config.graph.model_dump(mode="json"),
        "process_ops": dataset.model_dump(mode="json")["process_ops"] if dataset else [],
        "dtype": config.backend.dtype,
        "optimize": config.backend.optimize.model_dump(mode="json", exclude={"keep_float"}),
        "cost": asdict(cost),
    }


def _compute(config: BuildConfig, cost: CostModel, work: Path, clock: Clock) -> _Result:
    with clock.stage("load"):
        loaded, edits = load_network(config)
        graph, notes = loaded.graph, loaded.notes
        files = tuple((path, file_fact(path)) for path in loaded.sources)
        del loaded  # or the float weights would live as long as the build
        save_model(graph, work / f"{ORIGINAL}.onnx", work / f"{ORIGINAL}.params")
    shapes, rewrites = shapes_of(config), list[PassResult]()
    opened = any(map(is_open, shapes.values()))
    with clock.stage("passes"):
        schedule = (*asked_passes(config), *FLOAT_PASSES)
        passes = [*edits, *run_passes(graph, schedule)]
        size_at_largest(graph, shapes)
        plain = graph.copy()
        if opened:
            notes = (*notes, OPEN_NOTE)
        else:
            rewrites = optimize(graph, config.backend, schedule, cost)
    interface = load_graph(work / f"{ORIGINAL}.onnx")
    size_at_largest(interface, shapes)
    return _Result(files, notes, interface, plain, graph, tuple(passes), tuple(rewrites))


def _write(result: _Result, folder: Path, work: Path) -> None:
    for suffix in (".onnx", ".params"):
        _link(work / f"{ORIGINAL}{suffix}", folder / f"{ORIGINAL}{suffix}")
    save_model(result.plain, folder / f"{_FLOAT}.onnx", folder / f"{_FLOAT}.params")
    save_model(result.graph, folder / f"{_REWRITTEN}.onnx", folder / f"{_REWRITTEN}.params")
    facts = {
        "external": [
            [os.path.relpath(path, result.files[0][0].parent), asdict(fact)]
            for path, fact in result.files[1:]
        ],
        "notes": result.notes,
        "passes": [asdict(one) for one in result.passes],
        "rewrites": [asdict(one) for one in result.rewrites],
    }
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(folder: Path, checkpoint: Path, model: FileFact, shapes: Shapes, work: Path) -> _Result:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    files = [(checkpoint, model)]
    for name, fact in facts["external"]:
        path = checkpoint.parent / name
        if asdict(file_fact(path)) != fact:
            raise ValueError(f"{name} has changed")
        files.append((path, FileFact(**fact)))
    graphs = [load_graph(folder / f"{stem}.onnx") for stem in (ORIGINAL, _FLOAT, _REWRITTEN)]
    for graph in graphs:
        size_at_largest(graph, shapes)
    interface, plain, rewritten = graphs
    result = _Result(
        tuple(files),
        tuple(facts["notes"]),
        interface,
        plain,
        rewritten,
        _results(facts["passes"]),
        _results(facts["rewrites"]),
    )
    # Last: what is computed after a failure must not be written over a stored file.
    for suffix in (".onnx", ".params"):
        _link(folder / f"{ORIGINAL}{suffix}", work / f"{ORIGINAL}{suffix}")
    return result


def _results(facts: Sequence[dict[str, Any]]) -> tuple[PassResult, ...]:  # Any: a JSON object
    return tuple(
        PassResult(**{**one, "skipped": [Skip(**skip) for skip in one["skipped"]]}) for one in facts
    )


def _link(source: Path, target: Path) -> None:
    """The same file under another name; nobody writes to it. A copy across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
