"""What every test of an exact rewrite does: rewrite a small network, and compare it with itself."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.machine import BUILT_IN, Machine
from compiler.cost.model import CostModel, Precision
from compiler.graph.convert import check_model, infer_shapes, to_graph, to_model
from compiler.passes.result import PassResult
from tests.support.models import model_from_text, run

Rewrite = Callable[..., PassResult]


def machine(default: float = 0.0, **constants: float) -> Machine:
    """A machine on which nothing but `constants` takes time."""
    names = [field.name for field in fields(Machine) if field.name != "source"]
    values: dict[str, Any] = {**dict.fromkeys(names, default), **constants}  # and one text
    return replace(BUILT_IN, **values)


def graph_of(text: str) -> gs.Graph:
    """The graph of a network in ONNX text, shapes inferred."""
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


def rewritten(
    text: str, step: Rewrite, on: Machine, precision: Precision = "fp32"
) -> tuple[gs.Graph, PassResult]:
    """Rewrite a network, check that the graph is valid and computes the same as before.

    The tolerance is 1e-5 of the range of each output, in ONNX Runtime without its optimisations.
    """
    graph = graph_of(text)
    before = run(to_model(graph))
    result = step(graph, cost=CostModel(on, precision))
    drafted = {name: tuple(tensor.shape) for name, tensor in graph.tensors().items()}
    infer_shapes(graph)
    inferred = {name: tuple(tensor.shape) for name, tensor in graph.tensors().items()}
    assert inferred == drafted
    model = to_model(graph)
    check_model(model)
    for actual, expected in zip(run(model), before, strict=True):
        tolerance = 1e-5 * max(float(np.ptp(expected)), 1e-6)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
    return graph, result
