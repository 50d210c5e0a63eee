"""Compose ConvTranspose and the Conv that follows it into one map at low resolution.

u = ConvTranspose(x) with kernel T, stride s, no pads, bias b; y = Conv(u) with kernel W (k taps),
stride 1, pads p. Without b, u[i] = sum over q of T[i - s q] x[q], for i inside u and outside alike,
where both are 0. So per axis

    y[o] = sum over d, q of W[d] T[o + d - p - s q] x[q] = sum over q of K[o + start - s q] x[q]
    K[j] = sum over d of W[d] T[j - (k - 1) + d],  start = k - 1 - p

which is a transposed convolution again, with k + k_T - 1 taps: see passes/phases.py. At k_T = s = 2
and k = 3 the phases are four 2x2 Convs of the small map, 16 products per small pixel instead of
4 + 36.

b reaches y through those taps of W that lie inside u: the same sum almost everywhere, less at the
border. What most outputs get joins the Conv's bias. The difference is one vector for every set of
taps that some row and column miss, few in number, which two Gathers spread over the map that is
added; as neither reads an input, ONNX Runtime does that once, when it loads the model.
"""

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import CostModel, Precision
from compiler.graph.query import producer
from compiler.passes.conv_site import ConvSite
from compiler.passes.draft import Draft
from compiler.passes.phases import Floats, TransposedConv, draft_phases
from compiler.passes.replace_conv_transpose import transposed_site
from compiler.passes.result import PassResult
from compiler.passes.rewrite_convs import rewrite_convs


def compose_conv_transpose(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Compose every Conv with the ConvTranspose that it reads, where that is cheaper."""
    return rewrite_convs(
        "compose_conv_transpose",
        graph,
        cost,
        lambda draft, site: draft_composed_transpose(draft, site, cost.precision),
        concerns=lambda conv: _transpose_before(conv.inputs[0]) is not None,
    )


def draft_composed_transpose(
    draft: Draft, site: ConvSite, precision: Precision = "fp32"
) -> gs.Variable | str:
    """Draft the Conv of `site` and the ConvTranspose that it reads as one.

    Args:
        draft: Takes the nodes.
        site: May be one part of a Conv over a Concat.
        precision: What the nodes will run in.

    Returns:
        y, or why it does not apply.
    """
    node = _transpose_before(site.x)
    if node is None:
        return "its input comes from no ConvTranspose"
    transposed = transposed_site(node)
    if isinstance(transposed, str):
        return f"ConvTranspose '{node.name}': {transposed}"
    if any(node.attrs.get("pads", ())):
        return "the ConvTranspose crops its result"
    if (site.strides, site.dilations) != ((1, 1), (1, 1)):
        return "it has strides or dilations"
    if site.groups * transposed.groups > 1:
        return "it or the ConvTranspose has groups"
    everywhere, border, classes = _bias_classes(site, transposed)
    y = draft_phases(draft, _composed(site, transposed, site.bias + everywhere), precision)
    return _add_border(draft, y, border, classes) if border.any() else y


def _transpose_before(x: gs.Tensor) -> gs.Node | None:
    node = producer(x)
    return node if node is not None and node.op == "ConvTranspose" else None


def _composed(site: ConvSite, transposed: TransposedConv, bias: Floats) -> TransposedConv:
    """K of the module's algebra."""
    (rows, columns), (inner_rows, inner_columns) = site.kernel, transposed.kernel.shape[2:]
    shape = (rows + inner_rows - 1, columns + inner_columns - 1)
    kernel = np.zeros((site.channels, transposed.kernel.shape[1], *shape))
    products = np.einsum("omde,mcij->deocij", site.weight, transposed.kernel, optimize=True)
    for row, column in np.ndindex(rows, columns):
        top, left = rows - 1 - row, columns - 1 - column
        kernel[:, :, top : top + inner_rows, left : left + inner_columns] += products[row, column]
    top, left, *_ = site.pads
    return TransposedConv(
        x=transposed.x,
        kernel=kernel,
        bias=bias,
        strides=transposed.strides,
        start=(rows - 1 - top, columns - 1 - left),
        size=site.size,
    )


def _bias_classes(
    site: ConvSite, transposed: TransposedConv
) -> tuple[Floats, Floats, list[NDArray[np.int64]]]:
    """What the bias of the ConvTranspose adds to y.

    Returns:
        (Cout,) most outputs; (1, Cout, row classes, column classes) the others' difference from
        it; and the class of every row and every column of y.
    """
    seen, classes, most = [], [], []
    for axis in (0, 1):
        positions = np.arange(site.size[axis])[:, None] - site.pads[axis]
        taps = positions + np.arange(site.kernel[axis])
        inside = (taps >= 0) & (taps < site.x.shape[2 + axis])
        kinds, of_output, counts = np.unique(
            inside, axis=0, return_inverse=True, return_counts=True
        )
        seen.append(kinds.astype(np.float64))
        classes.append(of_output.reshape(-1).astype(np.int64))
        most.append(int(counts.argmax()))
    vectors = np.einsum("omde,m,rd,ce->orc", site.weight, transposed.bias, *seen, optimize=True)
    everywhere = vectors[:, most[0], most[1]]
    return everywhere, (vectors - everywhere[:, None, None])[None], classes


def _add_border(
    draft: Draft, y: gs.Variable, border: Floats, classes: list[NDArray[np.int64]]
) -> gs.Variable:
    batch, channels, height, width = y.shape
    kinds = draft.constant("border", border)
    row_of, column_of = (
        draft.constant(f"border/{role}", values)
        for role, values in zip(("rows", "columns"), classes, strict=True)
    )
    shape = [1, channels, height, border.shape[3]]
    rows = draft.add("Gather", [kinds, row_of], shape, role="border_rows", axis=2)
    shape = [1, channels, height, width]
    spread = draft.add("Gather", [rows, column_of], shape, role="border_map", axis=3)
    return draft.add("Add", [y, spread], [batch, channels, height, width], role="border_added")
