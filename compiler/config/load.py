"""YAML → BuildConfig, or one error that lists every problem with its line."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.config.dialects import Dialect, translate
from compiler.config.model import BuildConfig
from compiler.config.normalise import normalise
from compiler.config.overrides import apply_overrides, set_dtype
from compiler.config.parse import parse_document, read_source
from compiler.config.problems import Findings, Note
from compiler.config.validate import validate

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A build file that was read and understood.

    Args:
        path: As given.
        sha256: Of the file's bytes.
        dialect: In which it is written; the configuration is always in the current one.
        config: What it says.
        notes: What was assumed, translated or ignored, in the order of the file.
    """

    path: Path
    sha256: str
    dialect: Dialect
    config: BuildConfig
    notes: tuple[Note, ...]


def read_build_file(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    dtype: str | None = None,
    lenient: bool = False,
    strict: bool = False,
) -> BuildFile:
    """Read a build file of any dialect.

    Args:
        path: YAML file.
        overrides: `key.path=value` in the current spelling; see `apply_overrides`.
        dtype: Precision in place of `backend.dtype`; the precision in `name` follows.
        lenient: Unknown keys give warnings instead of problems.
        strict: Warnings are problems.

    Raises:
        BuildFileError: Absent, not YAML, or wrong; `problems` of the error lists everything.
    """
    path = Path(path)
    source = read_source(path)
    findings = Findings(source.name)
    tree = parse_document(source, findings)
    dialect = translate(tree, findings)
    apply_overrides(tree, overrides, findings)
    if dtype is not None:
        set_dtype(tree, dtype)
    normalise(tree, findings, stem=path.stem, lenient=lenient)
    config = validate(tree, findings, strict=strict).at(path)
    notes = tuple(sorted(findings.notes, key=lambda note: (note.line, note.place.column)))
    return BuildFile(path, source.sha256, dialect, config, notes)


def load_config(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    dtype: str | None = None,
    lenient: bool = False,
    strict: bool = False,
) -> BuildConfig:
    """The configuration of a build file of any dialect; notes and warnings go to the log.

    Args:
        path: YAML file.
        overrides: `key.path=value` in the current spelling, as `--set` takes them.
        dtype: Precision in place of `backend.dtype`; the precision in `name` follows.
        lenient: Unknown keys give warnings instead of problems.
        strict: Warnings are problems.

    Raises:
        BuildFileError: Absent, not YAML, or wrong; it lists every problem with its line.
    """
    file = read_build_file(path, overrides=overrides, dtype=dtype, lenient=lenient, strict=strict)
    for note in file.notes:
        level = logging.WARNING if note.kind == "warning" else logging.INFO
        _LOG.log(level, "%s: %s", note.where, note.text)
    return file.config
