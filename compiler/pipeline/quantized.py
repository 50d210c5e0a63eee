"""The int8 branch: plan, observe, choose ranges, insert Q/DQ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_graphsurgeon as gs

from calibration.ranges import TensorRange
from compiler.config.backend import Backend
from compiler.cost.model import CostModel
from compiler.errors import CalibrationError, GraphError
from compiler.graph.convert import infer_shapes
from compiler.pipeline.calibrate import (
    choose_ranges,
    int8_options,
    observe,
    range_warnings,
    ranges_from_table,
)
from compiler.pipeline.clock import Clock
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.sessions import open_model, save_with_outputs
from compiler.quantize.insert_qdq import dequantized_name, insert_qdq
from compiler.quantize.plan import Form, Int8Plan, KeptFloat, plan_int8
from compiler.quantize.replace_reduce_mean import replace_reduce_mean
from compiler.quantize.worth import find_not_worth
from compiler.verify.compare import Recording, Tensors

LAYER_SAMPLES = 2
"""Samples whose quantized tensors are compared one by one."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """An int8 graph and how it came about.

    Args:
        graph: In QDQ form.
        plan: What was to become of each node.
        ranges: Of every tensor with a scale of its own.
        work: Folder with the float network that returns those tensors.
        not_worth: Number of nodes that stay float because integers would not be faster.
        warnings: Layer lists that name nothing, tensors that are not finite.
    """

    graph: gs.Graph
    plan: Int8Plan
    ranges: tuple[TensorRange, ...]
    work: Path
    not_worth: int
    warnings: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the choice."""
        if not self.not_worth:
            return ()
        return (
            f"{self.not_worth} nodes stay float because integers would not be faster; --explain "
            "lists them, backend.optimize.keep_float: false quantizes them all the same",
        )

    @property
    def float_nodes(self) -> tuple[str, ...]:
        """One line per node that was planned to stay float, and why."""
        return tuple(
            f"{node.op} {node.node} stays float: {node.reason}"
            for node in self.plan.nodes
            if node.form is Form.FLOAT
        )

    def layers(self, feeds: Sequence[Feeds]) -> Iterator[tuple[Tensors, Tensors]]:
        """(float, quantized) values of the tensors with a range, sample by sample."""
        if not self.ranges:
            return
        few = feeds[:LAYER_SAMPLES]
        folder = self.work / "layers"
        folder.mkdir()
        recording = Recording(folder)
        names = [range_.name for range_ in self.ranges]
        with open_model(self.work / "observed.onnx") as run:
            for one in few:
                values = {**one, **run(one)}
                recording.add({name: values[name] for name in names})
        present = self.graph.tensors()
        shown = {name: dequantized_name(name) for name in names}
        shown = {name: seen if seen in present else name for name, seen in shown.items()}
        save_with_outputs(
            self.graph, list(shown.values()), self.work / "layers.onnx", self.work / "layers.params"
        )
        with open_model(self.work / "layers.onnx") as run:
            for reference, one in zip(recording, few, strict=True):
                values = {**one, **run(one)}
                yield reference, {name: values[seen] for name, seen in shown.items()}


def quantize_graph(
    graph: gs.Graph,
    backend: Backend,
    kept_float: KeptFloat,
    cost: CostModel,
    samples: Samples | None,
    table: Path | None,
    work: Path,
    clock: Clock,
) -> Quantized:
    """Quantize a float graph.

    Args:
        graph: After the float passes; means over height and width are rewritten in place.
        backend: From the build file.
        kept_float: What its lists keep in float.
        cost: Tells what else integers would not make faster.
        samples: Calibration data; not needed with a table.
        table: Calibration table to take the ranges from.
        work: Folder for the network that is observed.
        clock: Times the stages.

    Raises:
        GraphError: The graph cannot be quantized.
        CalibrationError: Samples or table cannot be used.
    """
    with clock.stage("plan"):
        if replace_reduce_mean(graph):
            infer_shapes(graph)
        not_worth: Mapping[str, str] = {}
        if backend.optimize.keep_float:
            not_worth = find_not_worth(graph, cost, kept_float)
            kept_float = replace(kept_float, reasons={**not_worth, **kept_float.reasons})
        plan = plan_int8(graph, int8_options(backend.quantize), kept_float)
        observed = work / "observed.onnx"
        save_with_outputs(graph, plan.observed, observed, work / "observed.params")
    warnings = plan.warnings
    ranges: tuple[TensorRange, ...] = ()
    if not plan.observed:
        warnings += ("no layer runs on integers; --explain tells why each stays float",)
    elif table is not None:
        ranges = ranges_from_table(plan, table)
    elif samples is None:
        raise CalibrationError(
            "there is no calibration data",
            where="dataset.path",
            fix="name a folder of images or arrays, or give --calibration-table",
        )
    else:
        with (
            clock.stage("calibrate", len(samples.calibration)) as step,
            open_model(observed) as run,
        ):
            histograms = observe(run, plan, samples, step)
        with clock.stage("thresholds"):
            ranges = choose_ranges(plan, histograms, backend.quantize)
        warnings += range_warnings(histograms)
    with clock.stage("quantize"):
        try:
            quantized = insert_qdq(graph, plan, {range_.name: range_ for range_ in ranges})
        except ValueError as error:
            if table is not None:
                raise CalibrationError(
                    str(error), where=str(table), fix="correct the tensor's line in the table"
                ) from error
            raise GraphError(
                str(error), where="int8", fix="exclude the layer (exclude_layers), or use fp16"
            ) from error
    return Quantized(quantized, plan, ranges, work, len(not_worth), warnings)
