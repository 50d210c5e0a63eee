"""What checks of build files found, for a person and for a program."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from compiler.pipeline.check import Check
from compiler.pipeline.check_findings import Finding
from compiler.report.table import new_table

_NUMBERS = ("errors", "warnings", "int8", "float", "MiB", "GMACs", "seconds")


def check_table(checks: Sequence[Check]) -> Table:
    """A row per build file; sizes and arithmetic before and after the build."""
    count = len(checks)
    table = new_table(
        f"{count} build file{'s' if count > 1 else ''}", ("file", "dtype", "verdict"), _NUMBERS
    )
    for check in checks:
        numbers = (str(check.count("error")), str(check.count("warning")), *_forecast(check))
        seconds = f"{check.seconds:.1f}"
        table.add_row(Text(check.file), check.dtype, check.verdict, *numbers, seconds)
    return table


def finding_lines(checks: Iterable[Check], *, errors_only: bool = False) -> Iterator[str]:
    """The findings, file by file: place, level, what is wrong and what to do."""
    for check in checks:
        for finding in check.findings:
            if errors_only and not _fails(finding, check):
                continue
            yield f"{finding.place}: {finding.level}: {_sentence(finding)}"
            if finding.fix:
                yield f"  fix: {finding.fix}"


def ops_table(check: Check) -> Table:
    """Every node of the network with its precision, and why it is not another."""
    table = new_table(f"{check.name} ({check.dtype})", ("node", "operator", "dtype", "reason"))
    for heading in ("shape", "MMACs", "KiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for op in check.forecast.ops if check.forecast else ():
        shape = "×".join("?" if size < 0 else str(size) for size in op.shape)
        numbers = (f"{op.macs / 1e6:.2f}", f"{op.parameter_bytes / 1024:.1f}")
        table.add_row(Text(op.node), op.op, op.dtype, Text(op.reason), shape, *numbers)
    return table


def check_facts(check: Check) -> dict[str, Any]:  # Any: a JSON object
    """The same as a JSON object: every field."""
    facts = asdict(check)
    return {
        **facts,
        "seconds": round(check.seconds, 3),
        "verdict": check.verdict,
        "errors": check.count("error"),
        "warnings": check.count("warning"),
        "exit_code": check.exit_code,
    }


def _forecast(check: Check) -> tuple[str, str, str, str]:
    found = check.forecast
    if found is None:
        return ("", "", "", "")
    mib = _change(found.before.bytes / 2**20, found.after.bytes / 2**20)
    macs = _change(found.before.macs / 1e9, found.after.macs / 1e9)
    return str(found.integer), str(len(found.ops) - found.integer), mib, macs


def _change(before: float, after: float) -> str:
    return " → ".join(f"{value:.2f}" if value >= 1 else f"{value:.2g}" for value in (before, after))


def _sentence(finding: Finding) -> str:
    return f"{finding.where}: {finding.what}" if finding.where else finding.what


def _fails(finding: Finding, check: Check) -> bool:
    return finding.level == "error" or (check.strict and finding.level == "warning")
