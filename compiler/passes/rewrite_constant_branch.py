"""Compute a Conv of a spatially constant map from the one value that each channel has.

A 1x1 map g [N, Cin, 1, 1] spread over H x W by Resize, Expand or Tile is constant, and so is any
pointwise function of it. (Resize: the interpolation weights of every mode sum to one, apart from
tf_crop_and_resize, which may extrapolate.) A tap (d, e) of a Conv reads row r = o s + d t - p for
output row o, and finds g if 0 <= r < H or a zero of the padding; columns likewise. So output
rows, and columns, differ only by the set of their taps that lie inside, sets r(o) and c(p):

    y[co, o, p] = b[co] + sum_ci W_rc[co, ci] g[ci],   W_rc = sum of W[:, :, d, e], d in r, e in c

1. One 1x1 Conv of g computes Co values for every pair of sets. Without padding there is one pair,
   and y is constant: the value of each channel, spread by whoever reads it.
2. With padding there are few pairs: 3 x 3 for an ordinary 3x3 Conv. MatMuls with constant one-hot
   maps, of columns [sets, W'] and rows [H', sets], put each value at its pixels without rounding.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import CostModel
from compiler.graph.query import is_static, producer
from compiler.passes.conv_site import ConvSite, Floats, conv_site, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip

SPREADING: Final = frozenset({"Resize", "Expand", "Tile"})
POINTWISE: Final = frozenset(
    {"Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"}
)


def rewrite_constant_branch(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compute a Conv of a spatially constant map per channel instead of per pixel."""
    result = PassResult("rewrite_constant_branch")
    for conv in [node for node in graph.nodes if node.op == "Conv"]:
        if _spreading(conv.inputs[0]) is None:
            continue
        reason = _rewrite(Draft(graph, conv.name), conv, cost)
        if reason is None:
            result.changed += 1
        else:
            result.skipped.append(Skip(conv.outputs[0].name, reason))
    return result


def draft_constant_branch(draft: Draft, site: ConvSite) -> gs.Variable | str:
    """Draft y = Conv(x) for a spatially constant x, or say why it does not apply.

    Returns:
        A tensor that broadcasts to y: (N, Co, H', W'), or 1 instead of H' or W' where y does not
        change along that axis.
    """
    spreading = _spreading(site.x)
    if spreading is None:
        return "its input is not spatially constant"
    rows, row_of = _tap_sets(site, 0)
    columns, column_of = _tap_sets(site, 1)
    sets = len(rows) * len(columns)
    weight = np.einsum("oide,rd,ce->orci", site.weight, rows, columns)
    whole = replace(
        site,
        x=_recompute(draft, site.x, spreading),
        weight=weight.reshape(site.channels * sets, -1, 1, 1),
        bias=np.repeat(site.bias, sets),
        pads=(0, 0, 0, 0),
        strides=(1, 1),
        dilations=(1, 1),
        size=(1, 1),
    )
    y = draft_conv(draft, whole, role="constant")
    if sets == 1:
        return y
    batch, channels, height, width = site.output_shape
    y = draft.reshape(y, [batch, channels, len(rows), len(columns)], role="constant/sets")
    if len(columns) > 1:
        one_hot = draft.constant("constant/columns", np.eye(len(columns))[:, column_of])
        shape = [batch, channels, len(rows), width]
        y = draft.add("MatMul", [y, one_hot], shape, role="constant/wide")
    if len(rows) > 1:
        one_hot = draft.constant("constant/rows", np.eye(len(rows))[row_of])
        shape = [batch, channels, height, int(y.shape[3])]
        y = draft.add("MatMul", [one_hot, y], shape, role="constant/high")
    return y


def draft_expand(draft: Draft, y: gs.Variable, shape: Sequence[int]) -> gs.Variable:
    """Draft y broadcast to `shape`; y itself if it has that shape."""
    if list(y.shape) == list(shape):
        return y
    target = draft.constant("expand/shape", np.array(shape, np.int64))
    return draft.add("Expand", [y, target], shape, role="expand")


def _rewrite(draft: Draft, conv: gs.Node, cost: CostModel) -> str | None:
    """Replace `conv`; or why not."""
    site = conv_site(conv)
    y = site if isinstance(site, str) else draft_constant_branch(draft, site)
    if isinstance(y, str) or isinstance(site, str):
        return str(y)
    return draft.replace(conv.outputs[0], draft_expand(draft, y, site.output_shape), cost)


def _spreading(x: gs.Tensor) -> gs.Node | None:
    """The node that spreads a 1x1 map over the plane of `x`, pointwise functions after it apart."""
    node = producer(x)
    while node is not None and node.op in POINTWISE and _is_unary(node):
        node = producer(node.inputs[0])
    if node is None or node.op not in SPREADING or not (is_static(x) and is_static(node.inputs[0])):
        return None
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    return node if list(node.inputs[0].shape) == [*x.shape[:2], 1, 1] else None


def _is_unary(node: gs.Node) -> bool:
    return all(isinstance(tensor, gs.Constant) or not tensor.name for tensor in node.inputs[1:])


def _recompute(draft: Draft, x: gs.Tensor, spreading: gs.Node) -> gs.Tensor:
    """Draft the pointwise functions between `spreading` and `x` on the 1x1 map."""
    node = producer(x)
    if node is None or node is spreading:
        return spreading.inputs[0]
    g = _recompute(draft, node.inputs[0], spreading)
    return draft.add(node.op, [g, *node.inputs[1:]], g.shape, role="constant/input", **node.attrs)


def _tap_sets(site: ConvSite, axis: int) -> tuple[Floats, NDArray[np.intp]]:
    """The different sets of taps inside the input along an axis, and the set of each position.

    Returns:
        (sets, kernel) of 0 and 1, and (output size,) of indices into it.
    """
    positions = np.arange(site.size[axis])[:, None] * site.strides[axis] - site.pads[axis]
    taps = positions + np.arange(site.kernel[axis]) * site.dilations[axis]
    inside = (taps >= 0) & (taps < site.x.shape[2 + axis])
    sets, index = np.unique(inside, axis=0, return_inverse=True)
    return sets.astype(np.float64), index.reshape(-1)
