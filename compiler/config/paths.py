"""Where the paths of a build file lead."""

import os
import re
from pathlib import Path

from compiler.errors import BuildFileError

_PLACEHOLDER = "path/to"


def resolve_input(path: str, base_dir: Path, *, where: str) -> Path:
    """An existing file or folder: relative to the current folder, else to the build file's.

    Args:
        path: As written; ~ and $VARIABLES are expanded.
        base_dir: Folder of the build file.
        where: Key path of the value, for the error.

    Raises:
        BuildFileError: Neither exists; names both.
    """
    expanded = _expand(path, where)
    tried = [expanded] if expanded.is_absolute() else [Path.cwd() / expanded, base_dir / expanded]
    for candidate in tried:
        if candidate.exists():
            return candidate
    if _PLACEHOLDER in path:
        fix = f"replace the placeholder '{path}' with your own path"
    else:
        fix = "correct the path; relative ones start at the current folder or the build file's"
    places = " nor ".join(str(item) for item in dict.fromkeys(map(_normal, tried)))
    raise BuildFileError(f"'{path}' not found: no {places}", where=where, fix=fix)


def resolve_output(path: str, *, where: str = "workspace.path") -> Path:
    """A folder to write to, relative to the current folder; ~ and $VARIABLES are expanded.

    Raises:
        BuildFileError: A variable is not set.
    """
    return _normal(Path.cwd() / _expand(path, where))


def _expand(path: str, where: str) -> Path:
    expanded = os.path.expandvars(path)
    if unset := re.search(r"\$(\w+|\{\w+\})", expanded):
        raise BuildFileError(
            f"'{path}': the environment variable {unset[0]} is not set",
            where=where,
            fix="set it, or write the path out",
        )
    try:
        return Path(expanded).expanduser()
    except RuntimeError:
        raise BuildFileError(
            f"'{path}': no such user", where=where, fix="write the path out"
        ) from None


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))
