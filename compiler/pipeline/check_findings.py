"""What a check found, and where in the build file its cause is written."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, ParamSpec, TypeVar

from compiler.config.dialects import translate
from compiler.config.load import BuildFile, read_build_file
from compiler.config.model import BuildConfig
from compiler.config.normalise import normalise
from compiler.config.overrides import apply_overrides
from compiler.config.parse import parse_document, read_source
from compiler.config.problems import Findings, Place, RefusedFileError
from compiler.config.tree import Node
from compiler.errors import BuildFileError, ModcError

Level = Literal["error", "warning", "note"]
Part = Literal[
    "build file", "engine", "bundle", "network", "data", "preprocessing", "verification", "graph"
]

_KEYS: Final[Mapping[Part, str]] = MappingProxyType(
    {  # that a finding of a part points to, where it names none itself
        "engine": "backend.type",
        "bundle": "workspace.path",
        "network": "frontend.checkpoint",
        "data": "dataset.path",
        "preprocessing": "dataset.process_ops",
        "verification": "verify",
        "graph": "backend.dtype",
    }
)
_KEY: Final = re.compile(r"[a-z_]+(?:\.\w+|\[\d+\])*")
_LISTS: Final = re.compile(  # of the build file; a warning about one begins with its name
    r"(skip_conv_layers|skip_matmul_layers|exclude_layers|uint16_layers|quantize_operators"
    r"|ops_usingfp): "
)
_BROKEN: Final = 1  # exit code of what no class of compiler.errors foresees

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know before a build file is compiled.

    Args:
        level: "error": it will not compile; "warning": it will, but probably not as meant.
        part: What was looked at.
        what: What is wrong, and what was expected.
        where: The key, file or tensor concerned; empty where `what` says it.
        fix: What to do about it; empty where `what` says it.
        code: Exit code that `modc compile` would end with; 0 for warnings and notes.
        file: The build file, as given; or the option of the command line that is to blame.
        line: In it, from 1; 0 if unknown.
        column: In that line, from 1; 0 if unknown.
    """

    level: Level
    part: Part
    what: str
    where: str = ""
    fix: str = ""
    code: int = 0
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def place(self) -> str:
        """File, line and column, as compilers write them."""
        return str(Place(self.file, self.line, self.column))


class Collector:
    """Findings about one build file, in the order in which they were made.

    Args:
        source: The build file, as given.
    """

    def __init__(self, source: str) -> None:
        self.findings: list[Finding] = []
        self.name = ""
        self._source = source
        self._tree: Node | None = None

    def read(
        self, overrides: Sequence[str], *, dtype: str | None, lenient: bool, strict: bool
    ) -> BuildConfig | None:
        """The configuration, as `compiler.config.load.read_build_file` reads it.

        One that is refused is read once more without its unknown keys, and without regard to
        warnings, so that all else can be looked at.
        """
        refused: tuple[Place, ...] = ()
        file: BuildFile | None
        try:
            file = read_build_file(
                self._source, overrides=overrides, dtype=dtype, lenient=lenient, strict=strict
            )
        except RefusedFileError as error:
            refused = tuple(problem.place for problem in error.problems)
            for one in error.problems:
                self._add("error", "build file", one.text, one.key, one.fix, 2, one.place)
            file = self._reread(overrides, dtype)
        if file is None:
            return None
        self._tree = _tree(self._source, overrides)
        self.name = file.config.name
        for note in file.notes:
            if note.place not in refused:
                self._add(note.kind, "build file", note.text, "", "", 0, note.place)
        return file.config

    def attempt(
        self, part: Part, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """What a function returns; None if it fails, which becomes a finding."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # whatever it is, the other parts can be looked at
            self.failure(part, error)
            return None

    def failure(self, part: Part, error: Exception, level: Level = "error") -> None:
        """What a part of the build would end with."""
        if not isinstance(error, ModcError):
            what, fix = f"{type(error).__name__}: {error}", "report this with the build file"
            if isinstance(error, OSError):
                what = f"the system refuses: {error.strerror or error}"
                fix = "check the path, its permissions and the space on its disk"
            place = self._place(_KEYS.get(part, ""))
            self._add(level, part, what, "", fix, _BROKEN, place)
            return
        where = error.where.removeprefix(f"{self.name}: ")
        place = self._place(where if self._is_key(where) else _KEYS.get(part, ""))
        code = error.exit_code if level == "error" else 0
        self._add(level, part, error.what, where, error.fix, code, place)

    def warn(self, part: Part, texts: Iterable[str], *, key: str = "", fix: str = "") -> None:
        """Sentences about what will compile, but probably not as meant."""
        for text in texts:
            named = _LISTS.match(text)
            found = f"backend.quantize.{named[1]}" if named else key or _KEYS.get(part, "")
            self._add("warning", part, text, "", fix, 0, self._place(found))

    def note(self, part: Part, texts: Iterable[str]) -> None:
        """Sentences about what was assumed, or could not be looked at."""
        for text in texts:
            self._add("note", part, text, "", "", 0, self._place(_KEYS.get(part, "")))

    def _reread(self, overrides: Sequence[str], dtype: str | None) -> BuildFile | None:
        try:
            return read_build_file(self._source, overrides=overrides, dtype=dtype, lenient=True)
        except BuildFileError:
            return None

    def _is_key(self, text: str) -> bool:
        return bool(_KEY.match(text)) and text.partition(".")[0] in BuildConfig.model_fields

    def _place(self, key: str) -> Place:
        found = _KEY.match(key)
        if self._tree is None or found is None:
            return Place(self._source)
        parts = re.findall(r"\w+", found[0])
        path = tuple(int(part) if part.isdecimal() else part for part in parts)
        return self._tree.deepest(path).key_place

    def _add(
        self, level: Level, part: Part, what: str, where: str, fix: str, code: int, place: Place
    ) -> None:
        finding = Finding(
            level, part, what, where, fix, code, place.source, place.line, place.column
        )
        if finding not in self.findings:
            self.findings.append(finding)


def _tree(source: str, overrides: Sequence[str]) -> Node:
    """The document of a build file that can be read, in the current dialect."""
    text = read_source(Path(source))
    ignored = Findings(text.name)
    tree = parse_document(text, ignored)
    translate(tree, ignored)
    apply_overrides(tree, overrides, ignored)
    normalise(tree, ignored, stem=Path(source).stem, lenient=True)
    return tree
