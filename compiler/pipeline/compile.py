"""The order of the stages: one build file in, one verified bundle out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import onnx_graphsurgeon as gs

from compiler.bundle.write import new_bundle
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_output
from compiler.errors import BuildFileError, CalibrationError, GraphError
from compiler.graph.convert import save_model
from compiler.passes import FLOAT_PASSES
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.run import merge_results, run_passes
from compiler.pipeline.accuracy import find_measure
from compiler.pipeline.budget import Kept, keep_budget
from compiler.pipeline.build import Build, Size
from compiler.pipeline.cache import StageCache, default_folder
from compiler.pipeline.calibrate import ranges_text
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.detections import find_detections, refuse_declined
from compiler.pipeline.float16 import MOST_SAMPLES, NOT_OBSERVED_NOTE, observe_largest
from compiler.pipeline.form import choose_form, float_form
from compiler.pipeline.int8 import OpenQuantizer, open_quantizer
from compiler.pipeline.kept import keep_graphs, log_file
from compiler.pipeline.latency import measure_latency
from compiler.pipeline.layer_times import time_layers
from compiler.pipeline.network import asked_passes, load_network, postprocessing_of
from compiler.pipeline.page import PAGE, commit_record
from compiler.pipeline.pictures import Shown
from compiler.pipeline.prepare import prepare
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.record import (
    Facts,
    Record,
    check_delivery,
    inputs_of,
    run_facts,
    specs_of,
)
from compiler.pipeline.remarks import (
    accuracy_warnings,
    cpu_warnings,
    data_notes,
    engine_notes,
    image_warnings,
    integer_layers,
    integer_warnings,
    skip_warnings,
)
from compiler.pipeline.samples import Samples, find_build_samples
from compiler.pipeline.sensitivity import SENSITIVITY_SAMPLES, Sensitivity, measure_sensitivity
from compiler.pipeline.sessions import engine_version
from compiler.pipeline.task import find_task
from compiler.pipeline.verification import (
    check_smallest,
    find_reference,
    verification_samples,
    verify_network,
)
from compiler.quantize.layers import Layer, list_layers
from compiler.runner.cpu import check_dtype
from compiler.verify.integer import IntegerReport, inspect_session_graph
from compiler.verify.result import broken_gates


def compile_model(
    config: BuildConfig,
    *,
    calibration_table: Path | None = None,
    keep: bool = False,
    force: bool = False,
    allow_custom_code: bool = False,
    strict: bool = False,
    progress: Report | None = None,
) -> Build:
    """Compile and verify the network that a build file describes, and write its bundle.

    Example:
        build = compile_model(load_config("build_configs/official_unet3p.yaml"))

    Args:
        config: From `load_config`.
        calibration_table: int8: take the ranges from this file instead of observing the network.
        keep: Write the bundle even if it misses an accuracy gate.
        force: Write the bundle of an accuracy search even if it is slower than the fp32 form.
        allow_custom_code: Let a CustomFunc of the build file run its Python code.
        strict: Refuse a network that `graph.extra_ops` does not suit.
        progress: Called as progress(stage, done, total).

    Returns:
        The build. A missed gate is in `broken_gates`; without `keep`, `digest` is then None and
        no bundle was written.

    Raises:
        ModcError: By what is wrong; a bundle that was there before is unchanged.
    """
    _check_request(config, calibration_table)
    clock, started = Clock(progress), datetime.now(UTC)
    workspace = resolve_output(config.workspace.path)
    cache = StageCache(default_folder())
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
        dtype = config.backend.dtype

        prepared, notes = prepare(config, cache, work, clock), list[str]()
        if strict:
            refuse_declined(config, prepared.passes)
        if dtype == "int8":
            prepared, told = choose_form(config, prepared, cache, work, clock)
            notes += told
        graph, passes = prepared.graph, list(prepared.passes)
        with clock.stage("load"):
            interface = prepared.interface
            inputs = inputs_of(interface)
            check_smallest(
                prepared.original,
                inputs,
                what="the network",
                fix="raise the smallest size to one that the network accepts",
            )
            detections = find_detections(config, interface, prepared.passes)
            ended = interface if detections is None else detections.append(interface)
            unused = check_delivery(config, ended)
            rule = None if detections else postprocessing_of(interface)
            samples, chain = find_build_samples(
                config,
                inputs,
                held_out=config.verify.samples,
                needed=dtype == "int8" and calibration_table is None,
                allow_custom_code=allow_custom_code,
            )
            task = find_task(config, chain, inputs, specs_of(interface.outputs)[0], rule)
            accuracy = config.backend.quantize.accuracy if dtype == "int8" else None
            measure = None
            if accuracy is not None:
                measure = find_measure(
                    config, accuracy, samples, chain, inputs, specs_of(interface.outputs)[0], rule
                )
        notes = [*prepared.notes, *notes, *data_notes(config, samples)]
        notes += engine_notes(config)

        opened: OpenQuantizer | None = None
        quantized: Quantized | None = None
        kept: Kept | None = None
        if dtype == "fp16":
            largest = _observe_largest(graph, samples, work, clock)
            passes += run_passes(graph, (partial(cast_float16, largest=largest),), rounds=1)
            notes += [] if largest else [NOT_OBSERVED_NOTE]
        if dtype == "int8":
            opened = open_quantizer(
                graph,
                config.backend,
                prepared.kept_float,
                prepared.cost,
                samples,
                calibration_table,
                work,
                clock,
                prepared.source,
            )
        chosen = verification_samples(samples, task, inputs, config.verify.samples)
        feeds = chosen.feeds
        if opened is not None:
            if accuracy is not None and measure is not None:
                rival = float_form(config, cache, work / "rival", clock)
                with clock.stage("search"):
                    kept = keep_budget(
                        opened, accuracy, measure, prepared, rival, samples, feeds, work
                    )
                opened = kept.opened
            del measure  # and the samples that it holds
            with clock.stage("quantize"):
                quantized = opened.quantize()
            graph = quantized.graph
            table = ranges_text(quantized.ranges, quantized.equalized)
            (bundle.folder / "mod.calib.txt").write_text(table, encoding="utf-8")
        passes = merge_results([*passes, *prepared.rewrites])

        with clock.stage("write"):
            final, original, compared = graph, prepared.original, model
            if detections is not None:
                # Outputs are compared before boxes are chosen: after that, one place in the list
                # that two close boxes exchange looks like a large error.
                original, compared = work / "detector.onnx", work / "compared.onnx"
                whole = detections.append(prepared.interface)
                save_model(whole, original, work / "detector.params")
                save_model(graph, compared, work / "compared.params")
                final = detections.append(graph)
            save_model(final, model, bundle.folder / "mod.params")

        report: IntegerReport | None = None
        if quantized is not None:
            with clock.stage("inspect"):
                report = _inspect(model, quantized)

        sensitivity = Sensitivity()
        if quantized is not None:
            with clock.stage("sensitivity"):
                sensitivity = measure_sensitivity(
                    quantized.source, graph, quantized.plan, feeds[:SENSITIVITY_SAMPLES], work
                )
        reference = find_reference(prepared.original, feeds, task, prepared.original_source, clock)
        bfloat16, engine = dtype == "bf16", config.backend.build_engine
        check_smallest(
            model,
            inputs,
            what="the compiled network",
            fix="report this network; give it one fixed shape meanwhile",
            bfloat16=bfloat16,
            engine=engine,
        )
        shown = Shown(chosen.names, feeds, reference.outputs)
        result = verify_network(
            reference,
            compared,
            feeds,
            chosen.origin,
            task,
            sensitivity.tensors,
            clock,
            bfloat16=bfloat16,
            engine=engine,
            look=shown.look,
        )
        broken = broken_gates(
            result,
            min_cosine=config.verify.min_cosine,
            min_sqnr_db=config.verify.min_sqnr_db,
        )
        if kept is not None:
            broken = [*broken, *kept.broken(force=force)]

        with clock.stage("latency"):
            latency = measure_latency(original, model, feeds[0], bfloat16=bfloat16, engine=engine)

        warnings = (
            *(warning for one in passes for warning in one.warnings),
            *unused,
            *image_warnings(chain),
            *(quantized.warnings if quantized else ()),
            *integer_warnings(report),
            *skip_warnings(samples),
            *accuracy_warnings(result, graph),
        )
        build = Build(
            name=config.name,
            dtype=dtype,
            prefix=workspace / config.name / "mod",
            digest=None,
            passes=tuple(passes),
            decisions=quantized.float_nodes if quantized else (),
            integer_layers=integer_layers(report),
            verification=result,
            broken_gates=tuple(broken),
            search=None if kept is None else kept.result,
            size=Size(
                sum(fact.size for _, fact in prepared.files),
                _bytes((model, bundle.folder / "mod.params")),
            ),
            latency=latency,
            seconds=clock.seconds,
            notes=(*notes, *(quantized.notes if quantized else ())),
            warnings=(*bundle.warnings, *cpu_warnings(config, quantized), *warnings),
        )
        if broken and not keep:
            return build
        nodes: Sequence[Facts] = ()
        if engine == "onnxruntime":
            with clock.stage("profile"):
                nodes = time_layers(model, final, feeds[0], work, bfloat16=bfloat16)
        with clock.stage("bundle"):
            keep_graphs(config, workspace, work)
            record = Record(
                config=config,
                prepared=prepared,
                chain=chain,
                rule=rule,
                samples=samples,
                table=calibration_table,
                passes=passes,
                original=ended,
                graph=final,
                histograms=opened.quantizer.histograms if opened else {},
                quantized=quantized,
                session=report,
                sensitivity=sensitivity,
                kept=kept,
                verification=result,
                warnings=warnings,
            )
            run = run_facts(started, clock.seconds, latency, nodes)
            digest, failure = commit_record(bundle, record, run, shown)
        return replace(
            build,
            digest=digest,
            page=None if failure else workspace / config.name / PAGE,
            warnings=(*build.warnings, *([failure] if failure else [])),
        )


def layers_of(config: BuildConfig) -> tuple[Layer, ...]:
    """Layers of a network after the float passes, as the skip lists of a build file number them.

    Raises:
        ModcError: The network cannot be read.
    """
    loaded, _ = load_network(config)
    run_passes(loaded.graph, (*asked_passes(config), *FLOAT_PASSES))
    return list_layers(loaded.graph)


def _check_request(config: BuildConfig, table: Path | None) -> None:
    engine = config.backend.build_engine
    engine_version(engine)  # or what is missing
    check_dtype(config.backend.dtype, engine)
    if table is None:
        return
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


def _observe_largest(
    graph: gs.Graph, samples: Samples | None, work: Path, clock: Clock
) -> Mapping[str, float]:
    if samples is None:
        return {}
    few = samples.spread(MOST_SAMPLES)
    with clock.stage("calibrate", len(few.calibration)) as step:
        return observe_largest(graph, few, work, step)


def _inspect(model: Path, quantized: Quantized) -> IntegerReport:
    try:
        return inspect_session_graph(model, quantized.plan.integer_nodes)
    except ValueError as error:
        raise GraphError(
            str(error), where=str(model), fix="report this network; build it as fp16 meanwhile"
        ) from error


def _bytes(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())
