"""Options of `vamp` from a YAML file, as `vamp -c` takes them."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from compiler.errors import BuildFileError


def read_options(path: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Values of options as they would be typed.

    Args:
        path: A mapping of option names to values; lists stand for `[0,2]`, true and false for 1
            and 0, and null for an option that is not given.
        names: Every spelling of an option without dashes in front → its name.

    Returns:
        Value by name.

    Raises:
        BuildFileError: The file cannot be read, is no mapping, or has an unknown key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=yaml.BaseLoader)  # 1:4 stays text; YAML 1.1 makes it 64
    except OSError as error:
        raise _refusal(path, f"options cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refusal(path, f"not YAML: {error}") from error
    if not isinstance(content, dict):
        raise _refusal(path, "expected a mapping of options to values")
    found = {}
    for key, value in content.items():
        name = names.get(str(key).lstrip("-").replace("-", "_"))
        if name is None:
            raise _refusal(path, f"no option {key!r}")
        if value not in ("", "~", "null"):
            found[name] = _typed(value)
    return found


def _typed(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return {"true": "1", "false": "0"}.get(str(value).lower(), str(value))


def _refusal(path: Path, what: str) -> BuildFileError:
    return BuildFileError(
        what, where=str(path), fix="write option: value lines, as in 'batch_size: 2'; see vamp -?"
    )
