"""How a network would be compiled, found without the runs that calibration and verification take.

Passes, rewrites and the int8 plan are those of the build itself, and so is what they leave in the
cache: the build that follows finds it there. Ranges come from a few samples, or are made up where
there are none; they decide neither which nodes run on integers nor how large the bundle becomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

import onnx_graphsurgeon as gs

from calibration.ranges import TensorRange
from compiler.config.model import BuildConfig
from compiler.graph.convert import infer_shapes, save_model
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.result import PassResult
from compiler.passes.run import run_passes
from compiler.pipeline.cache import StageCache
from compiler.pipeline.calibrate import range_warnings
from compiler.pipeline.check_findings import Collector
from compiler.pipeline.clock import Clock
from compiler.pipeline.detections import Detections
from compiler.pipeline.float16 import NOT_OBSERVED_NOTE, observe_largest
from compiler.pipeline.form import choose_form
from compiler.pipeline.layer_facts import Facts, graph_facts, layer_facts
from compiler.pipeline.observation import observe
from compiler.pipeline.prepare import Prepared
from compiler.pipeline.quantizer import Quantized, Quantizer
from compiler.pipeline.remarks import integer_warnings
from compiler.pipeline.samples import Samples
from compiler.quantize.correct_bias import wanted_means
from compiler.quantize.plan import Int8Plan
from compiler.quantize.replace_reduce_mean import replace_reduce_mean
from compiler.verify.integer import inspect_session_graph
from compiler.verify.result import VerifyResult

_STEP: Final = 1 / 128  # between made-up ranges: equal ones would let an engine drop conversions
_UNVERIFIED: Final = VerifyResult(0, "no samples", (), (), None)


@dataclass(frozen=True, slots=True)
class Op:
    """One node of the network as it will run.

    Args:
        node: Its name.
        op: ONNX operator type.
        dtype: "int8", "float16", "bfloat16", "float32", or the type of its output where that is
            no float.
        reason: Why it is not what `backend.dtype` asks for; else empty.
        shape: Of its first output; -1 where a size is not known.
        macs: Multiply-accumulates.
        parameter_bytes: Of the constants that it reads.
    """

    node: str
    op: str
    dtype: str
    reason: str
    shape: tuple[int, ...]
    macs: int
    parameter_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a network: its nodes (conversions to int8 and back are none), arithmetic and bytes."""

    nodes: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The network before and after a build.

    Args:
        before: As the checkpoint has it; bytes of its files.
        after: As it will be compiled; bytes of its files without the tables of calibration.
        ops: Nodes of the compiled network, in the order in which they run.
    """

    before: Totals
    after: Totals
    ops: tuple[Op, ...]

    @property
    def integer(self) -> int:
        """Nodes that run on integers."""
        return sum(op.dtype == "int8" for op in self.ops)


@dataclass(frozen=True, slots=True)
class Draft:
    """A network as it will be compiled, but for its scales.

    Args:
        model: ONNX file.
        forecast: What it consists of.
    """

    model: Path
    forecast: Forecast


def draft_network(
    config: BuildConfig,
    prepared: Prepared,
    samples: Samples | None,
    detections: Detections | None,
    cache: StageCache,
    work: Path,
    findings: Collector,
) -> Draft:
    """Compile a network but for what takes runs on the whole calibration data.

    Args:
        config: The build file.
        prepared: Its network; the graph is edited.
        samples: A few samples, loaded already.
        detections: The end that the bundle gets, if it gets one.
        cache: Of the stages.
        work: Folder for files.
        findings: Gets what the build would tell on the way.

    Raises:
        ModcError: What the build would end with.
    """
    passes: Sequence[PassResult] = ()
    quantized = None
    if config.backend.dtype == "int8":
        prepared, told = choose_form(config, prepared, cache, work, Clock(None))
        findings.note("graph", told)
        quantized = _quantize(config, prepared, samples, work, findings)
    elif config.backend.dtype == "fp16":
        passes = _cast(prepared.graph, samples, work, findings)
    return _saved(config, prepared, detections, passes, quantized, work, findings)


def _quantize(
    config: BuildConfig,
    prepared: Prepared,
    samples: Samples | None,
    work: Path,
    findings: Collector,
) -> Quantized:
    graph = prepared.graph
    quantizer = Quantizer(graph, config.backend, prepared.kept_float, prepared.cost)
    if replace_reduce_mean(graph):
        infer_shapes(graph)
    plan, not_worth = quantizer.plan()
    findings.warn("graph", plan.warnings)
    if not plan.observed:
        findings.warn("graph", ["no layer runs on integers; --ops tells why each stays float"])
    ranges: tuple[TensorRange, ...] | None = None
    if samples is not None and plan.observed:
        corrects = config.backend.quantize.bias_correction
        axes = wanted_means(graph, plan) if corrects else {}
        seen = observe(graph, plan.observed, axes, samples, work, _silent)
        quantizer.histograms, quantizer.means = dict(seen.histograms), seen.means
        findings.warn("graph", range_warnings(quantizer.histograms))
        ranges = findings.attempt("data", quantizer.ranges, plan, "max")
    ranges = ranges or _made_up(plan)
    findings.note("graph", _open_choices(config, not_worth))
    return Quantized(graph, quantizer.insert(plan, ranges), plan, ranges, not_worth)


def _open_choices(config: BuildConfig, not_worth: int) -> list[str]:
    """What stays float for speed, and what only the build decides, because it sees all data."""
    quantize, notes = config.backend.quantize, list[str]()
    if not_worth:
        notes.append(f"{not_worth} nodes stay float because integers would not be faster")
    if quantize.calibrate_mode == "auto":
        notes.append(
            "calibrate_mode auto may keep the last layers in float as well: the build decides it"
        )
    if quantize.accuracy is not None:
        notes.append("quantize.accuracy may keep more layers in float: the build decides it")
    return notes


def _cast(
    graph: gs.Graph, samples: Samples | None, work: Path, findings: Collector
) -> Sequence[PassResult]:
    largest: Mapping[str, float] = {}
    if samples is None:
        findings.note("graph", [NOT_OBSERVED_NOTE])
    else:
        largest = observe_largest(graph, samples, work, _silent)
    infinite = [name for name, magnitude in largest.items() if magnitude == inf]
    findings.warn("graph", [f"'{name}' becomes infinite in float32" for name in infinite])
    passes = run_passes(graph, (partial(cast_float16, largest=largest),), rounds=1)
    for one in passes:
        findings.warn("graph", one.warnings)
    return passes


def _saved(
    config: BuildConfig,
    prepared: Prepared,
    detections: Detections | None,
    passes: Sequence[PassResult],
    quantized: Quantized | None,
    work: Path,
    findings: Collector,
) -> Draft:
    """Write the network as it would stand in the bundle, and count what it consists of."""
    model, weights = work / "mod.onnx", work / "mod.params"
    graph = prepared.graph if quantized is None else quantized.graph
    final = graph if detections is None else detections.append(graph)
    save_model(final, model, weights)
    session = None
    if quantized is not None:
        session = inspect_session_graph(model, quantized.plan.integer_nodes)
        # With scales of a few samples, two that are equal say nothing about those of the build.
        findings.warn("graph", integer_warnings(replace(session, stray=())))
    layers = layer_facts(final, config.backend.dtype, passes, quantized, session, _UNVERIFIED)
    before, after = graph_facts(prepared.interface), graph_facts(final)
    return Draft(
        model,
        Forecast(
            Totals(before["nodes"], before["macs"], sum(fact.size for _, fact in prepared.files)),
            Totals(
                len(layers),
                after["macs"],
                sum(path.stat().st_size for path in (model, weights) if path.exists()),
            ),
            tuple(map(_op, layers)),
        ),
    )


def _op(layer: Facts) -> Op:
    facts = {**layer, "shape": tuple(layer["shape"])}
    return Op(**{field.name: facts[field.name] for field in fields(Op)})


def _made_up(plan: Int8Plan) -> tuple[TensorRange, ...]:
    highs = [1 + number * _STEP for number in range(len(plan.observed))]
    return tuple(
        TensorRange(name, "max", 0.0, high, high, high / 255, 0)
        for name, high in zip(plan.observed, highs, strict=True)
    )


def _silent(done: int) -> None:
    """A few samples need no progress."""
