"""What goes into the files beside the network: manifest, report data, facts of the run."""

import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from calibration.histogram import Histogram
from compiler.config.dump import dump_config
from compiler.config.model import BuildConfig
from compiler.graph.convert import to_graph
from compiler.graph.open_sizes import OpenSize, bounds_of, has_open_sizes, is_open
from compiler.passes.result import PassResult
from compiler.pipeline.budget import Kept
from compiler.pipeline.build import Latency
from compiler.pipeline.delivered import delivery_warnings, with_delivery
from compiler.pipeline.environment import cpu_features, versions
from compiler.pipeline.histogram_facts import histogram_facts
from compiler.pipeline.layer_facts import graph_facts, layer_facts
from compiler.pipeline.open_sizes import open_output_shapes, shape_of, size_at_largest
from compiler.pipeline.optimize import optimization_facts
from compiler.pipeline.prepare import Prepared
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.samples import Input, Samples
from compiler.pipeline.sensitivity import Sensitivity
from compiler.pipeline.sessions import engine_version
from compiler.preprocess.chain import Chain
from compiler.runner.engine import EngineName
from compiler.runner.manifest import (
    Manifest,
    Postprocessing,
    Preprocessing,
    Source,
    TensorSpec,
)
from compiler.runner.read import Bundle, file_fact
from compiler.verify.integer import IntegerReport
from compiler.verify.result import VerifyResult
from compiler.verify.sensitivity import to_json

Facts = dict[str, Any]  # Any: a JSON object


def inputs_of(graph: gs.Graph) -> tuple[Input, ...]:
    """The network's inputs, after `size_at_largest` where sizes are open."""
    return tuple(Input(one.name, tuple(one.shape), np.dtype(one.dtype)) for one in graph.inputs)


def bundle_inputs(bundle: Bundle) -> tuple[Input, ...]:
    """The inputs of a bundle."""
    specs = bundle.manifest.inputs
    return tuple(Input(one.name, tuple(shape_of(one)), np.dtype(one.dtype)) for one in specs)


def bundle_graph(bundle: Bundle) -> gs.Graph:
    """The network of a bundle; where sizes are open, its tensors have those of its largest."""
    graph = to_graph(onnx.load(bundle.model))
    size_at_largest(graph, {one.name: one.shape for one in bundle_inputs(bundle)})
    return graph


@dataclass(frozen=True, slots=True)
class Record:
    """What a build has made and found out, before it is written down.

    Args:
        config: The build file.
        prepared: Its network.
        chain: Preprocessing of images; None for arrays.
        rule: From output to class mask.
        samples: The data set.
        table: The calibration table that was given.
        passes: What each pass did or declined.
        original: The network before any pass, with the end that the bundle's has.
        graph: The compiled network, as it stands in the bundle.
        histograms: For int8, of the tensors that were observed.
        quantized: For int8, how the network came about.
        session: For int8, what an engine makes of it.
        sensitivity: For int8, where it loses accuracy.
        kept: Result of the accuracy search.
        verification: Compiled against original network.
        warnings: Those that are the same on every run.
    """

    config: BuildConfig
    prepared: Prepared
    chain: Chain | None
    rule: Postprocessing | None
    samples: Samples | None
    table: Path | None
    passes: Sequence[PassResult]
    original: gs.Graph
    graph: gs.Graph
    histograms: Mapping[str, Histogram]
    quantized: Quantized | None
    session: IntegerReport | None
    sensitivity: Sensitivity
    kept: Kept | None
    verification: VerifyResult
    warnings: Sequence[str]


def make_manifest(record: Record) -> Manifest:
    """The manifest, except for the hashes of the bundle's own files."""
    config, chain, prepared = record.config, record.chain, record.prepared
    preprocessing = None
    if chain is not None:
        preprocessing = Preprocessing(tuple(chain.to_list()), chain.shape)
    return Manifest(
        name=config.name,
        inputs=specs_of(record.graph.inputs),
        outputs=with_delivery(config, _output_specs(record.graph)),
        build=dump_config(config),
        preprocessing=preprocessing,
        postprocessing=record.rule,
        classes=config.classes,
        engine=config.backend.engine,
        optimization=optimization_facts(prepared.cost, prepared.rewrites),
        quantization=_quantization(record),
        verification=record.verification.to_json(),
        sources=tuple(_sources(record)),
        versions=versions() | _engine_versions(config.backend.build_engine),
    )


def check_delivery(config: BuildConfig, graph: gs.Graph) -> list[str]:
    """What a build file says in vain of how outputs are handed out.

    Args:
        config: The build file.
        graph: Its outputs are those of the bundle.

    Raises:
        BuildFileError: An output cannot be handed out like that.
    """
    options = config.backend.compile
    if not options.layouts and not options.shapes:
        return []
    outputs = _output_specs(graph)
    with_delivery(config, outputs)
    return delivery_warnings(config, outputs)


def report_facts(record: Record) -> Facts:
    """Report data: what every stage did, the same on every run."""
    quantized, session = record.quantized, record.session
    facts: Facts = {
        "passes": [asdict(result) for result in record.passes],
        "verification": record.verification.to_json(),
        "warnings": list(record.warnings),
        "graph": {"before": graph_facts(record.original), "after": graph_facts(record.graph)},
        "layers": layer_facts(
            record.graph,
            record.config.backend.dtype,
            record.passes,
            quantized,
            session,
            record.verification,
        ),
    }
    if record.samples is not None:
        facts["calibration_files"] = [
            {"name": one.name, "sha256": one.sha256} for one in record.samples.calibration
        ]
        facts["skipped_files"] = list(record.samples.skipped)
    if quantized is not None:
        facts["sensitivity"] = to_json(record.sensitivity.layers)
        facts["ranges"] = [asdict(range_) for range_ in quantized.ranges]
        facts["histograms"] = histogram_facts(
            quantized.ranges,
            record.histograms,
            fraction=record.config.backend.quantize.calibrate_range,
        )
        facts["nodes"] = [
            {"node": node.node, "op": node.op, "form": node.form.value, "reason": node.reason}
            for node in quantized.plan.nodes
        ]
    if record.kept is not None:
        facts["search"] = record.kept.facts()
    if session is not None:
        facts["session"] = {
            "integer": [asdict(node) for node in session.nodes],
            "stray": list(session.stray),
            "operators": dict(sorted(session.operators.items())),
        }
    return facts


def run_facts(
    started: datetime, seconds: dict[str, float], latency: Latency, nodes: Sequence[Facts]
) -> Facts:
    """What differs from run to run.

    Args:
        started: When the build began.
        seconds: Duration of each stage.
        latency: Of both networks.
        nodes: Time of each node of the compiled one.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "latency_ms": asdict(latency),
        "nodes": list(nodes),
        "peak_memory_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def _sources(record: Record) -> Iterator[Source]:
    """Everything that the bundle was made from, identified by size and hash."""
    config = record.config
    yield _text_source("build", config.file_name, dump_config(config))
    for path, fact in record.prepared.files:
        yield Source("model", path.name, fact.size, fact.sha256)
    if record.samples is not None:
        listing = "".join(f"{one.sha256}  {one.name}\n" for one in record.samples.calibration)
        yield _text_source("data", "calibration files", listing)
    if record.table is not None:
        fact = file_fact(record.table)
        yield Source("table", record.table.name, fact.size, fact.sha256)


def _quantization(record: Record) -> Facts:
    config, quantized, session = record.config, record.quantized, record.session
    facts: Facts = {"dtype": config.backend.dtype, "cpu_features": cpu_features()}
    if quantized is not None and session is not None:
        facts |= {
            "calibrate_mode": sorted({range_.method for range_ in quantized.ranges}),
            "equalized": len(quantized.equalized),
            "reduce_range": config.backend.quantize.reduce_range,
            "tensors": len(quantized.ranges),
            "planned_layers": len(session.nodes),
            "integer_layers": len(session.nodes) - len(session.float_nodes),
        }
    return facts


def specs_of(tensors: Sequence[gs.Tensor]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs as the manifest describes them; -1 for a size that is not fixed."""
    return tuple(
        TensorSpec(
            one.name,
            tuple(map(_fixed_size, one.shape or ())),
            np.dtype(one.dtype).name,
            bounds_of(one.shape) if is_open(one.shape or ()) else (),
        )
        for one in tensors
    )


def _engine_versions(engine: EngineName) -> dict[str, str]:
    """Of an engine whose results the manifest holds; ONNX Runtime is among the tools."""
    return {} if engine == "onnxruntime" else {engine: engine_version(engine)}


def _fixed_size(size: object) -> int:
    return size if isinstance(size, int) and not isinstance(size, OpenSize) else -1


def _output_specs(graph: gs.Graph) -> tuple[TensorSpec, ...]:
    """Outputs of the compiled network; those that follow the inputs' sizes are open as well."""
    specs = specs_of(graph.outputs)
    if not has_open_sizes(graph):
        return specs
    shapes = open_output_shapes(graph)
    return tuple(replace(one, shape=shapes[one.name]) for one in specs)


def _text_source(role: Literal["build", "data"], name: str, text: str) -> Source:
    data = text.encode()
    return Source(role, name, len(data), sha256(data).hexdigest())
