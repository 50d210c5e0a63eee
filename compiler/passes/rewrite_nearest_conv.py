"""Convolve before upsampling to nearest neighbours instead of after it.

With u[i] = x[floor(i / s)], y = Conv(u) with kernel W (k taps), stride 1 and pads p, per axis:

    y[o] = sum of W[d] x[q] over all d, q with 0 <= o + d - p - s q < s
         = sum of K[o + start - s q] x[q] over q,  start = k - 1 - p
    K[j] = sum of W[d] over all d with 0 <= j - (k - 1) + d < s

a transposed convolution with k + s - 1 taps (see passes/phases.py): taps that meet the same low
pixel are added. The borders are exact, as u is 0 outside exactly where x is.

In float32 a second step saves more, where y is s times as large as x and every output of a phase
reads x[r - 1], x[r] and x[r + 1] at most. All phases have the same sum S of taps, so

    y = S x[r] + K[-1] (x[r - 1] - x[r]) + K[1] (x[r + 1] - x[r])

and S x[r] is computed once for all phases; the differences, which have as few values as x, once for
all phases as well. On both axes, with S or a tap on either:

    y[a, b] = (S, S) x + (K_a, S) d_v x + (S, K_b) d_h x + (K_a, K_b) d_v d_h x

where the second term is the same for all b and the third for all a. For s = 2 that makes 9 products
per low pixel instead of 16 (k = 3), or 4 instead of 9 (k = 2, which needs 16 when it is convolved
after upsampling); for s = 4, k = 3 it makes 9 instead of 36. Differences can be as large as twice
the range of x: no loss in float32, one bit in int8, where the first form is used.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel, Precision
from compiler.graph.query import constant_value, is_static, producer
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.phases import Floats, TransposedConv, draft_interleave, draft_phases
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs

Offset = tuple[int, int]  # rows and columns
Taps = dict[Offset, Floats]


def rewrite_nearest_conv(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Convolve before every Resize to nearest neighbours, where that is cheaper."""
    return rewrite_convs(
        "rewrite_nearest_conv",
        graph,
        cost,
        lambda draft, site: draft_nearest_conv(draft, site, cost.precision),
        concerns=lambda conv: _nearest_resize(conv.inputs[0]) is not None,
    )


def draft_nearest_conv(
    draft: Draft, site: ConvSite, precision: Precision = "fp32"
) -> gs.Variable | str:
    """Draft the Conv of `site` on the input of the Resize that it reads.

    Args:
        draft: Takes the nodes.
        site: May be one part of a Conv over a Concat.
        precision: What the nodes will run in.

    Returns:
        y, or why it does not apply.
    """
    resize = _nearest_resize(site.x)
    if resize is None:
        return "its input comes from no Resize to nearest neighbours"
    if (site.strides, site.dilations) != ((1, 1), (1, 1)):
        return "it has strides or dilations"
    scales = _scales(resize)
    if isinstance(scales, str):
        return scales
    transposed = _before_upsampling(resize.inputs[0], site, scales)
    phases = {phase: _taps(transposed.phase(*phase)) for phase in transposed.phases}
    same_size = transposed.phase_size == tuple(transposed.x.shape[2:])
    near = all(max(map(abs, offset)) <= 1 for taps in phases.values() for offset in taps)
    if precision == "fp32" and same_size and near:
        return _draft_differences(draft, transposed, phases)
    return draft_phases(draft, transposed, precision)


def _nearest_resize(x: gs.Tensor) -> gs.Node | None:
    node = producer(x)
    if node is None or node.op != "Resize" or node.attrs.get("mode", "nearest") != "nearest":
        return None
    return node


def _scales(resize: gs.Node) -> tuple[int, int] | str:
    """How often `resize` repeats every row and column, or why it does something else."""
    x, y = resize.inputs[0], resize.outputs[0]
    if not (is_static(x) and is_static(y)) or len(x.shape) != 4:
        return "the shapes of the Resize are not static or not of rank 4"
    if "axes" in resize.attrs:
        return "the Resize has axes"
    if any(bigger % size for size, bigger in zip(x.shape, y.shape, strict=True)):
        return "the Resize has no whole scales"
    whole = [bigger // size for size, bigger in zip(x.shape, y.shape, strict=True)]
    given = constant_value(resize.inputs[2]) if len(resize.inputs) > 2 else None
    if given is not None and given.size and given.tolist() != whole:
        return "the Resize has no whole scales"
    if whole[:2] != [1, 1]:
        return "the Resize enlarges the batch or channel axis"
    for size, scale in zip(x.shape[2:], whole[2:], strict=True):
        rows = _nearest_rows(resize, int(size), scale)
        if isinstance(rows, str):
            return rows
        if (rows != np.arange(size * scale) // scale).any():
            return "the Resize does not repeat every pixel equally often"
    return whole[2], whole[3]


def _nearest_rows(resize: gs.Node, size: int, scale: int) -> Floats | str:
    """Which row of x every row of the resized map shows, along one axis.

    Source: ONNX operator Resize, coordinate_transformation_mode and nearest_mode.
    """
    mode = resize.attrs.get("coordinate_transformation_mode", "half_pixel")
    index = np.arange(size * scale, dtype=np.float64)
    rows = {
        "asymmetric": index / scale,
        "half_pixel": (index + 0.5) / scale - 0.5,
        "half_pixel_symmetric": (index + 0.5) / scale - 0.5,
        "pytorch_half_pixel": (index + 0.5) / scale - 0.5,
    }.get(mode)
    if rows is None:
        return f"the Resize transforms coordinates by {mode}"
    nearest = {
        "floor": np.floor(rows),
        "ceil": np.ceil(rows),
        "round_prefer_floor": np.ceil(rows - 0.5),
        "round_prefer_ceil": np.floor(rows + 0.5),
    }[resize.attrs.get("nearest_mode", "round_prefer_floor")]
    return np.clip(nearest, 0, size - 1)


def _before_upsampling(x: gs.Tensor, site: ConvSite, scales: tuple[int, int]) -> TransposedConv:
    """K of the module's algebra."""
    rows, columns = site.kernel
    down, across = scales
    kernel = np.zeros((*site.weight.shape[:2], rows + down - 1, columns + across - 1))
    for row, column in np.ndindex(rows, columns):
        top, left = rows - 1 - row, columns - 1 - column
        kernel[:, :, top : top + down, left : left + across] += site.weight[
            :, :, row, column, None, None
        ]
    top, left, *_ = site.pads
    return TransposedConv(
        x=x,
        kernel=kernel,
        bias=site.bias,
        strides=scales,
        start=(rows - 1 - top, columns - 1 - left),
        size=site.size,
        groups=site.groups,
    )


def _taps(phase: ConvSite) -> Taps:
    """The weights (Cout, Cin / groups) of a phase by the low pixel that they meet."""
    top, left, *_ = phase.pads
    return {
        (row - top, column - left): phase.weight[:, :, row, column]
        for row, column in np.ndindex(*phase.kernel)
    }


def _draft_differences(
    draft: Draft, site: TransposedConv, phases: Mapping[Offset, Taps]
) -> gs.Variable:
    """The second form of the module's algebra."""
    inputs: dict[Offset, gs.Tensor] = {(0, 0): site.x}

    def term(at: Offset, phase: Offset) -> gs.Variable:
        """What the difference between the low pixel `at` and a phase's own adds to that phase."""
        if at not in inputs:
            inputs[at] = _draft_difference(draft, site.x, at)
        met = [
            weight
            for seen, weight in phases[phase].items()
            if all(one in (0, other) for one, other in zip(at, seen, strict=True))
        ]
        bias = site.bias if at == (0, 0) else 0 * site.bias
        weight = np.sum(met, axis=0)[:, :, None, None]
        return draft_conv(draft, _same_size(inputs[at], weight, bias, site.groups), role="product")

    down, across = site.strides
    rows = [sorted({row for row, _ in phases[a, 0]} - {0}) for a in range(down)]
    columns = [sorted({column for _, column in phases[0, b]} - {0}) for b in range(across)]
    base = term((0, 0), (0, 0))
    by_row = [
        _draft_sum(draft, [base, *(term((at, 0), (a, 0)) for at in rows[a])]) for a in range(down)
    ]
    by_column = [
        [_draft_sum(draft, [term((0, at), (0, b)) for at in columns[b]])] if columns[b] else []
        for b in range(across)
    ]
    outputs = []
    for a, b in site.phases:
        both = [term(at, (a, b)) for at in product(rows[a], columns[b])]
        outputs.append(_draft_sum(draft, [by_row[a], *by_column[b], *both]))
    return draft_interleave(draft, outputs, site, "fp32")


def _draft_difference(draft: Draft, x: gs.Tensor, at: Offset) -> gs.Variable:
    """x[r + at] - x[r], along every axis on which `at` is not 0."""
    along = {-1: [1.0, -1.0], 0: [1.0], 1: [-1.0, 1.0]}
    channels = int(x.shape[1])
    weight = np.tile(np.outer(along[at[0]], along[at[1]]), (channels, 1, 1, 1))
    site = _same_size(x, weight, np.zeros(channels), channels)
    top, left, bottom, right = (max(0, pad) for pad in (-at[0], -at[1], at[0], at[1]))
    return draft_conv(draft, replace(site, pads=(top, left, bottom, right)), role="difference")


def _same_size(x: gs.Tensor, weight: Floats, bias: Floats, groups: int) -> ConvSite:
    """A Conv whose result is as large as x, without pads as for a 1x1 kernel."""
    return ConvSite(
        x=x,
        weight=weight,
        bias=bias,
        pads=(0, 0, 0, 0),
        strides=(1, 1),
        dilations=(1, 1),
        groups=groups,
        size=(int(x.shape[2]), int(x.shape[3])),
    )


def _draft_sum(draft: Draft, terms: list[gs.Variable]) -> gs.Variable:
    total, *others = terms
    for term in others:
        total = draft.add("Add", [total, term], list(term.shape), role="sum")
    return total
