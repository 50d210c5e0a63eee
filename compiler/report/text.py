"""Results for a person at the terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table

from compiler.passes.result import PassResult
from compiler.pipeline import Build
from compiler.pipeline.search import SearchResult

UNREST: Final = 1.5
"""From here on turns of one network differ by more than the gains that people look for."""


def summary_table(build: Build) -> Table:
    """One table that says what was built, what it costs and what it lost."""
    table = Table(title=f"{build.name} ({build.dtype})", title_justify="left")
    for heading in ("", "fp32", "compiled", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    size, latency = build.size, build.latency
    table.add_row(
        "size",
        _mib(size.fp32),
        _mib(size.compiled),
        _ratio(size.fp32 / size.compiled, "smaller", "larger"),
    )
    table.add_row(
        f"latency ({latency.threads} threads)",
        f"{latency.fp32:.2f} ms",
        f"{latency.compiled:.2f} ms",
        _ratio(latency.fp32 / latency.compiled, "faster", "slower") + _unrest(latency.unrest),
    )
    result = build.verification
    if task := result.task:
        table.add_row(
            f"{task.metric} ({task.images} images)",
            f"{task.fp32:.2f}",
            f"{task.compiled:.2f}",
            f"{-task.drop:+.2f} points",
        )
    origin = f"{result.samples} {result.origin}"
    table.add_row("cosine similarity", "", f"{result.cosine:.6f}", origin)
    table.add_row("SQNR", "", f"{result.sqnr_db:.2f} dB", origin)
    if build.integer_layers:
        done, planned = build.integer_layers
        table.add_row("layers on integers", "", f"{done} of {planned}", "")
    return table


def search_text(search: SearchResult) -> str:
    """What the accuracy search decided, with lines to paste that make it permanent."""
    count = len(search.layers)
    head = (
        f"search: {len(search.trials)} sets tried, {search.drop:.2f} points lost with {count} "
        f"layer(s) in float; {search.reason}"
    )
    if not search.layers:
        return head
    return f"{head}\nto keep this choice without a search, paste:\n{search.patch}"


def pass_lines(results: Iterable[PassResult]) -> list[str]:
    """What every pass did and declined, and why; a reason shared by many sites is told once."""
    lines = []
    for result in results:
        lines.append(f"{result.name}: {result.changed} changed")
        reasons: dict[str, list[str]] = {}
        for skip in result.skipped:
            reasons.setdefault(skip.reason, []).append(skip.where)
        lines += [f"  declined: {reason}: {_names(where)}" for reason, where in reasons.items()]
        lines += [f"  warning: {warning}" for warning in result.warnings]
    return lines


def closing_table(outcomes: Sequence[tuple[str, str, int]]) -> Table:
    """Several builds: file, outcome in a few words, exit code."""
    table = Table(title=f"{len(outcomes)} builds", title_justify="left")
    for heading in ("build file", "result", "exit code"):
        table.add_column(heading)
    for name, outcome, code in outcomes:
        table.add_row(name, outcome, str(code))
    return table


def _ratio(gain: float, better: str, worse: str) -> str:
    return f"{gain:.2f}x {better}" if gain >= 1 else f"{1 / gain:.2f}x {worse}"


def _unrest(times: float) -> str:
    """What to know of a latency on a machine that did something else as well."""
    return f" (busy machine: turns differ {times:.1f}x)" if times >= UNREST else ""


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"


def _names(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
