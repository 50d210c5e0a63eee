"""Convolve before upsampling: mix the channels at low resolution, then interpolate per tap.

A Resize is u = V x H.T per channel (see interpolation). Tap (d, e) of a convolution of u reads, for
output row o, the row r = o * stride + d * dilation - pad of u, and zero outside. With

    V_d[o] = V[r] if r is a row of u, else 0,     H_e likewise,

    y[co] = b[co] + sum over d, e of V_d (sum over ci of W[co, ci, d, e] x[ci]) H_e.T

The inner sums are one 1x1 Conv of x to kh * kw * Cout channels, at low resolution. Borders are
exact, since the zeros of the Conv and the clamping of the Resize are both inside V_d and H_e.

Layout (batch and groups first, then e, co, d) makes both contractions plain matrix products:

    [.., e, co] x [(d, h), w]       MatMul  [V_0 V_1 ..] @ .      ->  [.., e, co, H', w]
    [.., (co, H')] x [(e, w)]       MatMul  . @ [H_0 H_1 ..].T    ->  [.., co, H', W']

with one Transpose between if there are several e, that moves whole rows of w.

A tap that never leaves the map has operators whose rows sum to 1, so a bias of its channels comes
out unchanged: the mix carries b there. Only a Conv all of whose taps leave the map needs an Add.

Linear interpolation reads few of the h rows, so the matrices are banded: with n bands, output rows
[j * H'/n, (j + 1) * H'/n) are computed from the input rows that they read. That saves arithmetic
and costs copies; the cost model chooses n, for each axis.
"""

from itertools import product

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.interpolate_channels_last import draft_channels_last
from compiler.passes.interpolation import Floats, reads_resize, upsampled
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs
from compiler.passes.strips import STRIPS, strips


def rewrite_resize_conv(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Convolve before upsampling, where that is cheaper."""
    return rewrite_convs(
        "rewrite_resize_conv",
        graph,
        cost,
        lambda draft, site: draft_resize_conv(draft, site, cost),
        concerns=reads_resize,
    )


def draft_resize_conv(draft: Draft, site: ConvSite, cost: CostModel) -> gs.Variable | str:
    """Draft y = Conv(x) from the tensor that x is upsampled from, or say why that is impossible.

    Args:
        draft: Receives the nodes; nothing is drafted where the answer is no.
        site: The convolution.
        cost: Chooses the number of bands.
    """
    source = upsampled(site.x)
    if isinstance(source, str):
        return source
    vertical = _tap_operators(source.vertical, site, axis=0)
    horizontal = _tap_operators(source.horizontal, site, axis=1)
    if cost.precision == "int8":
        return draft_channels_last(draft, site, source.low, list(vertical), list(horizontal), cost)
    tap = _tap_for_bias(vertical, horizontal)
    batch = int(site.x.shape[0])
    (kh, kw), (h, w), height = site.kernel, source.low.shape[2:], site.size[0]
    groups, channels = batch * site.groups, site.channels // site.groups
    mix = _draft_mix(draft, site, source.low, tap)
    rows = draft.reshape(mix, [groups * kw * channels, kh, h, w], role="taps")
    columns = _draft_product(draft, rows, vertical, cost, role="rows")
    if kw > 1:
        columns = draft.reshape(columns, [groups, kw, channels * height, w], role="rows/taps")
        shape = [groups, channels * height, kw, w]
        columns = draft.add("Transpose", [columns], shape, role="columns/taps", perm=[0, 2, 1, 3])
    columns = draft.reshape(columns, [groups * channels * height, kw, w], role="columns/flat")
    y = _draft_product(draft, columns, horizontal, cost, role="columns")
    y = draft.reshape(y, site.output_shape, role="maps")
    if tap is None and site.bias.any():
        bias = draft.constant("bias", site.bias[:, None, None])
        y = draft.add("Add", [y, bias], site.output_shape, role="biased")
    return y


def _tap_operators(matrix: Floats, site: ConvSite, *, axis: int) -> Floats:
    """Operators of the taps of one axis, shape (taps, output size, low size)."""
    rows = np.arange(site.size[axis])[None, :] * site.strides[axis] - site.pads[axis]
    rows = rows + np.arange(site.kernel[axis])[:, None] * site.dilations[axis]
    inside = (rows >= 0) & (rows < len(matrix))
    operators: Floats = matrix[rows.clip(0, len(matrix) - 1)] * inside[..., None]
    return operators


def _tap_for_bias(vertical: Floats, horizontal: Floats) -> tuple[int, int] | None:
    """A tap (d, e) that never leaves the map, if there is one."""
    whole = [
        np.flatnonzero((taps.sum(axis=2) > 0.5).all(axis=1)) for taps in (vertical, horizontal)
    ]
    return next(((int(d), int(e)) for d, e in product(*whole)), None)


def _draft_mix(
    draft: Draft, site: ConvSite, low: gs.Tensor, tap: tuple[int, int] | None
) -> gs.Variable:
    """The 1x1 Conv of x to channels ordered (group, e, co, d)."""
    (kh, kw), channels = site.kernel, site.channels // site.groups
    weight = site.weight.reshape(site.groups, channels, -1, kh, kw).transpose(0, 4, 1, 3, 2)
    bias = np.zeros((site.groups, kw, channels, kh))
    if tap is not None:
        bias[:, tap[1], :, tap[0]] = site.bias.reshape(site.groups, channels)
    mix = ConvSite(
        x=low,
        weight=weight.reshape(bias.size, -1, 1, 1),
        bias=bias.reshape(-1),
        pads=(0, 0, 0, 0),
        strides=(1, 1),
        dilations=(1, 1),
        groups=site.groups,
        size=(int(low.shape[2]), int(low.shape[3])),
    )
    return draft_conv(draft, mix, role="mix")


def _draft_product(
    draft: Draft, taps: gs.Variable, operators: Floats, cost: CostModel, *, role: str
) -> gs.Variable:
    """Contract taps and low size of `taps`, in the number of bands that is cheapest.

    Args:
        draft: Receives the nodes.
        taps: Shape (batch, taps, low size, *rest), rest being one axis or none.
        operators: Shape (taps, output size, low size).
        cost: Chooses the number of bands.
        role: Names the nodes.

    Returns:
        Shape (batch, output size, *rest).
    """

    def time(bands: int) -> float:
        trial = Draft(gs.Graph(), role)
        _draft_bands(trial, gs.Variable("taps", np.float32, taps.shape), operators, bands, role)
        return cost.milliseconds(trial.nodes)

    return _draft_bands(draft, taps, operators, min(STRIPS, key=time), role)


def _draft_bands(
    draft: Draft, taps: gs.Variable, operators: Floats, bands: int, role: str
) -> gs.Variable:
    batch, count, low, *rest = taps.shape
    size = operators.shape[1]
    products = []
    for outputs, inputs in strips(np.any(operators, axis=0), bands):
        part, length = taps, inputs.stop - inputs.start
        if length < low:
            part = draft.slice(taps, 2, inputs.start, inputs.stop, role=f"{role}/slice")
        part = draft.reshape(part, [batch, count * length, *rest], role=f"{role}/band")
        matrix = np.concatenate(operators[:, outputs, inputs], axis=1)
        weight = draft.constant(f"{role}/weight", matrix if rest else matrix.T)
        factors = [weight, part] if rest else [part, weight]
        products.append(draft.add("MatMul", factors, [batch, len(matrix), *rest], role=role))
    if len(products) == 1:
        return products[0]
    return draft.add("Concat", products, [batch, size, *rest], role=f"{role}/joined", axis=1)
