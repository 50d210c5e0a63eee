"""Compute a Conv with three taps along an axis from half of the products (Winograd's F(4, 3)).

Along one axis, four outputs of a three-tap filter g depend on six inputs d. The method of Toom and
Cook evaluates polynomials at five points and at infinity; transposed, it reads

    y = A ((G g) * (B d)),   A = V4^T,  G = V3,  B = V6^-T,

where Vk [6, k] holds the powers 0 .. k - 1 of the points, the last row (0, .., 0, 1) for infinity.
That is 6 products instead of 12; along both axes of a 3 x 3 kernel 36 instead of 144. G is applied
to the weights here, A and B become nodes, written for the layouts of the engine:

1. B: a depthwise Conv of kernel 6 and stride 4 per point, in the engine's blocked layout;
2. the products: a Conv per point of the first axis, without that axis's taps (one group per point
   of the second axis);
3. A: the results, pixels before channels, are stacked over the points; a MatMul takes 6 (36) rows
   of channels to the 4 (16) pixels that they belong to, which then lie side by side;
4. a depthwise Conv of ones brings the pixels back to the blocked layout, adds the bias, crops what
   the last tiles have too much and computes the activation that follows, if one does.

Twice (four times) the weights are stored.

Rounding: the sums of A and B cancel, by a factor that depends on the points. Mean over four draws
of the largest error, in units of the output range, of a 3 x 3 Conv of 64 channels on random
non-negative data, both axes, against float64: 2.3e-6 with the usual points 0, +-1, +-2; 2.7e-6
with 0, +-1, +-1/2; 1.0e-6 with 0, +-1, 2, -1/2; 6.3e-7 with 0, +-2/3, +-3/2, which are used. Two
such Convs with Relu, 64 to 1024 channels, differ from the engine's own by at most 5e-7 (one axis)
and 1.1e-6 (both). A Sigmoid of large logits or a sum that cancels magnifies that, as it does any
other rounding. For float32 only: the transforms widen ranges, which bf16 and int8 cannot afford.

Source: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks, 2016; reciprocal points: S. A. Alam, A. Anderson,
B. Barabasz and D. Gregg, Winograd Convolution for Deep Neural Networks: Efficient Point Selection,
2022.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import BLOCK, CostModel
from compiler.cost.work import size_of
from compiler.passes.conv_site import ConvSite, Floats, conv_site, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip

TAPS: Final = 3
OUTPUTS: Final = 4
INPUTS: Final = OUTPUTS + TAPS - 1
CACHED: Final = 2**22
"""Elements of the larger of x and y up to which the transforms take no more than predicted."""
MARGIN: Final = 1.2
"""What they may take above that, where the tensors outgrow the caches, times what is predicted."""
POINTS: Final = (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)

Axes = tuple[int, ...]


def winograd_conv(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compute a Conv with three taps along an axis from half of the products (Winograd).

    Run it once and last: what it drafts is made for the engine, and other rewrites do not look
    through it.
    """
    result = PassResult("winograd_conv")
    if cost.precision != "fp32":
        return result
    for node in [node for node in graph.nodes if node.op == "Conv"]:
        site = conv_site(node)
        if isinstance(site, str) or site.groups != 1 or not _axes(site):
            continue
        if reason := _replace(graph, node, site, cost):
            result.skipped.append(Skip(node.outputs[0].name, reason))
        else:
            result.changed += 1
    return result


def matrices() -> tuple[Floats, Floats, Floats]:
    """A [4, 6], G [6, 3] and B [6, 6] of F(4, 3)."""
    a, g, b = (
        np.vstack([np.vander(POINTS, powers, increasing=True), np.eye(powers)[-1]])
        for powers in (OUTPUTS, TAPS, INPUTS)
    )
    return a.T, g, np.linalg.inv(b).T


def _axes(site: ConvSite) -> Axes:
    """The axes (0 vertical, 1 horizontal) along which the method applies."""
    steps = zip(site.kernel, site.strides, site.dilations, strict=True)
    return tuple(axis for axis, step in enumerate(steps) if step == (TAPS, 1, 1))


def _replace(graph: gs.Graph, node: gs.Node, site: ConvSite, cost: CostModel) -> str | None:
    """Replace `node` by the cheapest form, or say why not."""
    if site.channels % BLOCK or site.weight.shape[1] % BLOCK:
        return f"its channels are not multiples of {BLOCK}"
    axes = _axes(site)
    drafts = []
    for chosen in dict.fromkeys([axes, axes[-1:]]):
        draft = Draft(graph, node.name)
        drafts.append((draft, _draft(draft, site, chosen)))
    drafts.sort(key=lambda pair: cost.milliseconds(pair[0].nodes))
    (draft, y), *others = drafts
    for other, _ in others:
        other.discard()
    margin = MARGIN if max(size_of(site.x), size_of(y)) > CACHED else 1.0
    return draft.replace(node.outputs[0], y, cost, margin=margin)


def _draft(draft: Draft, site: ConvSite, axes: Axes) -> gs.Variable:
    """Draft y = Conv(x) with the method along `axes`."""
    first, *second = axes
    batch, (height, width) = int(site.x.shape[0]), _tiles(site, axes)
    rows = []
    for point in range(INPUTS):
        part = _at_point(draft, site, first, point)
        if second:
            part = _stacked(draft, [_at_point(draft, part, second[0], k) for k in range(INPUTS)])
        y = draft_conv(draft, part, role="product")
        y = _transpose(draft, y, (0, 2, 3, 1))
        shape = (batch * height * width, part.groups, site.channels)
        rows.append(draft.reshape(y, shape, role="rows"))
    points, pixels = INPUTS ** len(axes), OUTPUTS ** len(axes)
    shape = (batch * height * width, points, site.channels)
    y = draft.add("Concat", rows, shape, role="points", axis=1)
    a = matrices()[0]
    back = draft.constant("pixels/weight", np.kron(a, a) if second else a)
    y = draft.add("MatMul", [back, y], (shape[0], pixels, site.channels), role="pixels")
    return _to_image(draft, site, y, axes)


def _tiles(site: ConvSite, axes: Axes) -> tuple[int, int]:
    """Size of the image of tiles: a quarter, rounded up, along `axes`."""
    height, width = (
        -(-size // OUTPUTS) if axis in axes else size for axis, size in enumerate(site.size)
    )
    return height, width


def _at_point(draft: Draft, site: ConvSite, axis: int, point: int) -> ConvSite:
    """The product at one point: the inputs transformed by a depthwise Conv, and the weights."""
    _, g, b = matrices()
    tiles = _tiles(site, (axis,))
    _, channels, *size = (int(size) for size in site.x.shape)
    top, left, bottom, right = site.pads
    if axis == 0:
        pads = (top, 0, OUTPUTS * tiles[0] + TAPS - 1 - size[0] - top, 0)
        kept, strides, image = (0, left, 0, right), (OUTPUTS, 1), (tiles[0], size[1])
    else:
        pads = (0, left, 0, OUTPUTS * tiles[1] + TAPS - 1 - size[1] - left)
        kept, strides, image = (top, 0, bottom, 0), (1, OUTPUTS), (size[0], tiles[1])
    transform = ConvSite(
        x=site.x,
        weight=np.tile(np.expand_dims(b[point], 1 - axis), (channels, 1, 1, 1)),
        bias=np.zeros(channels),
        pads=pads,
        strides=strides,
        dilations=(1, 1),
        groups=channels,
        size=image,
    )
    weight = np.tensordot(site.weight, g[point], (2 + axis, 0))
    return replace(
        site,
        x=draft_conv(draft, transform, role=f"inputs{axis}"),
        weight=np.expand_dims(weight, 2 + axis),
        bias=0 * site.bias,
        pads=kept,
        size=tiles,
    )


def _stacked(draft: Draft, parts: Sequence[ConvSite]) -> ConvSite:
    """Several products of equal shapes as the groups of one Conv."""
    shape = [int(size) for size in parts[0].x.shape]
    shape[1] *= len(parts)
    return replace(
        parts[0],
        x=draft.add("Concat", [part.x for part in parts], shape, role="inputs", axis=1),
        weight=np.concatenate([part.weight for part in parts]),
        bias=np.concatenate([part.bias for part in parts]),
        groups=len(parts),
    )


def _to_image(draft: Draft, site: ConvSite, y: gs.Variable, axes: Axes) -> gs.Variable:
    """From tiles [N Ht Wt, pixels, C] to the output [N, C, H, W], with the bias."""
    batch, (height, width) = int(site.x.shape[0]), _tiles(site, axes)
    down, across = (OUTPUTS if axis in axes else 1 for axis in (0, 1))
    if down > 1:
        shape = (batch * height, width, down, across * site.channels)
        y = _transpose(draft, draft.reshape(y, shape, role="tiles"), (0, 2, 1, 3))
    shape = (batch, height * down, width * across, site.channels)
    y = _transpose(draft, draft.reshape(y, shape, role="image"), (0, 3, 1, 2))
    excess = (shape[1] - site.size[0] + 1, shape[2] - site.size[1] + 1)
    ones = np.zeros((site.channels, 1, *excess))
    ones[:, :, 0, 0] = 1
    crop = ConvSite(
        y, ones, site.bias, (0, 0, 0, 0), (1, 1), (1, 1), groups=site.channels, size=site.size
    )
    return draft_conv(draft, crop, role="winograd")


def _transpose(draft: Draft, tensor: gs.Tensor, perm: Sequence[int]) -> gs.Variable:
    shape = [tensor.shape[axis] for axis in perm]
    return draft.add("Transpose", [tensor], shape, role="transpose", perm=list(perm))
