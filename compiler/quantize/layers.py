"""Names and numbers by which a build file picks layers.

Numbers follow `relay.quantize` of Apache TVM (`python/tvm/relay/quantize/quantize.py`): calls are
counted from 0 in post-order from the graph outputs. `skip_conv_layers` counts 2-D convolutions
(depthwise ones too), `skip_matmul_layers` MatMul and Gemm, `exclude_layers` every layer of
`list_layers`.
"""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_graphsurgeon as gs

from compiler.quantize.op_rules import Kernel, find_rule

Kind = Literal["conv", "matmul", "other"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One quantizable node.

    Args:
        index: Number for `exclude_layers`.
        kind: The list it belongs to: "conv", "matmul" or "other".
        kind_index: Number for `skip_conv_layers` or `skip_matmul_layers`; within "other" unused.
        node: Name of the node.
        op: ONNX operator type.
    """

    index: int
    kind: Kind
    kind_index: int
    node: str
    op: str


def list_layers(graph: gs.Graph) -> tuple[Layer, ...]:
    """Quantizable layers of a float graph, numbered in post-order from the outputs."""
    layers: list[Layer] = []
    counts: dict[Kind, int] = {"conv": 0, "matmul": 0, "other": 0}
    for node in post_order(graph):
        if not _is_layer(node):
            continue
        kind = _kind(node)
        layers.append(Layer(len(layers), kind, counts[kind], node.name, node.op))
        counts[kind] += 1
    return tuple(layers)


def post_order(graph: gs.Graph) -> Iterator[gs.Node]:
    """Every node after the nodes that feed it, starting from the first graph output."""
    seen: set[int] = set()
    # A stack of (node, its producers still to visit): deep networks exceed Python's recursion.
    for output in graph.outputs:
        stack = [(node, _producers(node)) for node in _unseen(output.inputs, seen)]
        while stack:
            node, waiting = stack[-1]
            following = next(_unseen(waiting, seen), None)
            if following is None:
                stack.pop()
                yield node
            else:
                stack.append((following, _producers(following)))


def pick_layers(
    layers: Sequence[Layer], kind: Kind | None, entries: Sequence[int | str], key: str
) -> tuple[dict[str, str], list[str]]:
    """Layers that the entries of one build-file key name.

    Args:
        layers: As `list_layers` returns them.
        kind: Only layers of this kind, numbered by `kind_index`; None: all, numbered by `index`.
        entries: Numbers, node names and globs.
        key: The key, for the texts.

    Returns:
        Node name -> reason, and a warning per entry that names nothing.
    """
    pool = [layer for layer in layers if kind in (None, layer.kind)]
    by_number = {layer.index if kind is None else layer.kind_index: layer.node for layer in pool}
    names = list(by_number.values())
    picked: dict[str, str] = {}
    warnings: list[str] = []
    for entry in entries:
        if isinstance(entry, int):
            found = [by_number[entry]] if entry in by_number else []
        else:
            found = [name for name in names if name == entry or fnmatch.fnmatchcase(name, entry)]
        picked.update(dict.fromkeys(found, f"named by {key}: {entry}"))
        if not found:
            warnings.append(f"{key}: {_nothing_found(entry, names)}")
    return picked, warnings


def _nothing_found(entry: int | str, names: list[str]) -> str:
    if isinstance(entry, int):
        return f"there is no layer {entry}; the network has {len(names)}, numbered from 0"
    close = difflib.get_close_matches(entry, names, n=3, cutoff=0.4)
    hint = f"; closest: {', '.join(close)}" if close else ""
    return f"no layer is named '{entry}'{hint}"


def _is_layer(node: gs.Node) -> bool:
    # A convolution that must stay float still counts: else its successors would change numbers.
    if node.op in ("Conv", "MatMul", "Gemm"):
        return True
    rule, _ = find_rule(node)
    return rule is not None and rule.kernel in (Kernel.INTEGER, Kernel.BY_HAND)


def _kind(node: gs.Node) -> Kind:
    if node.op == "Conv" and len(node.inputs[1].shape) == 4:
        return "conv"
    return "matmul" if node.op in ("MatMul", "Gemm") else "other"


def _producers(node: gs.Node) -> Iterator[gs.Node]:
    return iter([producer for tensor in node.inputs for producer in tensor.inputs])


def _unseen(nodes: Iterable[gs.Node], seen: set[int]) -> Iterator[gs.Node]:
    for node in nodes:
        if id(node) not in seen:
            seen.add(id(node))
            yield node
