"""Findings as the notes that GitHub and GitLab show beside the lines of a build file."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from compiler.pipeline.check_findings import Finding, Level

_SEVERITIES: Final[Mapping[Level, str]] = MappingProxyType({"error": "major", "warning": "minor"})
_MESSAGE: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY: Final = _MESSAGE | str.maketrans({":": "%3A", ",": "%2C"})


def github_commands(findings: Iterable[Finding], build_file: str) -> Iterator[str]:
    """A workflow command for every error and warning; notes would only hide them.

    Args:
        findings: About one build file.
        build_file: As given, best relative to the root of the repository.

    Source: docs.github.com, "Workflow commands for GitHub Actions".
    """
    for finding in _shown(findings):
        properties = {"file": build_file}
        if line := _line(finding, build_file):
            properties |= {"line": str(line), "col": str(max(1, finding.column))}
        properties["title"] = f"modc ({finding.part})"
        written = ",".join(f"{key}={text.translate(_PROPERTY)}" for key, text in properties.items())
        message = _message(finding, build_file).translate(_MESSAGE)
        yield f"::{finding.level} {written}::{message}"


def code_quality(
    findings: Iterable[Finding], build_file: str
) -> list[dict[str, Any]]:  # Any: JSON objects
    """The same as entries of a Code Quality report.

    Source: docs.gitlab.com, "Code Quality", "Code Quality report format".
    """
    return [
        {
            "check_name": f"modc ({finding.part})",
            "description": _message(finding, build_file),
            "fingerprint": _fingerprint(finding, build_file),
            "severity": _SEVERITIES[finding.level],
            "location": {
                "path": build_file,
                "lines": {"begin": max(1, _line(finding, build_file))},
            },
        }
        for finding in _shown(findings)
    ]


def _shown(findings: Iterable[Finding]) -> Iterator[Finding]:
    return (finding for finding in findings if finding.level in _SEVERITIES)


def _line(finding: Finding, build_file: str) -> int:
    """Line from 1; 0 where the finding is about the file as a whole, or not about the file."""
    return finding.line if finding.file == build_file else 0


def _message(finding: Finding, build_file: str) -> str:
    elsewhere = "" if finding.file == build_file else finding.file
    sentence = ": ".join(part for part in (elsewhere, finding.where, finding.what) if part)
    return f"{sentence}\nfix: {finding.fix}" if finding.fix else sentence


def _fingerprint(finding: Finding, build_file: str) -> str:
    """The same for the same finding wherever it stands, so that moved lines are no new finding."""
    parts = (build_file, finding.part, finding.where, finding.what)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
