"""Runs a tuple of passes until nothing changes, and names the pass that breaks the graph."""

import logging
from collections.abc import Sequence
from typing import Final

import onnx_graphsurgeon as gs

from compiler.errors import GraphError
from compiler.graph.convert import check_graph
from compiler.passes import Pass, name_of
from compiler.passes.result import PassResult

_LOG = logging.getLogger(__name__)
ROUNDS: Final = 10  # networks need two or three; a bound, in case two passes undo each other


def run_passes(
    graph: gs.Graph, passes: Sequence[Pass], *, rounds: int = ROUNDS
) -> list[PassResult]:
    """Run `passes` in order, again and again until a whole round changes nothing.

    Args:
        graph: Edited in place.
        passes: Such as `FLOAT_PASSES`.
        rounds: At most; 1 for passes that are not repeated, such as `FLOAT16_PASSES`.

    Returns:
        One result per pass: sites rewritten in all rounds, sites still declined in the last one,
        and every warning once.

    Raises:
        GraphError: A pass failed or left an invalid graph; the message names it and the passes
            before it.
    """
    results = latest = _round(graph, passes)
    for _ in range(1, rounds):
        if not any(result.changed for result in latest):
            break
        latest = _round(graph, passes)
        results = [_merge(*pair) for pair in zip(results, latest, strict=True)]
    else:
        if rounds > 1 and any(result.changed for result in latest):
            _LOG.warning("passes still changed the graph after %d rounds", rounds)
    _LOG.info("%d nodes remain after passes", len(graph.nodes))
    return results


def _round(graph: gs.Graph, passes: Sequence[Pass]) -> list[PassResult]:
    results: list[PassResult] = []
    for step in passes:
        try:
            result = step(graph)
            if result.changed:
                check_graph(graph)
        except Exception as error:  # any failure of a pass is reported with its name
            before = ", ".join(result.name for result in results if result.changed)
            raise GraphError(
                f"pass {name_of(step)} failed after {before or 'no change by others'}: {error}",
                where=f"graph '{graph.name}'",
                fix="this is a defect of modc; please report it with the network",
            ) from error
        results.append(result)
    return results


def merge_results(results: Sequence[PassResult]) -> list[PassResult]:
    """One result per pass, where a pass ran in several schedules; in order of its first run."""
    merged: dict[str, PassResult] = {}
    for result in results:
        known = merged.get(result.name)
        merged[result.name] = result if known is None else _merge(known, result)
    return list(merged.values())


def _merge(before: PassResult, latest: PassResult) -> PassResult:
    return PassResult(
        name=latest.name,
        changed=before.changed + latest.changed,
        skipped=latest.skipped,
        warnings=list(dict.fromkeys([*before.warnings, *latest.warnings])),
    )
