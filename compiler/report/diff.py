"""What differs between two networks, for a person at the terminal and for a program."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.build_diff import BuildDiff, ScaleChange
from compiler.pipeline.diff import Comparison, Diff, Side
from compiler.pipeline.graph_diff import GraphDiff, NodeChange, WeightChange
from compiler.report.table import new_table
from compiler.verify.result import TensorFigures

NOTHING = "-"
_HASH_DIGITS = 12


def verdict(diff: Diff) -> str:
    """The difference in one line."""
    if diff.identical:
        return f"{diff.a.path} and {diff.b.path} are identical"
    found = list(_counts(diff))
    if not found:
        return "the networks do not differ: same nodes, same weights"
    return f"B differs from A: {', '.join(found)}"


def diff_tables(diff: Diff, limit: int) -> list[Table]:
    """Both networks side by side, then what differs; a table without rows is left out.

    Args:
        diff: What was found.
        limit: Most nodes, scales and layers to show of each kind; 0 shows all.
    """
    if diff.identical:
        return []
    tables = [_side_table(diff)]
    if diff.graph is not None:
        tables += [_operator_table(diff.graph), _node_table(diff.graph, limit)]
    if diff.build is not None:
        tables.append(_build_table(diff.build))
    if diff.scales is not None:
        tables.append(_scale_table(diff.scales, limit))
    if diff.run is not None:
        tables += [_output_table(diff.run), _layer_table(diff.run, limit)]
    return [table for table in tables if table.row_count]


def diff_facts(diff: Diff) -> dict[str, Any]:  # Any: a JSON object
    """A diff as a JSON object: every field, and the ratios."""
    facts = asdict(diff)
    if diff.scales is not None:
        facts["scales"] = [asdict(one) | {"octaves": one.octaves} for one in diff.scales]
    if diff.run is not None:
        facts["run"]["ratio"] = diff.run.ratio
    return facts


def _counts(diff: Diff) -> Iterator[str]:
    """How many differences of each kind; none of those that do not occur."""
    graph, build = diff.graph, diff.build
    for what, found in {
        "nodes changed": graph.changed if graph else (),
        "nodes only in A": graph.only_a if graph else (),
        "nodes only in B": graph.only_b if graph else (),
        "operators in other numbers": graph.recounted if graph else (),
        "keys of the build file": build.keys if build else (),
        "versions": build.versions if build else (),
        "sources": build.sources if build else (),
        "scales": diff.scales or (),
        "files": build.files if build else (),
    }.items():
        if found:
            yield f"{what}: {len(found)}"
    for what in ("inputs", "outputs", "opset"):
        if getattr(diff.a, what) != getattr(diff.b, what):
            yield what


def _side_table(diff: Diff) -> Table:
    a, b = diff.a, diff.b
    table = new_table("A and B", ("", "A", "B"))
    table.add_column("B / A", justify="right")
    table.add_row("network", Text(a.path), Text(b.path), "")
    table.add_row("form", _form(a), _form(b), "")
    for label, counts in (("inputs", (a.inputs, b.inputs)), ("outputs", (a.outputs, b.outputs))):
        if counts[0] != counts[1]:
            table.add_row(label, *(Text(", ".join(map(str, specs))) for specs in counts), "")
    table.add_row("opset", str(a.opset), str(b.opset), "")
    table.add_row("nodes", str(a.nodes), str(b.nodes), _ratio(a.nodes, b.nodes))
    table.add_row("size, bytes", f"{a.size:,}", f"{b.size:,}", _ratio(a.size, b.size))
    table.add_row("MMAC", f"{a.macs / 1e6:.2f}", f"{b.macs / 1e6:.2f}", _ratio(a.macs, b.macs))
    if run := diff.run:
        times = [f"{time:.2f} ms" for time in run.milliseconds]
        table.add_row(f"latency ({run.threads} threads)", *times, f"{run.ratio:.2f}")
    return table


def _operator_table(graph: GraphDiff) -> Table:
    table = new_table("operators", ("operator",))
    for heading in ("A", "B", "B - A"):
        table.add_column(heading, justify="right")
    for op, (a, b) in graph.operators.items():
        table.add_row(op, str(a), str(b), f"{b - a:+}" if a != b else "")
    return table


def _node_table(graph: GraphDiff, limit: int) -> Table:
    title = (
        f"nodes: {len(graph.changed)} changed, {len(graph.only_a)} only in A, "
        f"{len(graph.only_b)} only in B; SQNR of weights in B against those in A"
    )
    table = new_table(title, ("node", "A", "B", "difference"))
    for change in graph.changed[: limit or None]:
        differences = Text("; ".join(_differences(change)))
        table.add_row(Text(change.name), _ops(change.a), _ops(change.b), differences)
    _add_rest(table, len(graph.changed), limit, "", "", "changed")
    for groups, absent in ((graph.only_a, False), (graph.only_b, True)):
        where = "only in B" if absent else "only in A"
        for group in groups[: limit or None]:
            ops = _ops(group.operators)
            cells = (NOTHING, ops) if absent else (ops, NOTHING)
            table.add_row(Text(group.name), *cells, where)
        ops = _ops(op for group in groups[limit:] for op in group.operators)
        _add_rest(table, len(groups), limit, "", "", f"{where}: {ops}")
    return table


def _differences(change: NodeChange) -> Iterator[str]:
    if change.a != change.b:
        yield "rewritten"
    for one in change.attributes:
        yield f"{one.name} {_value(one.a)} -> {_value(one.b)}"
    if change.inputs:
        yield f"reads {', '.join(change.inputs[0])} -> {', '.join(change.inputs[1])}"
    yield from (_weight(change.name, one) for one in change.weights)


def _weight(node: str, change: WeightChange) -> str:
    name = change.name.removeprefix(f"{node}.")
    stored = change.a if change.a == change.b else f"{_value(change.a)} -> {_value(change.b)}"
    sqnr = "" if change.sqnr_db is None else f" ({change.sqnr_db:.1f} dB)"
    return f"{name} {stored}{sqnr}"


def _build_table(build: BuildDiff) -> Table:
    table = new_table("builds", ("", "A", "B"))
    for change in build.keys:
        table.add_row(Text(change.key), Text(_value(change.a)), Text(_value(change.b)))
    for change in build.versions:
        table.add_row(f"version of {change.key}", _value(change.a), _value(change.b))
    for change in build.sources:
        hashes = (Text(_short(change.a)), Text(_short(change.b)))
        table.add_row(f"source: {change.key}", *hashes)
    for change in build.files:
        table.add_row(f"file {change.key}", _short(change.a), _short(change.b))
    return table


def _scale_table(scales: Sequence[ScaleChange], limit: int) -> Table:
    table = new_table(f"scales: {len(scales)} differ", ("tensor", "method"))
    for heading in ("threshold", "scale", "zero point", "log2 B / A"):
        table.add_column(heading, justify="right")
    for change in scales[: limit or None]:
        a, b = change.a, change.b
        if a is None or b is None:
            table.add_row(Text(change.tensor), "only in B" if a is None else "only in A")
            continue
        table.add_row(
            Text(change.tensor),
            _moved(a.method, b.method),
            _moved(f"{a.threshold:.4g}", f"{b.threshold:.4g}"),
            _moved(f"{a.scale:.4g}", f"{b.scale:.4g}"),
            _moved(str(a.zero_point), str(b.zero_point)),
            f"{change.octaves:+.3f}",
        )
    _add_rest(table, len(scales), limit)
    return table


def _output_table(run: Comparison) -> Table:
    table = new_table("outputs of B against A", (f"output, on {run.fed}",))
    _add_figure_columns(table)
    for output in run.outputs:
        table.add_row(Text(output.name), *_figures(output))
    return table


def _layer_table(run: Comparison, limit: int) -> Table:
    table = new_table("inner tensors that both have, worst first", ("node", "operator", "tensor"))
    _add_figure_columns(table)
    rescaled = any(layer.rescaled for layer in run.layers)
    if rescaled:
        table.add_column("channels rescaled", justify="right")
    for layer in run.layers[: limit or None]:
        names = Text(layer.node), layer.op, Text(layer.figures.name)
        channels = [str(layer.rescaled or "")] if rescaled else []
        table.add_row(*names, *_figures(layer.figures), *channels)
    _add_rest(table, len(run.layers), limit)
    return table


def _add_figure_columns(table: Table) -> None:
    for heading in ("cosine", "SQNR dB", "max error"):
        table.add_column(heading, justify="right", no_wrap=True)


def _figures(figures: TensorFigures) -> tuple[str, str, str]:
    if figures.max_error == 0:
        return "equal", "", ""
    return f"{figures.cosine:.6f}", f"{figures.sqnr_db:.2f}", f"{figures.max_error:.4g}"


def _add_rest(table: Table, count: int, limit: int, *cells: str) -> None:
    """A row for those beyond the limit."""
    if limit and count > limit:
        table.add_row(f"{count - limit} more", *cells)


def _form(side: Side) -> str:
    return f"{side.dtype} {side.kind}".strip()


def _ops(ops: Iterable[str]) -> str:
    counts = Counter(ops)
    return ", ".join(op if times == 1 else f"{times} {op}" for op, times in counts.items())


def _moved(a: str, b: str) -> str:
    return a if a == b else f"{a} -> {b}"


def _value(value: object) -> str:
    return NOTHING if value is None else str(value)


def _short(named_hash: object) -> str:
    """A name and the first digits of its SHA-256."""
    if named_hash is None:
        return NOTHING
    *name, digest = str(named_hash).rsplit(" ", 1)
    return " ".join([*name, digest[:_HASH_DIGITS]])


def _ratio(a: int, b: int) -> str:
    return f"{b / a:.2f}" if a else NOTHING
