"""`--set key.path=value`: single values that replace or complete those of the file."""

import re
from collections.abc import Sequence
from dataclasses import replace

from compiler.config.advice import PRECISION_IN_NAME
from compiler.config.parse import is_unicode, parse
from compiler.config.problems import Findings, KeyPath, Place, Problem, RefusedFileError, key_text
from compiler.config.tree import Node

_PART = re.compile(r"""\.?(?:"([^"]*)"|'([^']*)'|\[(\d+)\]|([^\s.\[\]"'=]+))""")


def apply_overrides(root: Node, overrides: Sequence[str], findings: Findings) -> None:
    """Set each `key.path=value` in the tree.

    Names with dots are quoted (`frontend.shape."input.1"=[1,3,8,8]`); list items are numbered from
    0 (`dataset.process_ops[1].size=[256,256]`); the value is YAML.
    """
    for override in overrides:
        source = f"--set {override.encode('utf-8', 'backslashreplace').decode()}"
        inside = Findings(source)  # lines within the override mean nothing to its reader
        try:
            path, text = _split(override, source)
            value = parse(text, source, inside)
            _forget_lines(value, Place(source))
            _assign(root, path, value, source)
        except RefusedFileError as error:
            inside.problems += error.problems
        findings.problems += [replace(one, place=Place(source)) for one in inside.problems]


def set_dtype(root: Node, dtype: str) -> None:
    """Choose the precision; a name that ends in, or contains, the former one follows it."""
    source = f"--dtype {dtype}"
    place = Place(source)
    _assign(root, ("backend", "dtype"), Node(dtype, place, place), source)
    name = root.get("name")
    if name is not None and isinstance(name.value, str):
        name.value = PRECISION_IN_NAME.sub(dtype, name.value)


def _split(override: str, source: str) -> tuple[KeyPath, str]:
    if not is_unicode(override):
        raise _refusal(source, "not valid Unicode", "write it in UTF-8")
    parts: list[str | int] = []
    position = 0
    while match := _PART.match(override, position):
        quoted, single, index, bare = match.groups()
        parts.append(
            int(index) if index else next(p for p in (quoted, single, bare) if p is not None)
        )
        position = match.end()
    if not parts or override[position : position + 1] != "=":
        fix = 'write key.path=value, such as backend.dtype=fp16; quote names with dots: "input.1"'
        raise _refusal(source, "no key path and value", fix)
    return tuple(parts), override[position + 1 :] or "null"


def _assign(root: Node, path: KeyPath, value: Node, source: str) -> None:
    place = Place(source)
    target = root
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(target.value, list):
            target = _assign_item(target.value, path[: depth + 1], value if last else None, source)
            continue
        if not isinstance(target.value, dict):
            target.value, target.place, target.key_place = {}, place, place
        name = str(part)
        if last:
            target.value[name] = value
        elif name not in target.value:
            target.value[name] = Node({}, place, place)
        target = target.value[name]


def _assign_item(items: list[Node], path: KeyPath, value: Node | None, source: str) -> Node:
    text = str(path[-1])
    if not text.isdecimal() or int(text) >= len(items):
        fix = f"items are numbered from 0 to {len(items) - 1}" if items else "the list is empty"
        raise _refusal(source, f"{key_text(path[:-1])} has no item '{text}'", fix)
    if value is not None:
        items[int(text)] = value
    return items[int(text)]


def _forget_lines(node: Node, place: Place) -> None:
    node.place = node.key_place = place
    children = node.value if isinstance(node.value, list) else node.mapping.values()
    for child in children:
        _forget_lines(child, place)


def _refusal(source: str, what: str, fix: str) -> RefusedFileError:
    return RefusedFileError(source, [Problem(Place(source), "", what, fix)])
