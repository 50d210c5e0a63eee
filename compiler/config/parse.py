"""YAML text → tree of values with their places; everything doubtful in YAML is refused here."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from compiler.config.problems import Findings, KeyPath, Place, Problem, RefusedFileError
from compiler.config.spelling import nearest
from compiler.config.tree import Node, Scalar

MAX_BYTES = 256 * 1024  # the largest public build file has 5 KiB
MAX_VALUES = 20_000  # after every alias has been replaced by what it stands for
MAX_DEPTH = 32

_YAML = "tag:yaml.org,2002:"
_CONSTRUCTOR = SafeConstructor()
# Any: the methods want a ScalarNode, which the tag of a node says and its type does not.
_NUMBERS: dict[str, Callable[[Any], Scalar]] = {  # scalars whose meaning is not their text
    _YAML + "int": _CONSTRUCTOR.construct_yaml_int,
    _YAML + "float": _CONSTRUCTOR.construct_yaml_float,
    _YAML + "bool": _CONSTRUCTOR.construct_yaml_bool,
    _YAML + "null": _CONSTRUCTOR.construct_yaml_null,
}
_SCALAR_TAGS = {*_NUMBERS, *(_YAML + name for name in ("str", "timestamp", "value"))}
_BARE_TAG = re.compile(r"(?:^|[\[,:\-]\s+|[\[,])!")

_NOT_UNICODE = "{} is not valid Unicode (half of a surrogate pair); write the character itself"


@dataclass(frozen=True, slots=True)
class Source:
    """A build file as read.

    Args:
        name: Path as the user gave it.
        text: Its text, without byte order mark.
        sha256: Of its bytes.
    """

    name: str
    text: str
    sha256: str


def read_source(path: Path) -> Source:
    """Read a build file as text.

    Raises:
        RefusedFileError: Absent, not a file, too large, or not UTF-8.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except FileNotFoundError:
        raise _refusal(Place(str(path)), "file not found", _closest_file(path)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _refusal(Place(str(path)), f"cannot be read: {reason}", "name a YAML file") from None
    if size > MAX_BYTES:
        text = f"{size} bytes; a build file has at most {MAX_BYTES}"
        raise _refusal(Place(str(path)), text, "name the build file, not the model or its data")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8 text"
        raise _refusal(Place(str(path)), what, "save the file as UTF-8") from None
    return Source(str(path), text, hashlib.sha256(data).hexdigest())


def parse_document(source: Source, findings: Findings) -> Node:
    """The tree of a whole build file.

    Raises:
        RefusedFileError: As `parse`, or the document is not a mapping.
    """
    root = parse(source.text, source.name, findings)
    if root.value is None or root.value == "":
        place = Place(source.name, 1, 1)
        raise _refusal(place, "the file is empty", "start from build_configs/*.yaml")
    if not isinstance(root.value, dict):
        what = "a build file is a mapping (name: …, frontend: …), this is something else"
        raise _refusal(root.place, what, "start from build_configs/*.yaml")
    return root


def parse(text: str, source: str, findings: Findings) -> Node:
    """The document's tree; duplicate keys, foreign tags and the like go to `findings`.

    A text without a value (empty, or only comments) is null.

    Raises:
        RefusedFileError: The text is not one YAML document of reasonable size.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, source) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        what = f"character #x{ord(text[error.position]):02x} does not belong in a text file"
        raise _refusal(Place(source, line, column), what, "name a YAML file") from None
    except RecursionError:
        raise _too_deep(Place(source, 1, 1)) from None
    roots = [root for root in documents if root is not None]
    if not roots:
        return Node(None, Place(source, 1, 1), Place(source, 1, 1))
    if len(roots) > 1:
        mark = roots[1].start_mark
        place = Place(source, mark.line + 1, mark.column + 1)
        raise _refusal(place, "a second YAML document begins here", "keep one document per file")
    return _TreeBuilder(source, findings).build(roots[0], None, ())


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; one with half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


class _TreeBuilder:
    """Composed YAML nodes → our tree; aliases are expanded, within limits."""

    def __init__(self, source: str, findings: Findings) -> None:
        self.source = source
        self.findings = findings
        self.values = 0

    def build(self, node: yaml.Node, key_place: Place | None, path: KeyPath) -> Node:
        place = self._place(node)
        self.values += 1
        if self.values > MAX_VALUES:
            what = f"more than {MAX_VALUES} values, counting what each alias (*name) stands for"
            raise _refusal(place, what, "write the values out, without anchors and aliases")
        if len(path) > MAX_DEPTH:
            raise _too_deep(place)
        key_place = key_place or place
        if isinstance(node, MappingNode):
            self._check_tag(node, {_YAML + "map"}, path)
            return Node(self._entries(node, path), place, key_place)
        if isinstance(node, SequenceNode):
            self._check_tag(node, {_YAML + "seq"}, path)
            items = [self.build(item, None, (*path, i)) for i, item in enumerate(node.value)]
            return Node(items, place, key_place)
        return Node(self._scalar(node, path), place, key_place)

    def _entries(self, node: MappingNode, path: KeyPath) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, ScalarNode):
                self.findings.problem(place, path, "a key must be text, not a list or mapping")
                continue
            key = key_node.value
            if not is_unicode(key):
                self.findings.problem(place, path, f"the key {_NOT_UNICODE.format(ascii(key))}")
                continue
            here = (*path, key)
            if key_node.tag == _YAML + "merge":
                text = "merge keys (<<) are not supported; write the keys out"
                self.findings.problem(place, path, text)
            elif key in entries:
                first = entries[key].key_place
                text = f"given twice, on lines {first.line} and {place.line}; remove one"
                self.findings.problem(place, here, text)
            else:
                self._check_tag(key_node, _SCALAR_TAGS, here)
                entries[key] = self.build(value_node, place, here)
        return entries

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Scalar:
        text = str(node.value)
        self._check_tag(node, _SCALAR_TAGS, path)
        if not is_unicode(text):
            self.findings.problem(self._place(node), path, _NOT_UNICODE.format(ascii(text)))
            return None
        if node.tag not in _NUMBERS or ":" in text:  # 1:30 is no number to its writer
            return text
        try:
            value: Scalar = _NUMBERS[node.tag](node)
        except (ValueError, KeyError):
            self.findings.problem(self._place(node), path, f"'{text}' is not a number")
            return None
        return value

    def _check_tag(self, node: yaml.Node, known: set[str], path: KeyPath) -> None:
        if node.tag not in known:
            tag = node.tag.replace(_YAML, "!!")
            text = f"'{tag}' is a YAML tag; quote it if text was meant, else remove it"
            self.findings.problem(self._place(node), path, text)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, source: str) -> RefusedFileError:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    place = Place(source, line + 1, mark.column + 1 if mark else 1)
    what = f"line {place.line} is not valid YAML: {error.problem or error.context}"
    written = text.splitlines()[line : line + 1] or [""]
    fix = "correct the YAML at this place"
    if "\\t" in (error.problem or ""):
        what, fix = f"line {place.line} contains a tab", "indent with blanks"
    elif "block collection" in (error.context or "") and "'?'" in (error.problem or ""):
        fix = "fields of a list item must be indented below its first key"
    elif _BARE_TAG.search(written[0]):
        fix = "'!' begins a YAML tag; quote it: \"!name\""
    elif "mapping values are not allowed" in (error.problem or ""):
        fix = "check the indentation; quote a text that contains ': '"
    return _refusal(place, what, fix)


def _closest_file(path: Path) -> str:
    folder = path.parent
    names = []
    if folder.is_dir():
        names = sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    name = nearest(path.name, names)
    if name:
        return f"did you mean '{folder / name}'?"
    if names:
        return f"build files in {folder}: {', '.join(names[:8])}"
    return f"there is no build file in {folder}" if folder.is_dir() else f"no folder {folder}"


def _too_deep(place: Place) -> RefusedFileError:
    what = f"nested more than {MAX_DEPTH} levels deep, or an alias that contains itself"
    return _refusal(place, what, "write the values out, without anchors and aliases")


def _refusal(place: Place, what: str, fix: str) -> RefusedFileError:
    return RefusedFileError(place.source, [Problem(place, "", what, fix)])
