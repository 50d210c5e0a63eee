"""Compute a MaxPool from a smaller MaxPool of the same tensor.

Where the windows tile the input (strides = kernel, no padding, no dilation), a window of K = k m
elements is the union of m windows of k, and max is associative:

    MaxPool_K(x) = MaxPool_m(MaxPool_k(x)),  axis by axis, bit for bit.

The size n of an axis need not be a multiple. floor(floor(n / k) / m) = floor(n / K), and the same
holds for ceil, so pools that round alike cover the same elements; pools that do not are alike if k
divides n. The chained pool reads k times fewer elements per axis and nothing is added, so this
always pays.

The last pool keeps its rounding. Largest smaller kernel first: it leaves the least to read.
"""

from dataclasses import dataclass
from math import prod

import onnx_graphsurgeon as gs

from compiler.graph.query import is_static, readers
from compiler.passes.result import PassResult, Skip


@dataclass(frozen=True)
class _Tiling:
    """A MaxPool whose windows tile its input.

    Args:
        node: The pool.
        kernel: One entry per spatial axis.
        rounds_up: Whether a last, partial window counts.
    """

    node: gs.Node
    kernel: tuple[int, ...]
    rounds_up: bool


def chain_max_pool(graph: gs.Graph) -> PassResult:
    """Let a MaxPool read a smaller MaxPool of the same tensor, where that is exact."""
    result = PassResult("chain_max_pool")
    own = {id(node) for node in graph.nodes}  # not those of a branch of If
    for tensor in list(graph.tensors().values()):
        pools = [node for node in readers(tensor) if node.op == "MaxPool" and id(node) in own]
        if len(pools) > 1 and is_static(tensor):
            _chain(tensor, pools, result)
    graph.toposort()
    return result


def _chain(tensor: gs.Tensor, pools: list[gs.Node], result: PassResult) -> None:
    tilings = []
    for pool in pools:
        tiling = _tiling(pool)
        if isinstance(tiling, str):
            result.skipped.append(Skip(pool.outputs[0].name, tiling))
        else:
            tilings.append(tiling)
    tilings.sort(key=lambda tiling: prod(tiling.kernel), reverse=True)
    for position, large in enumerate(tilings):
        for small in tilings[position + 1 :]:
            if _composes(tensor, small, large):
                _read(large, small)
                result.changed += 1
                break


def _tiling(pool: gs.Node) -> _Tiling | str:
    attrs = pool.attrs
    kernel = tuple(attrs["kernel_shape"])
    if tuple(attrs.get("strides", [1] * len(kernel))) != kernel:
        return "its strides differ from its kernel"
    if any(attrs.get("pads", [])) or "SAME" in attrs.get("auto_pad", ""):
        return "it pads"
    if any(step != 1 for step in attrs.get("dilations", [])):
        return "it has dilations"
    if len(pool.outputs) > 1:
        return "it yields indices"
    return _Tiling(pool, kernel, bool(attrs.get("ceil_mode", 0)))


def _composes(tensor: gs.Tensor, small: _Tiling, large: _Tiling) -> bool:
    if small.kernel == large.kernel:
        return False
    return all(
        many % few == 0 and many <= size and (small.rounds_up == large.rounds_up or size % few == 0)
        for size, few, many in zip(tensor.shape[2:], small.kernel, large.kernel, strict=True)
    )


def _read(large: _Tiling, small: _Tiling) -> None:
    """Let `large` pool the output of `small`."""
    factors = [many // few for many, few in zip(large.kernel, small.kernel, strict=True)]
    large.node.inputs = [small.node.outputs[0]]
    large.node.attrs.update(kernel_shape=factors, strides=list(factors))
