"""Exact rewrites of the graph, where the build file wants them and they pay."""

from collections.abc import Sequence
from dataclasses import asdict

import onnx_graphsurgeon as gs

from compiler.config.backend import Backend
from compiler.cost.model import CostModel, Precision
from compiler.passes import Pass, float32_passes, name_of, rewrite_passes
from compiler.passes.interpolation import misjudged_size
from compiler.passes.result import PassResult
from compiler.passes.run import run_passes
from compiler.pipeline.tune import machine_for


def cost_model(backend: Backend) -> CostModel:
    """The cost model of a build. CPUs compute float16 graphs in float32.

    Raises:
        MissingRequirementError: The build file asks for constants that nobody measured.
    """
    precision: Precision = "int8" if backend.dtype == "int8" else "fp32"
    return CostModel(machine_for(backend.optimize.machine), precision)


def optimize(
    graph: gs.Graph, backend: Backend, float_passes: Sequence[Pass], cost: CostModel
) -> list[PassResult]:
    """Rewrite the graph so that it computes the same with less work.

    Nothing is rewritten for fp16: sums that a rewrite forms on the way may exceed its range.

    Args:
        graph: After `float_passes`; edited in place.
        backend: Section of the build file.
        float_passes: Run again between the rewrites, to clean up behind them.
        cost: Decides what pays.

    Raises:
        GraphError: A pass failed.
    """
    if not backend.optimize.rewrite or backend.dtype == "fp16":
        return []
    resizes = [node for node in graph.nodes if node.op == "Resize"]
    if wrong := [node.outputs[0].name for node in resizes if misjudged_size(node)]:
        warning = (
            f"nothing was rewritten: by its scales, ONNX and ONNX Runtime disagree on the size of "
            f"'{wrong[0]}'; give the Resize sizes instead"
        )
        return [PassResult("rewrite", warnings=[warning])]
    results = run_passes(graph, (*float_passes, *rewrite_passes(cost)))
    if backend.dtype == "fp32" and backend.optimize.winograd:
        results += run_passes(graph, float32_passes(cost), rounds=1)
    return results


def optimization_facts(cost: CostModel, rewrites: Sequence[PassResult]) -> dict[str, object]:
    """What a manifest says of it: the constants, and the sites of each rewrite."""
    names = {name_of(step) for step in (*rewrite_passes(cost), *float32_passes(cost))}
    sites = {one.name: one.changed for one in rewrites if one.changed and one.name in names}
    return {"machine": asdict(cost.machine), "rewrites": sites}
