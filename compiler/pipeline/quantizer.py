"""From a float graph and what was observed of it to int8 graphs, for any choice of float layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from calibration.histogram import Histogram
from calibration.ranges import TensorRange
from compiler.config.backend import Backend, Quantize
from compiler.cost.model import CostModel
from compiler.errors import CalibrationError, GraphError
from compiler.pipeline.calibrate import GivenRanges, choose_ranges, int8_options
from compiler.pipeline.candidates import forecast
from compiler.quantize.correct_bias import wanted_means
from compiler.quantize.insert_qdq import insert_qdq
from compiler.quantize.plan import Form, Int8Plan, KeptFloat, plan_int8
from compiler.quantize.rescaling import Exponents
from compiler.quantize.weights import RoundedWeights
from compiler.quantize.worth import find_not_worth

FALLBACK: Final = "mse"
"""Rule of the tensors that `auto` had no figures for."""

Observe = Callable[[tuple[str, ...]], Mapping[str, Histogram]]
"""Histograms of more tensors, for plans that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """An int8 graph and how it came about.

    Args:
        source: The float graph.
        graph: In QDQ form.
        plan: What was to become of each node.
        ranges: Of every tensor with a scale of its own.
        not_worth: Number of nodes that stay float because integers would not be faster.
        equalized: Exponents of the factors of equalized channels, by tensor.
        warnings: Layer lists that name nothing, tensors that are not finite.
        notes: What a user should know of the choice.
    """

    source: gs.Graph
    graph: gs.Graph
    plan: Int8Plan
    ranges: tuple[TensorRange, ...]
    not_worth: int
    equalized: Mapping[str, Exponents] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def float_nodes(self) -> tuple[str, ...]:
        """One line per node that was planned to stay float, and why."""
        return tuple(
            f"{node.op} {node.node} stays float: {node.reason}"
            for node in self.plan.nodes
            if node.form is Form.FLOAT
        )


@dataclass(slots=True)
class Quantizer:
    """Everything about a network that does not depend on which layers stay float.

    Args:
        graph: Float graph, after rewrites and equalization.
        backend: Section of the build file.
        kept_float: What its lists keep in float.
        cost: Tells what else integers would not make faster.
        histograms: Of the tensors observed so far.
        means: Channel means of tensors, for bias correction; empty to leave the biases.
        methods: Tensor -> threshold rule, where it is not the one of the build file.
        weights: Rounded weights of nodes, where they are not rounded to nearest.
        given: Ranges of a calibration table, instead of histograms.
        observe: Fetches histograms that are missing.
    """

    graph: gs.Graph
    backend: Backend
    kept_float: KeptFloat
    cost: CostModel
    histograms: dict[str, Histogram] = field(default_factory=dict)
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, RoundedWeights] = field(default_factory=dict)
    given: GivenRanges | None = None
    observe: Observe | None = None

    def plan(self, floats: Mapping[str, str] | None = None) -> tuple[Int8Plan, int]:
        """Plan with more layers kept in float.

        Args:
            floats: Name of a layer -> why.

        Returns:
            The plan, and how many nodes stay float because integers would not be faster.
        """
        kept = replace(self.kept_float, reasons={**self.kept_float.reasons, **(floats or {})})
        not_worth: Mapping[str, str] = {}
        if self.backend.optimize.keep_float:
            not_worth = find_not_worth(self.graph, self.cost, kept)
            kept = replace(kept, reasons={**not_worth, **kept.reasons})
        return plan_int8(self.graph, int8_options(self.backend.quantize), kept), len(not_worth)

    def plans(self) -> tuple[Int8Plan, Int8Plan]:
        """The plan of the build file's lists, and that without any list."""
        return self.plan()[0], replace(self, kept_float=self._without_lists()).plan()[0]

    def wanted(self) -> tuple[tuple[str, ...], dict[str, int]]:
        """Tensors to observe, and those whose channel means correct a bias with their axis.

        Those of the build file's lists and those without any list, so that a change of the lists
        needs no new observation.
        """
        plans = self.plans()
        names = {name for plan in plans for name in plan.observed}
        axes: dict[str, int] = {}
        for plan in plans:
            axes |= wanted_means(self.graph, plan)
        # In graph order, lest the order of the lists shape an entry of the cache.
        order = [one.name for one in self.graph.inputs]
        order += [one.name for node in self.graph.nodes for one in node.outputs]
        return tuple(name for name in order if name in names), {
            name: axes[name] for name in order if name in axes
        }

    def ranges(self, plan: Int8Plan, mode: str | None = None) -> tuple[TensorRange, ...]:
        """Ranges of the tensors of a plan.

        Args:
            plan: Of `plan`.
            mode: Rule for every tensor; default: those of the table, else `methods`, else the
                build file's.

        Raises:
            CalibrationError: A tensor never had a finite value, or the table lacks one.
        """
        if self.given is not None and mode is None:
            return self.given.of(plan)
        missing = tuple(name for name in plan.observed if name not in self.histograms)
        if missing and self.observe is not None:
            self.histograms |= self.observe(missing)
        methods = self.methods if mode is None else {}
        quantize = self.backend.quantize
        return choose_ranges(
            plan,
            self.histograms,
            mode or _mode(quantize),
            methods,
            fraction=quantize.calibrate_range,
        )

    def milliseconds(self, plan: Int8Plan) -> float:
        """Predicted time of a plan, conversions included; one thread."""
        return forecast(self.graph, plan, self.cost).milliseconds

    def insert(self, plan: Int8Plan, ranges: tuple[TensorRange, ...]) -> gs.Graph:
        """The graph in QDQ form.

        Raises:
            GraphError: The graph cannot be quantized.
            CalibrationError: The table contradicts the network.
        """
        try:
            return insert_qdq(
                self.graph,
                plan,
                {range_.name: range_ for range_ in ranges},
                means=self.means,
                weights=self.weights,
            )
        except ValueError as error:
            if self.given is not None:
                raise CalibrationError(
                    str(error),
                    where=str(self.given.path),
                    fix="correct the tensor's line in the table",
                ) from error
            raise GraphError(
                str(error), where="int8", fix="exclude the layer (exclude_layers), or use fp16"
            ) from error

    def quantize(self, floats: Mapping[str, str] | None = None) -> Quantized:
        """Quantize with more layers kept in float.

        Raises:
            GraphError: As `insert`.
            CalibrationError: As `ranges` and `insert`.
        """
        plan, not_worth = self.plan(floats)
        ranges = self.ranges(plan)
        graph = self.insert(plan, ranges)
        return Quantized(self.graph, graph, plan, ranges, not_worth, warnings=plan.warnings)

    def _without_lists(self) -> KeptFloat:
        return replace(self.kept_float, reasons={}, warnings=())


def _mode(quantize: Quantize) -> str:
    return FALLBACK if quantize.calibrate_mode == "auto" else quantize.calibrate_mode
