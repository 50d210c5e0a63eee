"""What can be wrong or worth knowing in a build file, and where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from compiler.errors import BuildFileError

KeyPath = tuple[str | int, ...]

_PLAIN_NAME = re.compile(r"[^\s.\[\]\"'=]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key or value was written; line and column count from 1, line 0 means no file."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason to refuse the build file.

    Args:
        place: Where.
        key: Key path as `key_text` writes it; empty for a text that is not YAML.
        text: What is wrong, with the value and what was expected.
        fix: What to do, where the text alone does not say it.
    """

    place: Place
    key: str
    text: str
    fix: str = ""

    @property
    def what(self) -> str:
        """The sentence without its place."""
        return f"{self.key}: {self.text}" if self.key else self.text

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was accepted, and what was made of it."""

    place: Place
    kind: Literal["note", "warning"]
    text: str

    @property
    def where(self) -> str:
        """File, line and column; or the override."""
        return str(self.place)

    @property
    def line(self) -> int:
        """Line in the build file; 0 for an override."""
        return self.place.line

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.text}"


class RefusedFileError(BuildFileError):
    """A build file (or an override) that is refused, with every problem at once."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        ordered = sorted(problems, key=lambda p: (not p.place.line, p.place.line, p.place.column))
        fix = "`modc schema` and docs/reference/build_file.md list all keys and their values"
        if len(ordered) == 1:
            [one] = ordered
            super().__init__(one.what, where=str(one.place), fix=one.fix or fix)
        else:
            lines = [f"{len(ordered)} problems", *(f"  {problem}" for problem in ordered)]
            super().__init__("\n".join(lines), where=source, fix=fix)
        self.problems = tuple(ordered)


@dataclass(slots=True)
class Findings:
    """Collects what the readers of one build file come across."""

    source: str
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def problem(self, place: Place, path: KeyPath, text: str, fix: str = "") -> None:
        """A reason to refuse the file."""
        self.problems.append(Problem(place, key_text(path), text, fix))

    def note(self, place: Place, path: KeyPath, text: str) -> None:
        """Accepted; worth one line."""
        self.notes.append(Note(place, "note", f"{key_text(path)}: {text}"))

    def warn(self, place: Place, path: KeyPath, text: str) -> None:
        """Accepted, but probably not meant; refused with `strict`."""
        self.notes.append(Note(place, "warning", f"{key_text(path)}: {text}"))

    def standing(self, *, strict: bool = False) -> list[Problem]:
        """All that stands against the file; with `strict` also the warnings."""
        warnings = [note for note in self.notes if strict and note.kind == "warning"]
        return self.problems + [Problem(note.place, "", note.text) for note in warnings]


def key_text(path: KeyPath) -> str:
    """Key path as `--set` reads it: a.b[2]."name.with.dots"."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if _PLAIN_NAME.fullmatch(part) else f'"{part}"'
            text += f".{quoted}" if text else quoted
    return text
