"""Conv after Resize as matrix products in channels-last layout, the form for int8.

With V_d [H', h] and U_e [W', w] the operators of kernel row d and kernel column e (border clamping
and zero padding included, see `rewrite_resize_conv`):

    y[o, q, c] = sum_h,d V_d[o, h] sum_w,e U_e[q, w] z[h, w, d, e, c]
    z[h, w, d, e, c] = sum_i W[c, i, d, e] x[i, h, w]

z is a 1x1 Conv at the low resolution. Channels last, the pairs (h, d) and (w, e) are made adjacent
by one copy of long rows, and both sums are MatMuls with a constant left operand. ONNX Runtime's
integer Conv works channels last as well, so that the Transposes at both ends cancel with its own.

The bias enters once: with the channels of a tap (d, e) that is never in the padding, whose V_d and
U_e have rows that sum to 1; where there is none, it is added at the end.
"""

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.cost.model import CostModel
from compiler.passes.conv_site import ConvSite
from compiler.passes.draft import Draft
from compiler.passes.strips import multiply

Floats = NDArray[np.float64]


def draft_channels_last(
    draft: Draft,
    site: ConvSite,
    low: gs.Tensor,
    rows: Sequence[Floats],
    columns: Sequence[Floats],
    cost: CostModel,
) -> gs.Variable | str:
    """Draft y = Conv(Resize(low)).

    Args:
        draft: Takes the nodes.
        site: The convolution, reading the enlarged map.
        low: The map before the Resize, shape (N, Cin, h, w).
        rows: One operator [H', h] per kernel row.
        columns: One operator [W', w] per kernel column.
        cost: Chooses the number of strips.

    Returns:
        y, shape (N, Cout, H', W'), or why there is no such form.
    """
    if site.groups != 1:
        return "it has groups"
    batch, inputs, height, width = (int(size) for size in low.shape)
    taps_v, taps_h = site.kernel
    weight = site.weight.transpose(2, 3, 0, 1).reshape(-1, inputs, 1, 1)
    bias = np.zeros((taps_v, taps_h, site.channels))
    inner = _never_padded(rows), _never_padded(columns)
    if inner[0] is not None and inner[1] is not None:
        bias[inner[0], inner[1]] = site.bias
    mixed = [low, draft.constant("mix/weight", weight)]
    if bias.any():
        mixed.append(draft.constant("mix/bias", bias.reshape(-1)))
    z = draft.add(
        "Conv", mixed, [batch, len(weight), height, width], role="mix", kernel_shape=[1, 1]
    )
    row = taps_h * site.channels
    z = draft.add(
        "Transpose",
        [z],
        [batch, height, width, taps_v * row],
        role="channels_last",
        perm=[0, 2, 3, 1],
    )
    z = draft.reshape(z, [batch, height, width, taps_v, row], role="taps")
    shape = [batch, height, taps_v, width, row]
    z = draft.add("Transpose", [z], shape, role="rows", perm=[0, 1, 3, 2, 4])
    z = draft.reshape(z, [batch, height * taps_v, width * row], role="row_taps")
    z = multiply(draft, np.stack(rows, -1), z, cost, role="vertical")
    z = draft.reshape(z, [batch, site.size[0], width * taps_h, site.channels], role="column_taps")
    z = multiply(draft, np.stack(columns, -1), z, cost, role="horizontal")
    y = draft.add("Transpose", [z], site.output_shape, role="channels_first", perm=[0, 3, 1, 2])
    if site.bias.any() and not bias.any():
        shift = draft.constant("bias", site.bias.reshape(1, -1, 1, 1))
        y = draft.add("Add", [y, shift], site.output_shape, role="biased")
    return y


def _never_padded(operators: Sequence[Floats]) -> int | None:
    """The tap whose reads are all inside, nearest to the middle."""
    middle = (len(operators) - 1) / 2
    inside = [i for i, one in enumerate(operators) if np.allclose(one.sum(1), 1, atol=1e-9)]
    return min(inside, key=lambda tap: abs(tap - middle), default=None)
