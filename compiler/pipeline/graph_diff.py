"""What differs between two graphs, node by node, under the names of the original network.

Passes keep the names of nodes, and nodes that a rewrite drafts are named after the one they
replace, so names tell which nodes of two graphs belong together. QuantizeLinear and
DequantizeLinear are no nodes of their own here: they belong to the tensors and weights that they
quantize, so that a weight is compared by the values that the network computes with.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import DRAFTED, constant_value, origin_of, producer
from compiler.quantize.insert_qdq import dequantized_name
from compiler.verify.metrics import Agreement

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """A node of the original network, or what was drafted in its place.

    Args:
        name: Of the original node.
        operators: Types of the nodes that stand for it, in graph order.
    """

    name: str
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """An attribute as JSON values; None where it is absent.

    A subgraph stands as the names and operators of its nodes.
    """

    name: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class WeightChange:
    """A constant that a node reads.

    Args:
        name: In A; in B where A has none.
        a: Element type as stored and shape, such as "int8[8, 3, 3, 3]"; None where it is absent.
        b: Likewise.
        sqnr_db: Of the values in B against those in A; None where they cannot be compared.
    """

    name: str
    a: str | None
    b: str | None
    sqnr_db: float | None


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node that both graphs have, in different forms.

    Args:
        name: Of the original node.
        a: Operator types that stand for it in A.
        b: Likewise in B.
        attributes: That differ.
        weights: Whose values or stored types differ.
        inputs: Tensors that it reads in A and in B, where these are not the same ones.
    """

    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    attributes: tuple[AttributeChange, ...] = ()
    weights: tuple[WeightChange, ...] = ()
    inputs: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.a != self.b or self.attributes or self.weights or self.inputs)


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """Two graphs.

    Args:
        operators: Operator type -> number of nodes in A and in B, sorted by name.
        only_a: Nodes of the original network that B lacks, in graph order.
        only_b: Likewise.
        changed: Nodes that both have: those in another form first, then by their weights, worst
            first.
    """

    operators: dict[str, tuple[int, int]]
    only_a: tuple[NodeGroup, ...]
    only_b: tuple[NodeGroup, ...]
    changed: tuple[NodeChange, ...]

    @property
    def recounted(self) -> tuple[str, ...]:
        """Operators of which the graphs have different numbers."""
        return tuple(op for op, (a, b) in self.operators.items() if a != b)


def diff_graphs(a: gs.Graph, b: gs.Graph) -> GraphDiff:
    """Compare two graphs, whose constants are `gs.Constant` tensors."""
    counts = [Counter(node.op for node in graph.nodes) for graph in (a, b)]
    groups_a, groups_b = _groups(a), _groups(b)
    changes = [
        change
        for name, nodes in groups_a.items()
        if name in groups_b
        for change in _changes(name, nodes, groups_b[name])
        if change.changed
    ]
    return GraphDiff(
        operators={op: (counts[0][op], counts[1][op]) for op in sorted({*counts[0], *counts[1]})},
        only_a=_missing(groups_a, groups_b),
        only_b=_missing(groups_b, groups_a),
        changed=tuple(sorted(changes, key=_rank)),
    )


def _groups(graph: gs.Graph) -> dict[str, dict[str, gs.Node]]:
    """Nodes by the original node they stand for, then by their own name."""
    groups: dict[str, dict[str, gs.Node]] = {}
    for node in graph.nodes:
        if node.op not in QUANTIZERS:
            groups.setdefault(origin_of(node.name), {})[node.name] = node
    return groups


def _missing(
    here: dict[str, dict[str, gs.Node]], there: dict[str, dict[str, gs.Node]]
) -> tuple[NodeGroup, ...]:
    return tuple(
        NodeGroup(name, _ops(nodes.values())) for name, nodes in here.items() if name not in there
    )


def _ops(nodes: Iterable[gs.Node]) -> tuple[str, ...]:
    return tuple(node.op for node in nodes)


def _changes(name: str, a: dict[str, gs.Node], b: dict[str, gs.Node]) -> Iterator[NodeChange]:
    """One change where a rewrite stands for the node in one graph; else node by node."""
    if a.keys() != b.keys():
        yield NodeChange(name, _ops(a.values()), _ops(b.values()))
        return
    for own, node in a.items():
        other = b[own]
        weights, inputs = _diff_inputs(node, other)
        attributes = tuple(_diff_attributes(node, other))
        yield NodeChange(name, (node.op,), (other.op,), attributes, weights, inputs)


def _rank(change: NodeChange) -> tuple[bool, bool, float]:
    """Another form before other weights; these by their distance, unknown ones first."""
    distances = [-np.inf if one.sqnr_db is None else one.sqnr_db for one in change.weights]
    other_form = bool(change.attributes or change.inputs)
    return change.a == change.b, not other_form, min(distances, default=np.inf)


def _diff_attributes(a: gs.Node, b: gs.Node) -> Iterator[AttributeChange]:
    for name in sorted({*a.attrs, *b.attrs}):
        one, other = (_plain(node.attrs.get(name)) for node in (a, b))
        if one != other:
            yield AttributeChange(name, one, other)


def _plain(value: Any) -> Any:  # Any: an ONNX attribute in, a JSON value out
    if isinstance(value, gs.Constant):
        value = value.values
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, gs.Graph):
        return [[node.name, node.op] for node in value.nodes]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str) or value is None else str(value)


def _diff_inputs(
    a: gs.Node, b: gs.Node
) -> tuple[tuple[WeightChange, ...], tuple[tuple[str, ...], tuple[str, ...]] | None]:
    weights: list[WeightChange] = []
    moved = False
    for one, other in zip_longest(a.inputs, b.inputs, fillvalue=gs.Variable.empty()):
        held = _weight(one), _weight(other)
        if any(weight is not None for weight in held):
            name = (one.name or other.name).removesuffix(dequantized_name(""))
            weights += _diff_weights(name, *held)
        else:
            moved = moved or not _is_same(one, other)
    return tuple(weights), (_sources(a), _sources(b)) if moved else None


@dataclass(frozen=True, slots=True)
class _Weight:
    """Values of a constant as the network computes with them, and the type they are stored in."""

    stored: np.dtype[Any]
    values: NDArray[Any]  # Any: float where `stored` stands for floats

    def __str__(self) -> str:
        return f"{self.stored.name}{list(self.values.shape)}"


def _weight(tensor: gs.Tensor) -> _Weight | None:
    values = constant_value(tensor)
    if values is not None:
        return _Weight(values.dtype, values)
    node = producer(tensor)
    if node is None or node.op != "DequantizeLinear":
        return None
    constants = [value for one in node.inputs if (value := constant_value(one)) is not None]
    if len(constants) < 3:
        return None
    stored, scale, zero_point = constants
    axis = node.attrs.get("axis", 1)
    shape = [-1 if scale.ndim and i == axis else 1 for i in range(stored.ndim)]
    steps = stored.astype(np.float32) - zero_point.astype(np.float32).reshape(shape)
    return _Weight(stored.dtype, steps * scale.reshape(shape))


def _diff_weights(name: str, a: _Weight | None, b: _Weight | None) -> list[WeightChange]:
    texts = [None if one is None else str(one) for one in (a, b)]
    sqnr = None
    if a is not None and b is not None and a.values.shape == b.values.shape:
        if a.stored == b.stored and np.array_equal(a.values, b.values, equal_nan=_is_float(a)):
            return []
        if _is_float(a) and _is_float(b):
            agreement = Agreement()
            agreement.add(a.values, b.values)
            sqnr = round(agreement.sqnr_db, 3)
    return [WeightChange(name, texts[0], texts[1], sqnr)]


def _is_float(weight: _Weight) -> bool:
    return bool(np.issubdtype(weight.values.dtype, np.floating))


def _is_same(a: gs.Tensor, b: gs.Tensor) -> bool:
    """Whether tensors share a name on the way back to where they are made.

    What a rewrite drafted in place of the maker of a tensor counts as that tensor.
    """
    names = [{one.name for one in _back(tensor)} for tensor in (a, b)]
    return bool(names[0] & names[1]) or any(DRAFTED in name for name in names[0] | names[1])


def _sources(node: gs.Node) -> tuple[str, ...]:
    """Names of what a node reads besides constants, before any change of element type."""
    activations = [one for one in node.inputs if _weight(one) is None]
    return tuple(origin_of(list(_back(one))[-1].name) for one in activations)


def _back(tensor: gs.Tensor) -> Iterator[gs.Tensor]:
    """A tensor, then those that it only is another element type of."""
    yield tensor
    node = producer(tensor)
    if node is not None and _keeps_values(node):
        yield from _back(node.inputs[0])


def _keeps_values(node: gs.Node) -> bool:
    if node.op == "Sum":
        return len(node.inputs) == 1
    return node.op in (*QUANTIZERS, "Cast")
