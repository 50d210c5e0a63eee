"""What made a build fail, as findings at the lines of the build file that are to blame."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from compiler.config.problems import RefusedFileError
from compiler.errors import (
    AccuracyError,
    BuildFileError,
    BundleError,
    CalibrationError,
    GraphError,
    MissingRequirementError,
)
from compiler.pipeline.check_findings import Collector, Finding, Part

_PARTS: Final[Mapping[type[Exception], Part]] = MappingProxyType(
    {
        BuildFileError: "build file",
        GraphError: "network",
        CalibrationError: "data",
        AccuracyError: "verification",
        BundleError: "bundle",
        MissingRequirementError: "engine",
    }
)


def find_causes(
    source: str,
    error: Exception,
    *,
    overrides: Sequence[str] = (),
    dtype: str | None = None,
    lenient: bool = False,
    strict: bool = False,
) -> tuple[Finding, ...]:
    """Every problem of a build file that was refused; else the one error, with its place.

    Args:
        source: Build file, as given.
        error: What reading or compiling it raised.
        overrides: As `read_build_file` got them, as are `dtype`, `lenient` and `strict`.
        dtype: Precision in place of the file's.
        lenient: Unknown keys warn.
        strict: Warnings fail.
    """
    findings = Collector(source)
    findings.attempt(
        "build file", findings.read, overrides, dtype=dtype, lenient=lenient, strict=strict
    )
    if not isinstance(error, RefusedFileError):
        parts = [_PARTS[kind] for kind in type(error).mro() if kind in _PARTS]
        findings.failure(parts[0] if parts else "build file", error)
    return tuple(finding for finding in findings.findings if finding.level == "error")
