"""Compute a Conv with few output channels as a 1x1 Conv that mixes, and a small one that shifts.

    y[c, p] = b[c] + sum_t z[t, c, p + t],    z[t, c, q] = sum_i W[c, i, t] x[i, q]

over the taps t of the kernel. z is a 1x1 Conv to taps * Cout channels, and the sum is a Conv with
the kernel, pads, strides and dilations of the original whose weights are 0 and 1. Zero padding of z
is zero padding of x, as z has no bias. The small Conv multiplies with many zeros; but kernels
compute output channels in blocks of 16 and gather every input channel of every tap, so that one
output channel costs about as much as 16. The head of a segmentation network is the usual case.
"""

from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs

FEW: Final = 8
"""Output channels; from twice as many on, the blocks of a kernel are well filled."""


def mix_taps(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compute a Conv with few output channels as a 1x1 Conv and a small Conv that shifts."""
    return rewrite_convs("mix_taps", graph, cost, _draft)


def _draft(draft: Draft, site: ConvSite) -> gs.Variable | None:
    if site.channels > FEW or site.kernel == (1, 1) or site.groups != 1:
        return None
    if site.weight.shape[1] == site.kernel[0] * site.kernel[1] * site.channels:
        return None  # what this pass drafts itself
    (height, width), channels = site.kernel, site.channels
    taps = height * width
    weight = site.weight.transpose(2, 3, 0, 1).reshape(taps * channels, -1, 1, 1)
    batch, _, rows, columns = (int(size) for size in site.x.shape)
    mixed = draft.add(
        "Conv",
        [site.x, draft.constant("mix/weight", weight)],
        [batch, taps * channels, rows, columns],
        role="mix",
        kernel_shape=[1, 1],
    )
    shift = np.zeros((channels, taps, channels, height, width))
    for tap in range(taps):
        shift[np.arange(channels), tap, np.arange(channels), tap // width, tap % width] = 1
    small = ConvSite(
        x=mixed,
        weight=shift.reshape(channels, taps * channels, height, width),
        bias=site.bias,
        pads=site.pads,
        strides=site.strides,
        dilations=site.dilations,
        groups=1,
        size=site.size,
    )
    return draft_conv(draft, small, role="shift")
