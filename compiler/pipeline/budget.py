"""Mixed precision under a budget: the layers that an int8 build keeps in float to stay within it.

Every set of layers is quantized, measured on the build file's data and timed in turns with the
fp32 form of the network. What was measured is stored, so that a search that ran out of time goes on
where it ended.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, Final

from compiler.config.backend import Accuracy
from compiler.graph.convert import save_model
from compiler.pipeline.accuracy import Measure
from compiler.pipeline.candidates import forecast, search_candidates
from compiler.pipeline.int8 import OpenQuantizer
from compiler.pipeline.prepare import Prepared
from compiler.pipeline.relative_latency import RelativeLatency
from compiler.pipeline.remedies import patch_text
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.search import (
    Budget,
    Forecast,
    Layers,
    SearchResult,
    Trial,
    search_float_layers,
    why_too_slow,
)
from compiler.pipeline.sensitivity import SENSITIVITY_SAMPLES, measure_sensitivity
from compiler.pipeline.sessions import engine_version, open_as_deployed, open_model
from compiler.runner.cpu import cpus

REASON: Final = "quantize.accuracy: the network would lose too much"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the search found.

    Args:
        opened: The quantizer, with the layers that stay in float.
        result: Of the search.
        float_milliseconds: Latency of the fp32 form, measured in turns with the int8 network.
        metric: What the budget is counted in.
        max_drop: Points that may be lost.
    """

    opened: OpenQuantizer
    result: SearchResult
    float_milliseconds: float
    metric: str
    max_drop: float

    def broken(self, *, force: bool) -> list[str]:
        """What speaks against a bundle: a missed budget, or, unless forced, more time than fp32."""
        found = []
        if not self.result.reached:
            found.append(
                f"{self.metric} would fall by {self.result.drop:.2f} points, {self.max_drop:g} are "
                f"allowed: {self.result.reason}"
            )
        slow = why_too_slow(self.result.trial.milliseconds, self.float_milliseconds)
        if slow and not force:
            found.append(f"{slow} (--force writes it all the same)")
        return found

    def facts(self) -> dict[str, Any]:  # Any: a JSON object
        """For the bundle's report data."""
        return {
            "metric": self.metric,
            "max_drop": self.max_drop,
            "drop": _number(self.result.drop),
            "reached": self.result.reached,
            "finished": self.result.finished,
            "reason": self.result.reason,
            "float_layers": sorted(self.result.layers),
            "trials": [
                {"float_layers": sorted(layers), "points": _number(trial.points)}
                for layers, trial in self.result.trials
            ],
        }


def keep_budget(
    opened: OpenQuantizer,
    accuracy: Accuracy,
    measure: Measure,
    prepared: Prepared,
    rival: Prepared,
    samples: Samples | None,
    feeds: Sequence[Feeds],
    work: Path,
) -> Kept:
    """Find the fastest int8 network within the budget.

    Args:
        opened: Its quantizer.
        accuracy: Section of the build file.
        measure: Of accuracy.
        prepared: The network.
        rival: Its fp32 form.
        samples: Calibration data that `opened` has seen, if any.
        feeds: Samples; the first few tell how sensitive layers are, the first one is timed.
        work: Folder for the networks that are tried.

    Raises:
        CalibrationError: An image or mask cannot be used.
        GraphError: A network cannot be run.
    """
    folder = work / "float_outputs"
    folder.mkdir()
    with open_model(prepared.original) as run:
        float_points = measure.reference(run, folder)
    quantizer = opened.quantizer
    base = quantizer.quantize(opened.floats)
    sensitivity = measure_sensitivity(
        quantizer.graph, base.graph, base.plan, feeds[:SENSITIVITY_SAMPLES], work
    )
    candidates = search_candidates(quantizer.graph, base.plan, sensitivity.layers, prepared.layers)
    source = prepared.source
    fp32 = work / "fp32.onnx"
    save_model(rival.graph, fp32, work / "fp32.params")
    given, engine = quantizer.given, quantizer.backend.build_engine
    settings = {
        "measure": measure.facts(),
        "quantize": quantizer.backend.quantize.model_dump(mode="json", exclude={"accuracy"}),
        "keep_float": quantizer.backend.optimize.keep_float,
        "samples": [] if samples is None else samples.facts(),
        "table": [] if given is None else [given.factors, *map(asdict, given.ranges.values())],
        "cpus": cpus(),
        "engine": [engine, engine_version(engine)],
    }

    def floats_of(chosen: Layers) -> dict[str, str]:
        return {**opened.floats, **dict.fromkeys(sorted(chosen), REASON)}

    def predict(chosen: Layers) -> Forecast:
        plan, _ = quantizer.plan(floats_of(chosen))
        return forecast(quantizer.graph, plan, quantizer.cost)

    with open_as_deployed(fp32, engine) as reference:
        latency = RelativeLatency(reference, feeds[0], time.perf_counter)

        def evaluate(chosen: Layers) -> Trial:
            if given is not None and not given.covers(quantizer.plan(floats_of(chosen))[0]):
                return Trial(nan, inf)  # the table lacks a tensor that this set would round
            facts = {**settings, "float": sorted(floats_of(chosen))}
            found = source.load("trial", facts, _read)
            if found is None:
                model = work / "trial.onnx"
                quantized = quantizer.quantize(floats_of(chosen))
                save_model(quantized.graph, model, work / "trial.params")
                with open_as_deployed(model, engine) as run:
                    ratio = latency.milliseconds(run) / latency.reference_milliseconds
                    found = Trial(measure.points(run), ratio)
                stored = found
                source.store("trial", facts, lambda place: _write(stored, place))
            return replace(found, milliseconds=found.milliseconds * latency.reference_milliseconds)

        result = search_float_layers(
            candidates,
            Budget(float_points, accuracy.max_drop, 60 * accuracy.max_minutes),
            evaluate,
            predict,
            clock=time.monotonic,
        )
    patch = patch_text(quantizer.backend.quantize, {"exclude_layers": tuple(sorted(result.layers))})
    return Kept(
        replace(opened, floats=floats_of(result.layers)),
        replace(result, patch=patch),
        latency.reference_milliseconds,
        accuracy.metric,
        accuracy.max_drop,
    )


def _number(points: float) -> float | None:
    """JSON has no NaN."""
    return points if isfinite(points) else None


def _plain(trial: Trial) -> dict[str, float]:
    return {"points": trial.points, "milliseconds": trial.milliseconds}


def _write(trial: Trial, folder: Path) -> None:
    """Stored trials hold their latency as a multiple of the fp32 form's."""
    (folder / "trial.json").write_text(json.dumps(_plain(trial)), encoding="utf-8")


def _read(folder: Path) -> Trial:
    return Trial(**json.loads((folder / "trial.json").read_text(encoding="utf-8")))
