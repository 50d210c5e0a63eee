"""The int8 branch: equalize, observe, choose ranges, insert Q/DQ."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_graphsurgeon as gs

from compiler.config.backend import Backend, Quantize
from compiler.cost.model import CostModel
from compiler.errors import CalibrationError
from compiler.graph.convert import infer_shapes
from compiler.pipeline import round_weights
from compiler.pipeline.auto import AUTO_SAMPLES, choose, heads_without_lines
from compiler.pipeline.calibrate import digest_of, range_warnings, read_ranges
from compiler.pipeline.clock import Clock
from compiler.pipeline.observation import Observation, observe, observe_extremes
from compiler.pipeline.quantizer import Quantized, Quantizer
from compiler.pipeline.samples import Samples
from compiler.pipeline.stages import Source
from compiler.pipeline.stored_arrays import (
    load_arrays,
    load_histograms,
    save_arrays,
    save_histograms,
)
from compiler.quantize.equalize import equalization_tensors, equalize, repeat_equalization
from compiler.quantize.plan import KeptFloat
from compiler.quantize.replace_reduce_mean import replace_reduce_mean
from compiler.quantize.rescaling import Exponents
from compiler.quantize.weights import RoundedWeights


@dataclass(frozen=True, slots=True)
class OpenQuantizer:
    """A network that was observed, before anything is rounded.

    Args:
        quantizer: With histograms, or the ranges of a table, and the rule of every tensor.
        floats: Layers that `auto` or the accuracy search keeps in float -> why.
        equalized: As in `Quantized`.
        warnings: As in `Quantized`, as are `notes`.
        notes: What was chosen.
    """

    quantizer: Quantizer
    floats: Mapping[str, str]
    equalized: Mapping[str, Exponents]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def quantize(self) -> Quantized:
        """The int8 graph, with what is to be told of it."""
        found = self.quantizer.quantize(self.floats)
        notes = list(self.notes)
        if found.not_worth:
            notes.append(
                f"{found.not_worth} nodes stay float because integers would not be faster; "
                "--explain lists them, backend.optimize.keep_float: false quantizes them all the "
                "same"
            )
        notes += [f"layer {name} stays float: {reason}" for name, reason in self.floats.items()]
        return replace(
            found,
            equalized=self.equalized,
            warnings=(*found.warnings, *self.warnings),
            notes=tuple(notes),
        )


def open_quantizer(
    graph: gs.Graph,
    backend: Backend,
    kept_float: KeptFloat,
    cost: CostModel,
    samples: Samples | None,
    table: Path | None,
    work: Path,
    clock: Clock,
    source: Source,
) -> OpenQuantizer:
    """Equalize and observe a float graph, and choose the rules of its ranges.

    Args:
        graph: After the float passes; edited in place.
        backend: From the build file.
        kept_float: What its lists keep in float.
        cost: Tells what else integers would not make faster.
        samples: Calibration data; with a table it may be absent.
        table: Calibration table to take the ranges from.
        work: Folder for the networks that are run.
        clock: Times the stages.
        source: What stored results of the stages are found by.

    Raises:
        GraphError: The graph cannot be quantized.
        CalibrationError: Samples or table cannot be used.
    """
    given = None if table is None else read_ranges(table)
    quantizer = Quantizer(graph, backend, kept_float, cost, given=given)
    with clock.stage("plan"):
        if replace_reduce_mean(graph):
            infer_shapes(graph)
        plan, _ = quantizer.plan()
    warnings, notes = list[str](), list[str]()
    equalized: Mapping[str, Exponents] = {}
    floats: Mapping[str, str] = {}
    if not plan.observed:
        warnings.append("no layer runs on integers; --explain tells why each stays float")
    elif samples is not None:
        equalized = _observe(quantizer, samples, work, clock, source)
        warnings += range_warnings(quantizer.histograms)
        if backend.quantize.round_weights == "adaptive":
            quantizer.weights = _adapt(quantizer, samples, work, clock, source)
        if backend.quantize.calibrate_mode == "auto":
            few = samples.spread(AUTO_SAMPLES)
            with clock.stage("auto"):
                choice = choose(quantizer, list(few.feeds(few.calibration)), work)
            floats = choice.floats
            notes += choice.notes
    elif given is None:
        raise CalibrationError(
            "there is no calibration data",
            where="dataset.path",
            fix="name a folder of images or arrays, or give --calibration-table",
        )
    elif given.factors:
        raise CalibrationError(
            "the table is for a network with equalized channels, which needs calibration data",
            where=str(given.path),
            fix="give dataset.path, or a table from a build with quantize.equalize: false",
        )
    else:
        notes += _left_out(backend.quantize)
        if backend.quantize.calibrate_mode == "auto":
            floats = heads_without_lines(quantizer)
    return OpenQuantizer(quantizer, floats, equalized, tuple(warnings), tuple(notes))


def _observe(
    quantizer: Quantizer, samples: Samples, work: Path, clock: Clock, source: Source
) -> Mapping[str, Exponents]:
    """Equalize the graph and observe it, or take both from the cache.

    Returns:
        Exponents of the factors of equalized channels, by tensor.
    """
    graph, options = quantizer.graph, quantizer.backend.quantize
    names, axes = quantizer.wanted()
    equalizes = _equalizes(quantizer)
    channels = equalization_tensors(graph) if equalizes else ()
    facts = {
        "samples": samples.facts(),
        "tensors": list(names),
        "means": dict(axes),
        "extremes": list(channels),
    }
    found = source.load("observe", facts, lambda folder: _read(folder, samples))
    if found is None:
        with clock.stage("calibrate", len(samples.calibration)) as step:
            extremes = observe_extremes(graph, channels, samples, work)
            exponents = equalize(graph, extremes).exponents if equalizes else {}
            seen = observe(graph, names, axes, samples, work, step)
        source.store("observe", facts, lambda folder: _write(folder, exponents, seen, samples))
    else:
        exponents, seen = found
        with clock.stage("calibrate"):
            repeat_equalization(graph, exponents)
    given = quantizer.given
    if given is not None and digest_of(exponents) != given.factors:
        raise CalibrationError(
            "the table is for a network whose channels were equalized on other calibration data",
            where=str(given.path),
            fix="give the data it was made with, or compile without --calibration-table for a "
            "fresh one",
        )
    quantizer.histograms = dict(seen.histograms)
    if options.bias_correction:
        quantizer.means = seen.means
    quantizer.observe = lambda more: observe(graph, more, {}, samples, work, _silent).histograms
    return exponents


def _equalizes(quantizer: Quantizer) -> bool:
    """Whether channels may take factors; a table decides it for the network that it describes."""
    if quantizer.given is not None:
        return bool(quantizer.given.factors)
    options = quantizer.backend.quantize
    return options.equalize and options.quantize_per_channel  # it counts on their scales


def _adapt(
    quantizer: Quantizer, samples: Samples, work: Path, clock: Clock, source: Source
) -> Mapping[str, RoundedWeights]:
    """Weights rounded by what they multiply, of this build or an earlier one."""
    options = quantizer.backend.quantize
    layers = round_weights.adaptable_layers(quantizer)
    facts = {
        "samples": samples.facts(),
        "layers": {layer.node.name: layer.scale for layer in layers},
        "per_channel": options.quantize_per_channel,
        "weight_scale": options.weight_scale,
        "reduce_range": options.reduce_range,
        "equalize": _equalizes(quantizer),
    }
    found = source.load("round_weights", facts, round_weights.read)
    if found is None:
        with clock.stage("round weights", len(layers)) as step:
            found = round_weights.adapt_weights(quantizer, layers, samples, work, step)
        source.store("round_weights", facts, partial(round_weights.write, weights=found))
    return found


def _left_out(options: Quantize) -> list[str]:
    """What a table without calibration data does not allow."""
    wanted = {
        "biases are not corrected": options.bias_correction,
        "weights are rounded to nearest": options.round_weights == "adaptive",
    }
    return [
        f"{text}: that needs calibration data beside the table"
        for text, asked in wanted.items()
        if asked
    ]


def _silent(done: int) -> None:
    """Nobody foresaw this pass, so its progress is not shown."""


def _write(
    folder: Path,
    exponents: Mapping[str, Exponents],
    seen: Observation,
    samples: Samples,
) -> None:
    save_arrays(exponents, folder / "exponents.npz")
    save_arrays(seen.means, folder / "means.npz")
    save_histograms(seen.histograms, folder / "histograms.npz")
    (folder / "remarks.json").write_text(json.dumps(samples.remarks()), encoding="utf-8")


def _read(folder: Path, samples: Samples) -> tuple[Mapping[str, Exponents], Observation]:
    seen = Observation(
        load_histograms(folder / "histograms.npz"), load_arrays(folder / "means.npz")
    )
    samples.recall(json.loads((folder / "remarks.json").read_text(encoding="utf-8")))
    return load_arrays(folder / "exponents.npz"), seen
