"""Bundles against earlier ones of the same name, as a Markdown table for a CI job's summary."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from compiler.page import words
from compiler.page.contents import Contents
from compiler.page.facts import dtype_of, gates_of, latencies, sizes, verification_of

Pair = tuple[Contents, Contents | None]

_HEADINGS: Final = ("bundle", "dtype", "size", "latency", "metric", "SQNR", "gates")
_NOTHING: Final = words.NOTHING


def markdown_summary(pairs: Sequence[Pair]) -> str:
    """A table with a row per bundle, then what missed its gate.

    Args:
        pairs: A bundle, and the one that it replaces; None where there is none.

    Returns:
        Markdown as GitHub and GitLab show it, newline at the end.
    """
    rows = [_HEADINGS, ("---", "---", *["---:"] * 4, "---")]
    rows += [_row(new, previous) for new, previous in pairs]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    missed = [
        f"- **{_text(_name(new))}**: {_text(gate.found)}, but the build file asks for "
        f"{_text(gate.asks)}"
        for new, _ in pairs
        for gate in gates_of(new)
        if not gate.held
    ]
    return "\n".join([*lines, *([""] if missed else []), *missed]) + "\n"


def _row(new: Contents, previous: Contents | None) -> tuple[str, ...]:
    name = f"{_text(_name(new))}{'' if previous else ' (new)'}"
    dtypes = [dtype_of(one) for one in (new, previous) if one is not None]
    return (
        name,
        dtypes[0] if len(set(dtypes)) == 1 else f"{dtypes[0]} (was {dtypes[1]})",
        _size(new, previous),
        _latency(new, previous),
        _metric(new, previous),
        _sqnr(new, previous),
        _gates(new),
    )


def _name(contents: Contents) -> str:
    return str(contents.manifest.get("name", "bundle"))


def _size(new: Contents, previous: Contents | None) -> str:
    now = sizes(new)[1]
    before = sizes(previous)[1] if previous else None
    return words.size(now) + _percent(now, before)


def _latency(new: Contents, previous: Contents | None) -> str:
    """Milliseconds, and how much faster than fp32: that was measured in turns on one machine.

    Milliseconds of two builds are not compared: machines differ, also from themselves.
    """
    now, before = _gain(new), _gain(previous) if previous else None
    if now is None:
        return _NOTHING
    change = f" (was {before:.2f}×)" if before is not None else ""
    return f"{latencies(new)['compiled']:.2f} ms, {now:.2f}× as fast as fp32{change}"


def _gain(contents: Contents) -> float | None:
    measured = latencies(contents)
    return measured["fp32"] / measured["compiled"] if measured.get("compiled") else None


def _metric(new: Contents, previous: Contents | None) -> str:
    task = verification_of(new).get("task")
    if not task:
        return _NOTHING
    before = verification_of(previous).get("task") if previous else None
    known = before if before and before["metric"] == task["metric"] else None
    change = _difference(task["compiled"], known and known["compiled"])
    drop = words.signed(task["compiled"] - task["fp32"], 2)
    return f"{_text(task['metric'])} {task['compiled']:.2f}{change}, {drop} against fp32"


def _sqnr(new: Contents, previous: Contents | None) -> str:
    now, before = (_worst_sqnr(one) if one else None for one in (new, previous))
    return _NOTHING if now is None else f"{now:.2f} dB{_difference(now, before)}"


def _worst_sqnr(contents: Contents) -> float | None:
    outputs: Iterable[Any] = verification_of(contents).get("outputs", ())  # Any: JSON objects
    return min((one["sqnr_db"] for one in outputs), default=None)


def _gates(new: Contents) -> str:
    gates = gates_of(new)
    held = sum(gate.held for gate in gates)
    if not gates:
        return "none"
    return "held" if held == len(gates) else f"**{len(gates) - held} of {len(gates)} missed**"


def _percent(now: float | None, before: float | None) -> str:
    if now is None or not before:
        return ""
    return f" ({words.signed(100 * (now / before - 1), 1)} %)"


def _difference(now: float, before: float | None) -> str:
    return "" if before is None else f" ({words.signed(now - before, 2)})"


def _text(text: str) -> str:
    """Text that stays text in a cell of a table."""
    for sign in "\\`*_|<>[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
