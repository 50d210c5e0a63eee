"""Compute a 1x1 Conv before the Resize that it follows, on fewer pixels.

A Resize R is linear, acts on each channel alone, and each of its rows has weights that sum to 1
(see interpolation; nearest, linear and cubic alike). A 1x1 Conv acts on each pixel alone. So

    W R(x) + b = R(W x) + b = R(W x + b).

Exact for every mode, scale and number of groups; not with strides, which drop pixels, nor with
pads, which add pixels that the Resize would blend in. It pays where the Conv has not many more
outputs than inputs: the Resize afterwards works on the outputs.

A Conv over a Concat of Resizes is the sum of such Convs: split_concat_conv takes it apart.
"""

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.graph.query import constant_value, producer
from compiler.passes.conv_site import ConvSite, draft_conv
from compiler.passes.draft import Draft
from compiler.passes.interpolation import reads_resize, resize_operators
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs


def commute_resize_conv(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compute a 1x1 Conv before the Resize that it follows, where that is cheaper."""
    return rewrite_convs(
        "commute_resize_conv",
        graph,
        cost,
        draft_commuted_conv,
        concerns=lambda conv: reads_resize(conv) and list(conv.inputs[1].shape[2:]) == [1, 1],
    )


def draft_commuted_conv(draft: Draft, site: ConvSite) -> gs.Variable | str:
    """Draft y = Conv(Resize(x)) as Resize(Conv(x)), or say why that is impossible."""
    resize = producer(site.x)
    if resize is None or resize.op != "Resize":
        return "its input is not resized"
    if site.kernel != (1, 1) or site.strides != (1, 1) or any(site.pads):
        return "it is no 1x1 convolution of every pixel"
    operators = resize_operators(resize)
    if isinstance(operators, str):
        return operators
    low = resize.inputs[0]
    height, width = (int(size) for size in low.shape[2:])
    mixed = draft_conv(draft, replace(site, x=low, size=(height, width)), role="mix")
    return draft.add(
        "Resize",
        [mixed, *_other_inputs(draft, resize, site.channels)],
        site.output_shape,
        role="resized",
        **resize.attrs,
    )


def _other_inputs(draft: Draft, resize: gs.Node, channels: int) -> list[gs.Tensor]:
    """Region, scales and sizes of `resize`, when it has another number of channels."""
    others = list(resize.inputs[1:])
    values = constant_value(others[2]) if len(others) > 2 else None
    if values is not None:
        axes = resize.attrs.get("axes", range(4))
        sizes = [
            channels if axis in (1, -3) else size for axis, size in zip(axes, values, strict=True)
        ]
        others[2] = draft.constant("resized/sizes", np.array(sizes, np.int64))
    return others
