"""What an inspection of calibration data found, for a person at the terminal and for a program."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from compiler.pipeline.calibration_set import ChannelFigures, Inspection, Watched
from compiler.report.table import new_table

_KINDS: Final = ("format", "mode", "size")


def inspection_tables(found: Inspection, limit: int) -> Iterator[Table]:
    """Kinds of files, channels, findings, and what the network says.

    Args:
        found: The inspection.
        limit: Most rows of each table; 0 shows all.
    """
    yield _files_table(found, limit)
    if found.pixels is not None:
        yield _channels_table(found.pixels, found.received, found.channels)
    if found.watched is not None and found.watched.tensors:
        yield _settling_table(found.watched)
        yield _leaders_table(found.watched, limit)
        yield _extremes_table(found.watched, limit)
    if found.findings:
        yield _findings_table(found, limit)


def verdict(found: Inspection) -> str:
    """One line: how many files, how many can be used, how many faults."""
    usable = len(found.entries)
    text = f"{found.name}: {found.looked_at} of {found.found} files, {usable} can be used"
    remarks = len(found.findings) - len(found.faults)
    return f"{text}; {_number(len(found.faults), 'fault')}, {_number(remarks, 'remark')}"


def inspection_facts(found: Inspection) -> dict[str, Any]:  # Any: a JSON object
    """The same as a JSON object, everything."""
    return {
        "name": found.name,
        "folder": str(found.folder),
        "found": found.found,
        "looked_at": found.looked_at,
        "usable": len(found.entries),
        "formats": found.formats,
        "modes": found.modes,
        "sizes": found.sizes,
        "unusable": [asdict(one) for one in found.unusable],
        "copies": [asdict(one) for one in found.copies],
        "tones": {entry.name: entry.tone for entry in found.entries if entry.tone},
        "pixels": None if found.pixels is None else asdict(found.pixels),
        "received": None if found.received is None else asdict(found.received),
        "channels": found.channels,
        "watched": None if found.watched is None else asdict(found.watched),
        "lint": None if found.lint is None else asdict(found.lint),
        "faults": len(found.faults),
        "findings": [asdict(one) for one in found.findings],
        "notes": list(found.notes),
    }


def _files_table(found: Inspection, limit: int) -> Table:
    table = new_table("files that can be used", ("by", "value"), ("files",))
    for kind, counts in zip(_KINDS, (found.formats, found.modes, found.sizes), strict=True):
        shown = list(counts.items())[: limit or None]
        for value, count in shown:
            table.add_row(kind, value, str(count))
        if rest := sum(counts.values()) - sum(count for _, count in shown):
            table.add_row(kind, f"{len(counts) - len(shown)} more", str(rest))
    return table


def _channels_table(
    pixels: ChannelFigures, received: ChannelFigures | None, channels: str
) -> Table:
    table = new_table("channels over the set", ("values", "mean", "deviation"))
    table.add_row(
        "decoded, RGB, 0 to 255",
        _numbers(pixels.mean, ".1f"),
        _numbers(pixels.deviation, ".1f"),
    )
    if received is not None:
        order = f", {channels}" if channels else ""
        table.add_row(
            f"received by the network{order}",
            _numbers(received.mean, ".4g"),
            _numbers(received.deviation, ".4g"),
        )
    return table


def _settling_table(watched: Watched) -> Table:
    """Difference to the scales of all samples that nine tenths of the tensors do not exceed."""
    counts = watched.settling[0].counts
    title = f"scales of {watched.tensors} tensors: difference to all {counts[-1]} samples, 90 %"
    table = new_table(title, ("rule",), ("settled with", *map(str, counts)))
    for one in watched.settling:
        settled = f"> {counts[-1]}" if one.settled is None else str(one.settled)
        chosen = f"{one.method} (chosen)" if one.method == watched.method else one.method
        table.add_row(chosen, settled, *(f"{gap:.1%}" for gap in one.gaps))
    return table


def _leaders_table(watched: Watched, limit: int) -> Table:
    table = new_table(
        "samples in which tensors reach farthest", ("sample",), ("tensors", "times the next")
    )
    shown = watched.leaders[: limit or None]
    for one in shown:
        table.add_row(Text(one.sample), str(one.tensors), f"{one.excess:.2f}")
    if rest := watched.leaders[len(shown) :]:
        table.add_row(f"{len(rest)} more", str(sum(one.tensors for one in rest)), "")
    return table


def _extremes_table(watched: Watched, limit: int) -> Table:
    """Tensors, the one first that reaches farthest beyond what any other sample shows."""
    table = new_table(
        "where each tensor reaches farthest", ("tensor", "sample"), ("|x|", "in another sample")
    )
    ranked = sorted(
        watched.extremes, key=lambda one: one.runner_up / one.magnitude if one.magnitude else 1.0
    )
    shown = ranked[: limit or None]
    for one in shown:
        table.add_row(
            Text(one.tensor), Text(one.sample), f"{one.magnitude:.4g}", f"{one.runner_up:.4g}"
        )
    if len(ranked) > len(shown):
        table.add_row(f"{len(ranked) - len(shown)} more", "", "", "")
    return table


def _findings_table(found: Inspection, limit: int) -> Table:
    table = new_table("findings", ("", "finding", "advice"))
    shown = found.findings[: limit or None]
    for one in shown:
        table.add_row("fault" if one.fault else "remark", Text(one.text), Text(one.fix))
    if rest := found.findings[len(shown) :]:
        table.add_row("", f"{len(rest)} more; --limit 0 lists all", "")
    return table


def _numbers(values: Sequence[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
