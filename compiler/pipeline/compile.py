"""The order of the stages: one build file in, one verified bundle out."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from calibration.table import write_table
from compiler.bundle.write import new_bundle
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_output
from compiler.errors import BuildFileError, CalibrationError, GraphError
from compiler.graph.convert import save_model
from compiler.passes import FLOAT16_PASSES, FLOAT_PASSES
from compiler.passes.run import merge_results, run_passes
from compiler.pipeline.build import Build, Size
from compiler.pipeline.calibrate import int8_options
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.kept import keep_graphs, log_file
from compiler.pipeline.latency import measure_latency
from compiler.pipeline.network import asked_passes, load_network, postprocessing_of
from compiler.pipeline.optimize import cost_model, optimization_facts, optimize
from compiler.pipeline.quantized import Quantized, quantize_graph
from compiler.pipeline.record import (
    Facts,
    inputs_of,
    make_manifest,
    report_facts,
    run_facts,
    sources_of,
    specs_of,
)
from compiler.pipeline.samples import Samples, find_build_samples
from compiler.pipeline.task import find_task
from compiler.pipeline.verification import (
    verification_feeds,
    verification_runs,
    verify_network,
)
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import chain_warnings
from compiler.quantize.layers import Layer, list_layers
from compiler.quantize.plan import find_kept_float
from compiler.verify.integer import IntegerReport, inspect_session_graph
from compiler.verify.result import VerifyResult, broken_gates

POOR_SQNR_DB = 10.0
"""Below it, noise has more than a third of the signal's amplitude, and a warning says so."""


def compile_model(
    config: BuildConfig,
    *,
    calibration_table: Path | None = None,
    keep: bool = False,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Build:
    """Compile and verify the network that a build file describes, and write its bundle.

    Example:
        build = compile_model(load_config("build_configs/official_unet3p.yaml"))

    Args:
        config: From `load_config`.
        calibration_table: int8: take the ranges from this file instead of observing the network.
        keep: Write the bundle even if it misses an accuracy gate.
        allow_custom_code: Let a CustomFunc of the build file run its Python code.
        progress: Called as progress(stage, done, total).

    Returns:
        The build. A missed gate is in `broken_gates`; without `keep`, `digest` is then None and
        no bundle was written.

    Raises:
        ModcError: By what is wrong; a bundle that was there before is unchanged.
    """
    if calibration_table is not None:
        _check_table(config, calibration_table)
    clock, started = Clock(progress), datetime.now(UTC)
    workspace = resolve_output(config.workspace.path)
    with (
        new_bundle(
            workspace,
            config.name,
            build_file=config.file_name,
            model=Path(config.frontend.checkpoint).name,
        ) as bundle,
        log_file(config, workspace),
    ):
        work = bundle.folder / "work"
        work.mkdir()
        model = bundle.folder / "mod.onnx"
        original = work / "original.onnx"
        dtype = config.backend.dtype

        with clock.stage("load"):
            loaded, edits = load_network(config)
            graph, notes, sources = loaded.graph, loaded.notes, loaded.sources
            del loaded  # or the float weights would live as long as the build
            save_model(graph, original, work / "original.params")
            inputs, rule = inputs_of(graph), postprocessing_of(graph)
            samples, chain = find_build_samples(
                config,
                inputs,
                held_out=config.verify.samples,
                needed=dtype == "int8" and calibration_table is None,
                allow_custom_code=allow_custom_code,
            )
            task = find_task(config, chain, inputs, specs_of(graph.outputs)[0], rule)

        with clock.stage("passes"):
            schedule = (*asked_passes(config), *FLOAT_PASSES)
            passes = [*edits, *run_passes(graph, schedule)]
            kept_float = find_kept_float(graph, int8_options(config.backend.quantize))
            cost = cost_model(config.backend)
            rewrites = optimize(graph, config.backend, schedule, cost)
            passes = merge_results([*passes, *rewrites])
            if dtype == "fp16":
                passes += run_passes(graph, FLOAT16_PASSES, rounds=1)

        quantized: Quantized | None = None
        if dtype == "int8":
            quantized = quantize_graph(
                graph,
                config.backend,
                kept_float,
                cost,
                samples,
                calibration_table,
                work,
                clock,
            )
            graph = quantized.graph
            table = write_table(quantized.ranges)
            (bundle.folder / "mod.calib.txt").write_text(table, encoding="utf-8")

        with clock.stage("write"):
            save_model(graph, model, bundle.folder / "mod.params")

        report: IntegerReport | None = None
        if quantized is not None:
            with clock.stage("inspect"):
                report = _inspect(model, quantized)

        feeds, origin = verification_feeds(samples, task, inputs, config.verify.samples)
        with clock.stage("verify", verification_runs(feeds, task)) as step:
            layers = () if quantized is None else quantized.layers(feeds)
            result = verify_network(original, model, feeds, origin, task, layers, step)
            broken = broken_gates(
                result,
                min_cosine=config.verify.min_cosine,
                min_sqnr_db=config.verify.min_sqnr_db,
            )

        with clock.stage("latency"):
            latency = measure_latency(original, model, feeds[0])

        warnings = (
            *(warning for one in passes for warning in one.warnings),
            *_image_warnings(chain),
            *(quantized.warnings if quantized else ()),
            *_integer_warnings(report),
            *_skip_warnings(samples),
            *_accuracy_warnings(result, graph),
        )
        build = Build(
            name=config.name,
            dtype=dtype,
            prefix=workspace / config.name / "mod",
            digest=None,
            passes=tuple(passes),
            decisions=quantized.float_nodes if quantized else (),
            integer_layers=_integer_layers(report),
            verification=result,
            broken_gates=tuple(broken),
            size=Size(_bytes(sources), _bytes((model, bundle.folder / "mod.params"))),
            latency=latency,
            seconds=clock.seconds,
            notes=(
                *notes,
                *_data_notes(config, samples),
                *(quantized.notes if quantized else ()),
            ),
            warnings=(*bundle.warnings, *warnings),
        )
        if broken and not keep:
            return build
        with clock.stage("bundle"):
            keep_graphs(config, workspace, work)
            facts = report_facts(passes, samples, quantized, report, result, warnings)
            _write_json(bundle.folder / "mod.report.json", facts)
            _write_json(
                bundle.folder / "mod.build.json", run_facts(started, clock.seconds, latency)
            )
            manifest = make_manifest(
                config,
                graph,
                chain,
                rule,
                sources_of(config, sources, samples, calibration_table),
                optimization_facts(cost, rewrites),
                quantized,
                report,
                result,
            )
            return replace(build, digest=bundle.commit(manifest))


def layers_of(config: BuildConfig) -> tuple[Layer, ...]:
    """Layers of a network after the float passes, as the skip lists of a build file number them.

    Raises:
        ModcError: The network cannot be read.
    """
    loaded, _ = load_network(config)
    run_passes(loaded.graph, (*asked_passes(config), *FLOAT_PASSES))
    return list_layers(loaded.graph)


def _check_table(config: BuildConfig, table: Path) -> None:
    if config.backend.dtype != "int8":
        raise BuildFileError(
            f"a calibration table is for int8; backend.dtype is {config.backend.dtype}",
            where=config.name,
            fix="leave out --calibration-table, or build with --dtype int8",
        )
    if not table.is_file():
        raise CalibrationError(
            "cannot be read: no such file",
            where=str(table),
            fix="give a copy of a bundle's mod.calib.txt",
        )


def _data_notes(config: BuildConfig, samples: Samples | None) -> list[str]:
    if config.dataset is None or config.dataset.path is None:
        return []
    if samples is not None:
        asked, found = config.dataset.sampler.get_data_num, len(samples.calibration)
        return [f"{asked} files asked for, {found} found"] if found < asked else []
    return [f"dataset.path {config.dataset.path} has no usable files; random inputs stand in"]


def _accuracy_warnings(result: VerifyResult, graph: gs.Graph) -> list[str]:
    """SQNR says nothing about class numbers."""
    classes = any(np.issubdtype(one.dtype, np.integer) for one in graph.outputs)
    if result.sqnr_db >= POOR_SQNR_DB or classes:
        return []
    return [
        f"SQNR is {result.sqnr_db:.1f} dB: the compiled network differs from fp32 about as much "
        "as its own signal; check process_ops, or set gates under verify"
    ]


def _inspect(model: Path, quantized: Quantized) -> IntegerReport:
    try:
        return inspect_session_graph(model, quantized.plan.integer_nodes)
    except ValueError as error:
        raise GraphError(
            str(error), where=str(model), fix="report this network; build it as fp16 meanwhile"
        ) from error


def _integer_layers(report: IntegerReport | None) -> tuple[int, int] | None:
    if report is None:
        return None
    return len(report.nodes) - len(report.float_nodes), len(report.nodes)


def _integer_warnings(report: IntegerReport | None) -> list[str]:
    if report is None:
        return []
    lines = [
        f"{node.op} '{node.node}' was to run on integers and does not: {node.reason}"
        for node in report.float_nodes
    ]
    return lines + [f"'{name}' rounds to int8 and back for nothing" for name in report.stray]


def _image_warnings(chain: Chain | None) -> list[str]:
    """What happened to images that did not fit; the rest was said when the build file was read."""
    if chain is None:
        return []
    known = chain_warnings(chain.ops, chain.shape)
    return [warning for warning in chain.warnings() if warning not in known]


def _skip_warnings(samples: Samples | None) -> list[str]:
    if samples is None or not samples.skipped:
        return []
    names = ", ".join(samples.skipped[:5])
    return [f"{len(samples.skipped)} file(s) skipped because they cannot be used: {names}"]


def _bytes(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())


def _write_json(path: Path, facts: Facts) -> None:
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
