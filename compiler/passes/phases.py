"""A transposed convolution as ordinary convolutions of its phases.

Per axis, with input x of h values, kernel K of k taps, stride s and first output `start`:

    y[o] = sum over q of x[q] K[o + start - s q]

Output o = s r + a, phase a of s, reads x[r + shift - t] by tap first + s t, where
shift, first = divmod(a + start, s): n = ceil((k - first) / s) taps of a Conv with stride 1, whose
tap j is K[first + s (n - 1 - j)], pads n - 1 - shift before and r_last + shift - (h - 1) after.
Taps beyond K are 0 and x is 0 outside, which is what the pads of Conv are: borders are exact.
A negative pad drops values of x that no output sees.

Upsampling to nearest neighbours and ConvTranspose are such maps, and so are both followed by a
Conv: see rewrite_nearest_conv, replace_conv_transpose and compose_conv_transpose.

The phases are interleaved by what the engine does best. In float32 by Concat along the last axis
and along the rows, since DepthToSpace and Transpose of ONNX Runtime move single elements. In int8
ONNX Runtime convolves with the channels last; there one Transpose moves whole rows of channels, and
the Transposes around it cancel against those of the convolutions.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import Precision
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TransposedConv:
    """y[o] = bias + sum over q of x[q] kernel[o + start - strides * q], on both axes.

    Args:
        x: Input, shape (N, Cin, H, W).
        kernel: (Cout, Cin / groups, kh, kw), indexed as above, so not flipped.
        bias: (Cout,).
        strides: (vertical, horizontal).
        start: Row and column of the full result that are y's first; negative before it.
        size: (H', W') of y.
        groups: Number of groups.
    """

    x: gs.Tensor
    kernel: Floats
    bias: Floats
    strides: tuple[int, int]
    start: tuple[int, int]
    size: tuple[int, int]
    groups: int = 1

    @property
    def phases(self) -> list[tuple[int, int]]:
        """All (vertical, horizontal) phases, row by row."""
        return list(product(range(self.strides[0]), range(self.strides[1])))

    @property
    def phase_size(self) -> tuple[int, int]:
        """Rows and columns of one phase."""
        (height, width), (down, across) = self.size, self.strides
        return -(-height // down), -(-width // across)

    def phase(self, down: int, across: int) -> ConvSite:
        """The Conv that computes rows `down` and columns `across` of every period; see above."""
        rows, top, bottom = self._axis(0, down)
        columns, left, right = self._axis(1, across)
        period = self.strides
        taken = np.pad(self.kernel, [(0, 0), (0, 0), (0, period[0]), (0, period[1])])
        return ConvSite(
            x=self.x,
            weight=taken[:, :, rows][:, :, :, columns],
            bias=self.bias,
            pads=(top, left, bottom, right),
            strides=(1, 1),
            dilations=(1, 1),
            groups=self.groups,
            size=self.phase_size,
        )

    def _axis(self, axis: int, phase: int) -> tuple[list[int], int, int]:
        """Taps of a phase along one axis, in the order of Conv, and its pads."""
        period, taps = self.strides[axis], self.kernel.shape[2 + axis]
        shift, first = divmod(phase + self.start[axis], period)
        count = max(1, -(-(taps - first) // period))
        before = count - 1 - shift
        after = self.phase_size[axis] + shift - int(self.x.shape[2 + axis])
        return [min(first + period * t, taps) for t in reversed(range(count))], before, after


def draft_phases(draft: Draft, site: TransposedConv, precision: Precision) -> gs.Variable:
    """Draft `site` as one Conv for every phase, interleaved.

    In int8 it is one Conv for all of them where they have equally many taps: its output has one
    scale, where a Concat would round the phases' own ones a second time.
    """
    whole = all(site.kernel.shape[2 + axis] % site.strides[axis] == 0 for axis in (0, 1))
    if precision == "int8" and whole and site.groups == 1 and site.strides != (1, 1):
        return _draft_merged(draft, site)
    convs = [_drop_unseen(draft, site.phase(*phase)) for phase in site.phases]
    outputs = [draft_conv(draft, conv, role="phase") for conv in convs]
    return draft_interleave(draft, outputs, site, precision)


def draft_interleave(
    draft: Draft, phases: list[gs.Variable], site: TransposedConv, precision: Precision
) -> gs.Variable:
    """Draft the image whose phases are `phases`, in the order of `site.phases`."""
    if len(phases) == 1:
        return phases[0]
    if precision == "fp32":
        return _interleave_elements(draft, phases, site)
    batch, channels, *size = phases[0].shape
    shape = [batch, len(phases) * channels, *size]
    return _interleave_rows(draft, draft.add("Concat", phases, shape, role="phases", axis=1), site)


def _draft_merged(draft: Draft, site: TransposedConv) -> gs.Variable:
    """Phases that start at a whole period see the same pixels; what precedes y is cropped."""
    early = (site.start[0] % site.strides[0], site.start[1] % site.strides[1])
    aligned = replace(
        site,
        start=(site.start[0] - early[0], site.start[1] - early[1]),
        size=(site.size[0] + early[0], site.size[1] + early[1]),
    )
    phases = [aligned.phase(*phase) for phase in aligned.phases]
    merged = replace(
        phases[0],
        weight=np.concatenate([phase.weight for phase in phases]),
        bias=np.concatenate([phase.bias for phase in phases]),
    )
    stacked = draft_conv(draft, _drop_unseen(draft, merged), role="phases")
    return _interleave_rows(draft, stacked, site, early)


def _interleave_elements(
    draft: Draft, phases: list[gs.Variable], site: TransposedConv
) -> gs.Variable:
    """Interleave by Concat: phases of (N, C, h, w) along the columns, then along the rows."""
    batch, channels, height, width = phases[0].shape
    down, across = site.strides
    lines = []
    for row in range(down):
        line = phases[row * across : (row + 1) * across]
        if across > 1:
            shape = [batch, channels, height, width]
            apart = [draft.reshape(one, [*shape, 1], role="column") for one in line]
            line = [draft.add("Concat", apart, [*shape, across], role="columns", axis=4)]
        lines += line
    wide = [batch, channels, height, 1, width * across]
    apart = [draft.reshape(one, wide, role="row") for one in lines]
    wide[3] = down
    rows = draft.add("Concat", apart, wide, role="rows", axis=3) if down > 1 else apart[0]
    image = draft.reshape(rows, [batch, channels, height * down, width * across], role="image")
    return _crop(draft, image, site.size, axes=(2, 3))


def _interleave_rows(
    draft: Draft, stacked: gs.Variable, site: TransposedConv, start: tuple[int, int] = (0, 0)
) -> gs.Variable:
    """Interleave phases that lie behind each other in the channels, with the channels last.

    Of the interleaved image, what begins at row and column `start` is y.
    """
    batch, all_channels, height, width = stacked.shape
    down, across = site.strides
    channels = all_channels // (down * across)
    last = [batch, height, width, all_channels]
    y = draft.add("Transpose", [stacked], last, role="channels_last", perm=[0, 2, 3, 1])
    y = draft.reshape(y, [batch, height, width, down, across * channels], role="phases_apart")
    y = draft.add(
        "Transpose",
        [y],
        [batch, height, down, width, across * channels],
        role="rows",
        perm=[0, 1, 3, 2, 4],
    )
    y = draft.reshape(y, [batch, height * down, width * across, channels], role="image")
    y = _crop(draft, y, site.size, axes=(1, 2), start=start)
    shape = [batch, channels, *site.size]
    return draft.add("Transpose", [y], shape, role="channels_first", perm=[0, 3, 1, 2])


def _drop_unseen(draft: Draft, site: ConvSite) -> ConvSite:
    """`site` without negative pads: a Slice of x takes their place."""
    top, left, bottom, right = (min(pad, 0) for pad in site.pads)
    if not (top or left or bottom or right):
        return site
    height, width = int(site.x.shape[2]), int(site.x.shape[3])
    size = (height + top + bottom, width + left + right)
    if min(size) <= 0:
        return _of_nothing(draft, site)
    seen = _crop(draft, site.x, size, axes=(2, 3), start=(-top, -left))
    top, left, bottom, right = (max(pad, 0) for pad in site.pads)
    return replace(site, x=seen, pads=(top, left, bottom, right))


def _of_nothing(draft: Draft, site: ConvSite) -> ConvSite:
    """A Conv of the size of `site` that yields its bias: zero weights, on the first pixel."""
    pixel = _crop(draft, site.x, (1, 1), axes=(2, 3))
    below, beside = (size + taps - 2 for size, taps in zip(site.size, site.kernel, strict=True))
    return replace(site, x=pixel, weight=0 * site.weight, pads=(0, 0, below, beside))


def _crop(
    draft: Draft,
    tensor: gs.Variable,
    size: tuple[int, int],
    *,
    axes: tuple[int, int],
    start: tuple[int, int] = (0, 0),
) -> gs.Variable:
    """The window of `size` from `start` of the two `axes`; the tensor itself if that is all."""
    shape = list(tensor.shape)
    if size == (shape[axes[0]], shape[axes[1]]):
        return tensor
    shape[axes[0]], shape[axes[1]] = size
    ends = np.add(start, size)
    bounds = [
        draft.constant(f"window/{name}", np.array(values, np.int64))
        for name, values in (("starts", start), ("ends", ends), ("axes", axes))
    ]
    return draft.add("Slice", [tensor, *bounds], shape, role="window")
