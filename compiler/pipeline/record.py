"""What goes into the files beside the network: manifest, report data, facts of the run."""

import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.config.dump import dump_config
from compiler.config.model import BuildConfig
from compiler.graph.convert import to_graph
from compiler.graph.open_sizes import OpenSize, bounds_of, has_open_sizes, is_open
from compiler.passes.result import PassResult
from compiler.pipeline.budget import Kept
from compiler.pipeline.build import Latency
from compiler.pipeline.delivered import delivery_warnings, with_delivery
from compiler.pipeline.environment import cpu_features, versions
from compiler.pipeline.open_sizes import open_output_shapes, shape_of, size_at_largest
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.samples import Input, Samples
from compiler.pipeline.sensitivity import Sensitivity
from compiler.pipeline.sessions import engine_version
from compiler.preprocess.chain import Chain
from compiler.runner.engine import EngineName
from compiler.runner.manifest import (
    FileFact,
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


def make_manifest(
    config: BuildConfig,
    graph: gs.Graph,
    chain: Chain | None,
    rule: Postprocessing | None,
    sources: Sequence[Source],
    optimization: Facts,
    quantized: Quantized | None,
    report: IntegerReport | None,
    verification: VerifyResult,
) -> Manifest:
    """The manifest, except for the hashes of the bundle's own files."""
    preprocessing = None
    if chain is not None:
        preprocessing = Preprocessing(tuple(chain.to_list()), chain.shape)
    return Manifest(
        name=config.name,
        inputs=specs_of(graph.inputs),
        outputs=with_delivery(config, _output_specs(graph)),
        build=dump_config(config),
        preprocessing=preprocessing,
        postprocessing=rule,
        classes=config.classes,
        engine=config.backend.engine,
        optimization=optimization,
        quantization=_quantization(config, quantized, report),
        verification=verification.to_json(),
        sources=tuple(sources),
        versions=versions() | _engine_versions(config.backend.build_engine),
    )


def sources_of(
    config: BuildConfig,
    models: Sequence[tuple[Path, FileFact]],
    samples: Samples | None,
    table: Path | None,
) -> list[Source]:
    """Everything a bundle was made from, identified by size and hash."""
    found = [_text_source("build", config.file_name, dump_config(config))]
    for path, fact in models:
        found.append(Source("model", path.name, fact.size, fact.sha256))
    if samples is not None:
        listing = "".join(f"{one.sha256}  {one.name}\n" for one in samples.calibration)
        found.append(_text_source("data", "calibration files", listing))
    if table is not None:
        fact = file_fact(table)
        found.append(Source("table", table.name, fact.size, fact.sha256))
    return found


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


def report_facts(
    passes: Sequence[PassResult],
    samples: Samples | None,
    quantized: Quantized | None,
    report: IntegerReport | None,
    verification: VerifyResult,
    sensitivity: Sensitivity,
    kept: Kept | None,
    warnings: Sequence[str],
) -> Facts:
    """Report data: what every stage did, the same on every run."""
    facts: Facts = {
        "passes": [asdict(result) for result in passes],
        "verification": verification.to_json(),
        "warnings": list(warnings),
    }
    if samples is not None:
        facts["calibration_files"] = [
            {"name": one.name, "sha256": one.sha256} for one in samples.calibration
        ]
        facts["skipped_files"] = list(samples.skipped)
    if quantized is not None:
        facts["sensitivity"] = to_json(sensitivity.layers)
        facts["ranges"] = [asdict(range_) for range_ in quantized.ranges]
        facts["nodes"] = [
            {"node": node.node, "op": node.op, "form": node.form.value, "reason": node.reason}
            for node in quantized.plan.nodes
        ]
    if kept is not None:
        facts["search"] = kept.facts()
    if report is not None:
        facts["session"] = {
            "integer": [asdict(node) for node in report.nodes],
            "stray": list(report.stray),
            "operators": dict(sorted(report.operators.items())),
        }
    return facts


def run_facts(started: datetime, seconds: dict[str, float], latency: Latency) -> Facts:
    """What differs from run to run."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "latency_ms": asdict(latency),
        "peak_memory_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def _quantization(
    config: BuildConfig, quantized: Quantized | None, report: IntegerReport | None
) -> Facts:
    facts: Facts = {"dtype": config.backend.dtype, "cpu_features": cpu_features()}
    if quantized is not None and report is not None:
        facts |= {
            "calibrate_mode": sorted({range_.method for range_ in quantized.ranges}),
            "equalized": len(quantized.equalized),
            "reduce_range": config.backend.quantize.reduce_range,
            "tensors": len(quantized.ranges),
            "planned_layers": len(report.nodes),
            "integer_layers": len(report.nodes) - len(report.float_nodes),
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
