"""A two-dimensional convolution as numbers, apart from the node that computes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.query import constant_value, is_static
from compiler.passes.draft import Draft

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConvSite:
    """y = Conv(x) with constant weights and static shapes, batch included.

    Args:
        x: Input, shape (N, Cin, H, W).
        weight: Kernel (Cout, Cin / groups, kh, kw), in float64 so that compositions round once.
        bias: (Cout,), zeros where the node has none.
        pads: (top, left, bottom, right).
        strides: (vertical, horizontal).
        dilations: (vertical, horizontal).
        groups: Number of groups.
        size: (H', W') of the output.
    """

    x: gs.Tensor
    weight: Floats
    bias: Floats
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    groups: int
    size: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        """(kh, kw)."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.weight.shape[0])

    @property
    def output_shape(self) -> list[int]:
        """Shape of y."""
        return [int(self.x.shape[0]), self.channels, *self.size]

    def part(self, x: gs.Tensor, first: int, *, bias: bool) -> "ConvSite":
        """The share of `x` in y, where x is one operand of the Concat that this site reads.

        Args:
            x: Operand of the Concat over channels.
            first: Its first channel in the Concat; groups must be 1.
            bias: Whether this part carries the bias; exactly one may.
        """
        weight = self.weight[:, first : first + int(x.shape[1])]
        return replace(self, x=x, weight=weight, bias=self.bias if bias else 0 * self.bias)


def conv_site(node: gs.Node) -> ConvSite | str:
    """The site of a Conv node, or why it cannot be rewritten."""
    constants = [constant_value(tensor) for tensor in node.inputs[1:] if tensor.name]
    if any(values is None for values in constants):
        return "its weights are not constant"
    weight = constants[0]
    if weight is None or weight.ndim != 4:
        return "it is not two-dimensional"
    x, y = node.inputs[0], node.outputs[0]
    if not (is_static(x) and is_static(y)):
        return "its shapes are not static"
    if x.dtype != np.float32:
        return "it is not float32"
    if "SAME" in node.attrs.get("auto_pad", ""):
        return f"it pads by auto_pad = {node.attrs['auto_pad']}"
    bias = constants[1] if len(constants) > 1 else None
    return ConvSite(
        x=x,
        weight=weight.astype(np.float64),
        bias=np.zeros(len(weight)) if bias is None else bias.astype(np.float64),
        pads=_four(node.attrs.get("pads", (0, 0, 0, 0))),
        strides=_two(node.attrs.get("strides", (1, 1))),
        dilations=_two(node.attrs.get("dilations", (1, 1))),
        groups=int(node.attrs.get("group", 1)),
        size=(int(y.shape[2]), int(y.shape[3])),
    )


def draft_conv(draft: Draft, site: ConvSite, *, role: str) -> gs.Variable:
    """Draft the Conv of `site` itself; without a bias input where the bias is zero."""
    inputs = [site.x, draft.constant(f"{role}/weight", site.weight)]
    if site.bias.any():
        inputs.append(draft.constant(f"{role}/bias", site.bias))
    return draft.add(
        "Conv",
        inputs,
        site.output_shape,
        role=role,
        kernel_shape=list(site.kernel),
        pads=list(site.pads),
        strides=list(site.strides),
        dilations=list(site.dilations),
        group=site.groups,
    )


def _two(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _four(values: Sequence[int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = values
    return int(top), int(left), int(bottom), int(right)
