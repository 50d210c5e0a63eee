"""Questions that passes and quantization ask of a graph, and the one safe way to drop a tensor.

Constants of a modc graph are always `gs.Constant` tensors (see `convert.to_graph`); a tensor that
leaves the graph, or leaves a subgraph of If, Loop or Scan, counts as a graph output.
"""

from itertools import count
from typing import Any, Final

import onnx_graphsurgeon as gs
from numpy.typing import NDArray

RANDOM_OPS: Final = frozenset(
    {
        "Bernoulli",
        "Dropout",  # while training; remove_identity knows the others
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)

DRAFTED: Final = "=>"
"""Between the name of a node of the network and the role of a node that replaces it.

Names of real networks have slashes, dots, colons and tildes; no exporter writes this.
"""


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that computes `tensor`; None for graph inputs, constants and absent inputs."""
    return tensor.inputs[0] if tensor.inputs else None


def readers(tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes that read `tensor`, in order, each once even when it reads the tensor twice."""
    return list({id(node): node for node in tensor.outputs}.values())


def constant_value(tensor: gs.Tensor) -> NDArray[Any] | None:  # any element type that ONNX has
    """Values of a constant tensor, shared with the graph: copy before writing. Else None."""
    return tensor.values if isinstance(tensor, gs.Constant) else None


def output_ids(graph: gs.Graph) -> set[int]:
    """`id()` of every tensor that leaves the graph or one of its subgraphs."""
    found = {id(tensor) for tensor in graph.outputs}
    for node in graph.nodes:  # gs's own `subgraphs` takes many times as long
        for value in node.attrs.values():
            if isinstance(value, gs.Graph):
                found |= output_ids(value)
    return found


def is_graph_output(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether `tensor` leaves the graph or one of its subgraphs."""
    return id(tensor) in output_ids(graph)


def only_reader(graph: gs.Graph, tensor: gs.Tensor) -> gs.Node | None:
    """The single node that sees `tensor`; None if several do, none does, or it is an output."""
    nodes = readers(tensor)
    return nodes[0] if len(nodes) == 1 and not is_graph_output(graph, tensor) else None


def is_static(tensor: gs.Tensor) -> bool:
    """Whether every dimension of `tensor` is known (a scalar's are)."""
    return tensor.shape is not None and all(isinstance(size, int) for size in tensor.shape)


def rank(tensor: gs.Tensor) -> int | None:
    """Number of dimensions, if known."""
    return None if tensor.shape is None else len(tensor.shape)


def unique_name(graph: gs.Graph, stem: str) -> str:
    """`stem`, or `stem_1`, `stem_2` … : the first that no tensor or node of `graph` bears."""
    taken = names_of(graph)
    candidates = (stem if number == 0 else f"{stem}_{number}" for number in count())
    return next(name for name in candidates if name not in taken)


def origin_of(name: str) -> str:
    """Name of the network's own node that a node drafted by a rewrite stands for."""
    return name.partition(DRAFTED)[0]


def names_of(graph: gs.Graph) -> set[str]:
    """Names of all tensors and nodes, those of subgraphs included."""
    graphs = [graph, *graph.subgraphs(recursive=True)]
    tensors = {name for each in graphs for name in each.tensors()}
    borders = {tensor.name for each in graphs for tensor in [*each.inputs, *each.outputs]}
    return tensors | borders | {node.name for each in graphs for node in each.nodes}


def why_not_replace(graph: gs.Graph, old: gs.Tensor, new: gs.Tensor) -> str | None:
    """Why `replace_tensor(graph, old, new)` is impossible; None if it is possible.

    Names of graph outputs are part of the interface. An output can therefore only be replaced if
    its name can move to `new`, that is if `new` is computed by a node and is no output itself.
    """
    outputs = output_ids(graph)
    if id(old) not in outputs:
        return None
    if not any(tensor is old for tensor in graph.outputs):
        return f"'{old.name}' is an output of a subgraph"
    if id(new) in outputs:
        return f"'{old.name}' and '{new.name}' are both graph outputs"
    if producer(new) is None:
        return f"graph output '{old.name}' would be a graph input or constant"
    return None


def replace_tensor(graph: gs.Graph, old: gs.Tensor, new: gs.Tensor) -> None:
    """Let everything that reads `old` read `new`; a graph output keeps its name.

    The node that computed `old` stays, without readers, until `graph.cleanup()`.

    Raises:
        ValueError: `why_not_replace` has a reason.
    """
    if reason := why_not_replace(graph, old, new):
        raise ValueError(reason)
    source = producer(new)
    if is_graph_output(graph, old) and source is not None:
        old.inputs.clear()
        source.outputs = [old if tensor is new else tensor for tensor in source.outputs]
        old, new = new, old
    for node in readers(old):
        node.inputs = [new if tensor is old else tensor for tensor in node.inputs]
