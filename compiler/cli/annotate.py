"""Findings beside the lines of a build file, where a CI service shows them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import typer

from compiler.errors import BuildFileError
from compiler.pipeline.check_findings import Finding
from compiler.report.annotations import code_quality, github_commands

CODE_QUALITY: Final = Path("gl-code-quality-report.json")
"""Where GitLab's documentation puts a Code Quality report."""


def annotate(service: str | None, build_file: str, findings: Iterable[Finding]) -> None:
    """Print workflow commands for GitHub, add to the report for GitLab, or do nothing.

    Workflow commands go to standard error, where they do not get into tables and JSON.

    Raises:
        BuildFileError: There is such a file, and it is no report.
    """
    if service == "github":
        for line in github_commands(findings, build_file):
            typer.echo(line, err=True)
    elif service == "gitlab":
        entries = _entries() + code_quality(findings, build_file)
        CODE_QUALITY.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _entries() -> list[Any]:  # Any: JSON objects
    if not CODE_QUALITY.exists():
        return []
    try:
        entries = json.loads(CODE_QUALITY.read_text(encoding="utf-8"))
    except ValueError:
        entries = None
    if not isinstance(entries, list):
        raise BuildFileError(
            "this is no Code Quality report, that is a JSON array",
            where=str(CODE_QUALITY),
            fix="remove the file",
        )
    return entries
