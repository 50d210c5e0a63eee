"""What the accuracy search may put into float, and what that costs."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace

import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.graph.query import origin_of, producer
from compiler.pipeline.search import Candidate, Forecast
from compiler.quantize.op_rules import ScaleFrom, activations, find_rule
from compiler.quantize.plan import Form, Int8Plan
from compiler.verify.sensitivity import LayerSensitivity


def search_candidates(
    graph: gs.Graph,
    plan: Int8Plan,
    sensitivities: Iterable[LayerSensitivity],
    layers: Container[str],
) -> tuple[Candidate, ...]:
    """Each layer with those that make its inputs.

    A layer's noise comes from its rounded inputs. An integer kernel rounds what it makes, so that a
    tensor is only free of rounding when its maker and its reader are both in float.

    Args:
        graph: Float graph that `plan` was made for.
        plan: With all layers on integers that may be.
        sensitivities: Of its layers.
        layers: Names that a build file can give: those of the network before rewrites.
    """
    forms = {node.node: node.form for node in plan.nodes}
    groups: dict[str, set[str]] = defaultdict(set)
    for node in graph.nodes:
        if forms[node.name] is Form.INTEGER:
            makers = {origin_of(maker.name) for maker in _makers(node, forms)}
            groups[origin_of(node.name)] |= {origin_of(node.name), *makers}
    found = []
    for one in sensitivities:
        nameable = frozenset(name for name in groups[one.layer] if name in layers)
        if nameable:
            found.append(Candidate(nameable, 10 ** (-one.isolated_sqnr_db / 10)))
    return tuple(found)


def forecast(graph: gs.Graph, plan: Int8Plan, cost: CostModel) -> Forecast:
    """What the search knows of a plan without measuring it."""
    return Forecast(predicted_milliseconds(graph, plan, cost), _on_integers(plan))


def predicted_milliseconds(graph: gs.Graph, plan: Int8Plan, cost: CostModel) -> float:
    """Predicted time of a whole int8 network, conversions included; one thread.

    Args:
        graph: Float graph that `plan` was made for.
        plan: Says which nodes run on integers.
        cost: For int8.
    """
    in_float, on_integers = replace(cost, precision="fp32"), _on_integers(plan)
    time = 0.0
    for node in graph.nodes:
        time += (cost if node.name in on_integers else in_float).milliseconds([node])
    tensors = graph.tensors()
    for name in plan.tensors:
        tensor = tensors[name]
        if isinstance(tensor, gs.Constant):
            continue
        maker = producer(tensor)
        sides = {reader.name in on_integers for reader in tensor.outputs}
        if sides != {maker is not None and maker.name in on_integers}:
            time += cost.conversion(tensor)
    return time


def _on_integers(plan: Int8Plan) -> frozenset[str]:
    return frozenset(node.node for node in plan.nodes if node.form is not Form.FLOAT)


def _makers(node: gs.Node, forms: Mapping[str, Form]) -> Iterator[gs.Node]:
    """Integer nodes that make the 8-bit inputs of `node`, those included that only move them."""
    rule, _ = find_rule(node)
    tensors = activations(node, rule) if rule is not None else list(node.inputs)
    for tensor in tensors:
        maker = producer(tensor)
        if maker is None or forms[maker.name] is Form.FLOAT:
            continue
        if forms[maker.name] is Form.INTEGER:
            yield maker
        if forms[maker.name] is Form.FUSED or _only_moves(maker):
            yield from _makers(maker, forms)


def _only_moves(node: gs.Node) -> bool:
    rule, _ = find_rule(node)
    return rule is not None and rule.output is ScaleFrom.INPUT
