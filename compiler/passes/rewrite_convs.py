"""What rewrites of single convolutions do: draft another form of each, and let it compete."""

from collections.abc import Callable

import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.conv_site import ConvSite, conv_site
from compiler.passes.draft import Draft
from compiler.passes.result import PassResult, Skip

DraftConv = Callable[[Draft, ConvSite], gs.Variable | str | None]


def rewrite_convs(
    name: str,
    graph: gs.Graph,
    cost: CostModel,
    draft_conv: DraftConv,
    *,
    concerns: Callable[[gs.Node], bool] | None = None,
) -> PassResult:
    """Replace every Conv by what `draft_conv` drafts for it, where that is cheaper.

    Args:
        name: Of the pass.
        graph: Edited in place.
        cost: Decides.
        draft_conv: Returns y; why there is none; or None if the pass is not about such a Conv.
        concerns: Tells by the node alone whether the pass is about it. With it, a Conv that cannot
            be read as numbers is reported; without it, passed over.
    """
    result = PassResult(name)
    for conv in [node for node in graph.nodes if node.op == "Conv"]:
        if concerns is not None and not concerns(conv):
            continue
        site, old = conv_site(conv), conv.outputs[0]
        draft = Draft(graph, conv.name)
        if isinstance(site, str):
            y: gs.Variable | str | None = None if concerns is None else site
        else:
            y = draft_conv(draft, site)
        if y is None:
            continue
        reason = y if isinstance(y, str) else draft.replace(old, y, cost)
        if reason is None:
            result.changed += 1
        else:
            result.skipped.append(Skip(old.name, reason))
    return result
