"""A profile for a person at the terminal, and for a program."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.node_times import GraphProfile, NodeTime, Profile
from compiler.report.table import new_table

NOTHING = "-"


def profile_tables(profile: Profile, limit: int) -> list[Table]:
    """The slowest nodes of each network, then both by operator, side by side.

    Args:
        profile: What was measured.
        limit: Most nodes to show of each network; 0 shows all.
    """
    networks = [("compiled", profile.compiled), ("original", profile.original)]
    tables = [
        _node_table(f"{profile.name} ({profile.dtype}), {label}: nodes", graph, limit)
        for label, graph in networks
        if graph is not None
    ]
    return [*tables, _operator_table(profile)]


def profile_facts(profile: Profile) -> dict[str, Any]:  # Any: a JSON object
    """A profile as a JSON object: every field, the sums and the rates."""
    facts = asdict(profile)
    facts["compiled"] = _graph_facts(profile.compiled)
    facts["original"] = None if profile.original is None else _graph_facts(profile.original)
    return facts


def _graph_facts(graph: GraphProfile) -> dict[str, Any]:  # Any: a JSON object
    return {
        "run_milliseconds": graph.run_milliseconds,
        "node_milliseconds": graph.node_milliseconds,
        "macs": graph.macs,
        "computed_macs": graph.computed_macs,
        "operators": dict(graph.operators),
        "nodes": [
            asdict(node)
            | {
                "share": graph.share(node.milliseconds),
                "gmacs_per_second": node.gmacs_per_second,
                "gbytes_per_second": node.gbytes_per_second,
            }
            for node in graph.nodes
        ],
    }


def _node_table(title: str, graph: GraphProfile, limit: int) -> Table:
    table = new_table(title, ("node", "operator"), ("ms", "share", "MMAC", "MB", "GMAC/s", "GB/s"))
    shown = graph.nodes[: limit or None]
    for node in shown:
        table.add_row(Text(node.name), node.op, *_times(graph, node.milliseconds), *_work(node))
    if rest := graph.nodes[len(shown) :]:
        time = sum(node.milliseconds for node in rest)
        table.add_row(f"{len(rest)} more", "", *_times(graph, time), "", "", "", "")
    return table


def _operator_table(profile: Profile) -> Table:
    table = new_table(
        f"by operator; mean of {profile.runs} runs, threads: {profile.threads}", ("operator",)
    )
    compiled, original = profile.compiled, profile.original
    networks = [compiled] if original is None else [original, compiled]
    for label in ("compiled",) if original is None else ("original", "compiled"):
        table.add_column(f"{label} ms", justify="right")
        table.add_column("share", justify="right")
    longest: dict[str, float] = {}
    for graph in networks:
        for op, time in graph.operators.items():
            longest[op] = max(time, longest.get(op, 0.0))
    for op in sorted(longest, key=lambda op: -longest[op]):
        cells = [_times(graph, graph.operators.get(op)) for graph in networks]
        table.add_row(op, *(cell for pair in cells for cell in pair))
    table.add_section()
    for label, values in (
        ("all nodes, ms", [f"{graph.node_milliseconds:.3f}" for graph in networks]),
        ("overhead, ms", [_overhead(graph) for graph in networks]),
        ("run, ms", [f"{graph.run_milliseconds:.3f}" for graph in networks]),
        ("MMAC of the network", [f"{graph.macs / 1e6:.2f}" for graph in networks]),
        ("MMAC computed", [f"{graph.computed_macs / 1e6:.2f}" for graph in networks]),
    ):
        table.add_row(label, *(cell for value in values for cell in (value, "")))
    return table


def _times(graph: GraphProfile, milliseconds: float | None) -> tuple[str, str]:
    if milliseconds is None:
        return NOTHING, ""
    return f"{milliseconds:.3f}", f"{graph.share(milliseconds):.1%}"


def _work(node: NodeTime) -> tuple[str, str, str, str]:
    rates = (f"{node.gmacs_per_second:.1f}", f"{node.gbytes_per_second:.1f}")
    macs = f"{node.macs / 1e6:.2f}" if node.macs else NOTHING
    return macs, f"{node.bytes / 1e6:.2f}", rates[0] if node.macs else NOTHING, rates[1]


def _overhead(graph: GraphProfile) -> str:
    return f"{graph.run_milliseconds - graph.node_milliseconds:.3f}"
