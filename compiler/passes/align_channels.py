"""Pad the channels of a Conv with zeros to the multiples that the integer kernel is made for.

ONNX Runtime computes an int8 Conv with a kernel size above 1 in place if it has a multiple of 4
input channels and of 16 output channels; otherwise it gathers every tap of every pixel into a
matrix first, which takes longer than the arithmetic. Zero channels of x meet zero weights, and the
outputs of zero weights are sliced off, so that the sums are the same. (The percentile of a tensor
that has more zeros is another one.)
"""

from dataclasses import replace
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs

INPUTS: Final = 4
OUTPUTS: Final = 16


def align_channels(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Pad the channels of an int8 Conv with zeros to what the integer kernel computes in place."""
    if cost.precision != "int8":
        return PassResult("align_channels")
    return rewrite_convs("align_channels", graph, cost, _draft)


def _is_aligned(site: ConvSite) -> bool:
    return site.weight.shape[1] % INPUTS == 0 and site.channels % OUTPUTS == 0


def _draft(draft: Draft, site: ConvSite) -> gs.Variable | None:
    if site.groups != 1 or site.kernel == (1, 1) or _is_aligned(site):
        return None
    more_in = -site.weight.shape[1] % INPUTS
    more_out = -site.channels % OUTPUTS
    weight = np.pad(site.weight, ((0, more_out), (0, more_in), (0, 0), (0, 0)))
    x = site.x
    if more_in:
        shape = [int(size) for size in x.shape]
        shape[1] += more_in
        amounts = draft.constant("pads", np.array([0, 0, 0, 0, 0, more_in, 0, 0], np.int64))
        x = draft.add("Pad", [x, amounts], shape, role="padded")
    padded = replace(site, x=x, weight=weight, bias=np.pad(site.bias, (0, more_out)))
    y = draft_conv(draft, padded, role="aligned")
    if not more_out:
        return y
    return draft.slice(y, 1, 0, site.channels, role="channels")
