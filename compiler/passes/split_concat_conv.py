"""Split a Conv over a Concat of channels where operands can be convolved in a cheaper way.

    Conv(Concat(a, b)) = Conv_{W[:, a]}(a) + Conv_{W[:, b]}(b),   the bias in one of them

This alone never pays. It does where an operand is upsampled, spatially constant or comes from a
ConvTranspose, so that one of `REWRITERS` computes its share from fewer values. The operands that
stay are convolved together. Concats of Concats count as one.

Which operands to take, and by which rewriter, depends on the others: the last one that stays needs
no Concat, and if none stays there is no Conv and one Add less. So the choice starts from all that
can be taken and is improved one operand at a time, each time over the cost of the whole.

The terms are added smallest first (constant ones are 1x1 maps), and the Conv last, since ONNX
Runtime computes Conv + Add + Relu as one kernel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.cost.work import size_of
from compiler.graph.query import only_reader, producer
from compiler.passes.commute_resize_conv import draft_commuted_conv
from compiler.passes.compose_conv_transpose import draft_composed_transpose
from compiler.passes.conv_site import ConvSite, conv_site, draft_conv
from compiler.passes.draft import Draft, needed_only_for
from compiler.passes.result import PassResult, Skip
from compiler.passes.rewrite_constant_branch import draft_constant_branch, draft_expand
from compiler.passes.rewrite_nearest_conv import draft_nearest_conv
from compiler.passes.rewrite_resize_conv import draft_resize_conv

Rewriter = Callable[[Draft, ConvSite, CostModel], gs.Variable | str]

REWRITERS: Final[tuple[Rewriter, ...]] = (
    lambda draft, site, cost: draft_commuted_conv(draft, site),
    lambda draft, site, cost: draft_constant_branch(draft, site),
    lambda draft, site, cost: draft_resize_conv(draft, site, cost),
    lambda draft, site, cost: draft_nearest_conv(draft, site, cost.precision),
    lambda draft, site, cost: draft_composed_transpose(draft, site, cost.precision),
)


@dataclass(frozen=True)
class _Split:
    """A Conv over operands of a Concat, each with the rewriters that apply to its share.

    Args:
        conv: The node.
        site: The same as numbers.
        operands: Inputs of the Concat and their first channels in it.
        options: By index of the operand; only those that have any.
    """

    conv: gs.Node
    site: ConvSite
    operands: list[tuple[gs.Tensor, int]]
    options: Mapping[int, list[Rewriter]]


def split_concat_conv(graph: gs.Graph, *, cost: CostModel) -> PassResult:
    """Convolve operands of a Concat apart where that is cheaper."""
    result = PassResult("split_concat_conv")
    for conv in [node for node in graph.nodes if node.op == "Conv"]:
        split = _split(graph, conv, cost)
        if split is None:
            continue
        reason = split if isinstance(split, str) else _replace(graph, split, cost)
        if reason is None:
            result.changed += 1
        else:
            result.skipped.append(Skip(conv.outputs[0].name, reason))
    return result


def _split(graph: gs.Graph, conv: gs.Node, cost: CostModel) -> _Split | str | None:
    """How `conv` may be split, why it may not, or None if there is nothing to win."""
    tensors = _operands(graph, conv.inputs[0])
    if len(tensors) == 1:
        return None
    site = conv_site(conv)
    if isinstance(site, str):
        return site
    if site.groups > 1:
        return "it has groups"
    channels = np.cumsum([0, *(tensor.shape[1] for tensor in tensors)]).tolist()
    operands = list(zip(tensors, channels[:-1], strict=True))
    options = {}
    for index, (tensor, first) in enumerate(operands):
        part = site.part(tensor, first, bias=False)
        if applicable := [one for one in REWRITERS if _applies(graph, one, part, cost)]:
            options[index] = applicable
    return _Split(conv, site, operands, options) if options else None


def _operands(graph: gs.Graph, x: gs.Tensor) -> list[gs.Tensor]:
    """What `x` is a concatenation of over channels; `x` alone if it is none."""
    concat = producer(x)
    if concat is None or concat.op != "Concat" or concat.attrs["axis"] not in (1, -3):
        return [x]
    operands: list[gs.Tensor] = []
    for tensor in concat.inputs:
        inner = only_reader(graph, tensor) is concat
        operands.extend(_operands(graph, tensor) if inner else [tensor])
    return operands


def _applies(graph: gs.Graph, rewriter: Rewriter, part: ConvSite, cost: CostModel) -> bool:
    draft = Draft(graph, "applies")
    applies = not isinstance(rewriter(draft, part, cost), str)
    draft.discard()
    return applies


def _replace(graph: gs.Graph, split: _Split, cost: CostModel) -> str | None:
    plan = {index: options[0] for index, options in split.options.items()}
    for index, options in split.options.items():
        others = {key: rewriter for key, rewriter in plan.items() if key != index}
        plans = [{**others, index: rewriter} for rewriter in options]
        if others:
            plans.append(others)
        plan = min(plans, key=lambda one: _time(graph, split, one, cost))
    draft = Draft(graph, split.conv.name)
    return draft.replace(split.conv.outputs[0], _draft_sum(draft, split, plan, cost), cost)


def _time(graph: gs.Graph, split: _Split, plan: Mapping[int, Rewriter], cost: CostModel) -> float:
    """Predicted change, in ms, if the graph followed `plan`."""
    draft, old = Draft(graph, "time"), split.conv.outputs[0]
    new = _draft_sum(draft, split, plan, cost)
    before, after = draft.times(needed_only_for(graph, old), old, new, cost)
    draft.discard()
    return after - before


def _draft_sum(
    draft: Draft, split: _Split, plan: Mapping[int, Rewriter], cost: CostModel
) -> gs.Variable:
    """Draft y as the sum of the shares that `plan` names and of the Conv of the others."""
    staying = [one for index, one in enumerate(split.operands) if index not in plan]
    bearer = None if staying else min(plan)  # of the bias
    drafted = [
        rewriter(draft, split.site.part(*split.operands[index], bias=index == bearer), cost)
        for index, rewriter in plan.items()
    ]
    terms = sorted((term for term in drafted if not isinstance(term, str)), key=size_of)
    if staying:
        terms.append(_draft_staying(draft, split.site, staying))
    y = terms[0]
    for term in terms[1:]:
        shape = np.broadcast_shapes(y.shape, term.shape)
        y = draft.add("Add", [term, y], shape, role="sum")
    return draft_expand(draft, y, split.site.output_shape)


def _draft_staying(
    draft: Draft, site: ConvSite, operands: list[tuple[gs.Tensor, int]]
) -> gs.Variable:
    """Draft the Conv of the operands that stay, with the bias."""
    parts = [site.part(tensor, first, bias=True) for tensor, first in operands]
    weight = np.concatenate([part.weight for part in parts], axis=1)
    x = parts[0].x
    if len(parts) > 1:
        shape = [x.shape[0], weight.shape[1], *x.shape[2:]]
        x = draft.add("Concat", [part.x for part in parts], shape, role="staying/x", axis=1)
    return draft_conv(draft, replace(site, x=x, weight=weight), role="staying")
