"""A benchmark for a person at the terminal, and for a program."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.bench.fresh import STEPS, Holding, Loading, Sharing
from compiler.bench.measure import Benchmark, Row
from compiler.bench.memory import NOTHING, Memory
from compiler.bench.statistics import Spread
from compiler.report.table import new_table

MIB = 2**20
UNKNOWN = "-"
TIMES = ("mean", "min", "p50", "p90", "p95", "p99", "max")


def bench_tables(found: Benchmark) -> list[Table]:
    """Times of all contestants, ratios, starts and memory; those that were measured."""
    tables = [_times_table(found)]
    if found.ratios:
        tables.append(_ratio_table(found))
    if found.loadings:
        tables.append(_loading_table(found.loadings))
    if any(one.after for one in found.holdings):
        tables.append(_memory_table(found.holdings))
    return [*tables, *map(_sharing_table, found.sharings)]


def bench_facts(found: Benchmark) -> dict[str, Any]:  # Any: a JSON object
    """A benchmark as a JSON object: every field. Times are milliseconds, memory is bytes."""
    facts = asdict(found)
    if found.plan.image is not None:
        facts["plan"]["image"] = str(found.plan.image)
    return facts


def bench_notes(found: Benchmark) -> list[str]:
    """Sentences that belong to the tables: machine, load and energy."""
    machine = found.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    notes = [f"{machine.cpu}, {machine.cores} CPUs, {machine.system}; {versions}"]
    if machine.load is not None and found.load_after is not None:
        notes.append(
            f"processes that wanted a CPU: {machine.load:.1f} before, {found.load_after:.1f} after"
        )
    if found.no_energy is not None:
        notes.append(f"no energy: {found.no_energy}")
    return notes


def _times_table(found: Benchmark) -> Table:
    rounds = found.rows[0].throughput.rounds
    table = new_table(
        f"{found.name} ({found.dtype}), fed {found.fed}: latency of a request in ms, and samples "
        f"per second (quartiles) of {rounds} rounds in turns",
        ("network", "engine", "course"),
        ("threads", "instances", "batch", *TIMES, "samples", "samples/s", "", "J/sample"),
    )
    for row in found.rows:
        times = row.milliseconds
        figures = (times.mean, times.minimum, times.p50, times.p90, times.p95, times.p99)
        table.add_row(
            Text(row.path),
            *_setting(row),
            *(f"{value:.3f}" for value in (*figures, times.maximum)),
            str(row.samples),
            f"{row.throughput.median:.2f}",
            f"({row.throughput.lower:.2f}–{row.throughput.upper:.2f})",
            UNKNOWN if row.joules is None else f"{row.joules:.4g}",
        )
    return table


def _ratio_table(found: Benchmark) -> Table:
    other = found.plan.compare
    table = new_table(
        f"{found.prefix} against {other}: how many times as fast it is; median of the rounds' "
        "ratios (quartiles)",
        ("engine", "course"),
        ("threads", "instances", "batch", "latency", "", "throughput", ""),
    )
    for ratio in found.ratios:
        table.add_row(
            *_setting(found.rows[ratio.row]),
            *_ratio(ratio.latency),
            *_ratio(ratio.throughput),
        )
    return table


def _loading_table(loadings: Sequence[Loading]) -> Table:
    rounds = loadings[0].milliseconds["total"].rounds
    titles = [step.replace("_", " ") for step in STEPS]
    table = new_table(
        f"start of a process, ms; median of {rounds} (quartiles of the total)",
        ("engine", "start"),
        ("threads", "cached", *titles, "total", ""),
    )
    for one in loadings:
        total = one.milliseconds["total"]
        table.add_row(
            one.engine,
            one.start,
            str(one.threads),
            UNKNOWN if one.cached is None else f"{one.cached:.0%}",
            *(f"{one.milliseconds[step].median:.1f}" for step in (*STEPS, "total")),
            f"({total.lower:.1f}–{total.upper:.1f})",
        )
    return table


def _memory_table(holdings: Sequence[Holding]) -> Table:
    table = new_table(
        "memory of a process that ran it, MiB",
        ("engine", "when"),
        ("threads", "RSS", "Pss", "private", "shared", "anonymous", "peak RSS"),
    )
    for one in holdings:
        for when, memory, peak in (
            ("after the imports", one.before, None),
            ("after some runs", one.after, one.peak),
        ):
            if memory is not None:
                cells = (memory.rss, memory.pss, memory.private, memory.shared, memory.anonymous)
                shown = [*map(_mib, cells), "" if peak is None else _mib(peak)]
                table.add_row(one.engine, when, str(one.threads), *shown)
    return table


def _sharing_table(one: Sharing) -> Table:
    table = new_table(
        f"{one.processes} processes on one bundle ({one.engine}, threads: {one.threads}), MiB",
        ("pages of",),
        ("Pss of one alone", f"Pss of all {one.processes}", "private", "shared"),
    )
    for kind, memory in one.together.items():
        table.add_row(kind, _mib(one.alone[kind].pss), *_shared(memory))
    together = sum(one.together.values(), NOTHING)
    alone = sum(memory.pss for memory in one.alone.values())
    table.add_section()
    table.add_row("all", _mib(alone), *_shared(together))
    return table


def _setting(row: Row) -> tuple[str, ...]:
    engine = f"auto: {row.engine}" if row.asked == "auto" else row.engine
    return engine, row.course, str(row.threads), str(row.instances), str(row.batch)


def _ratio(spread: Spread) -> tuple[str, str]:
    return f"{spread.median:.3f}", f"({spread.lower:.3f}–{spread.upper:.3f})"


def _shared(memory: Memory) -> tuple[str, str, str]:
    return _mib(memory.pss), _mib(memory.private), _mib(memory.shared)


def _mib(size: int) -> str:
    return f"{size / MIB:.1f}"
