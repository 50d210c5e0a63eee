"""Known slips of public build files, read as what they mean; unknown keys, refused.

Works on the tree in the current dialect. Whatever is changed here leaves a note or a warning.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

from compiler.config.backend import CalibrateMode
from compiler.config.base import Section, is_ignored, section_in
from compiler.config.model import BuildConfig
from compiler.config.problems import Findings, KeyPath, Place
from compiler.config.spelling import did_you_mean, nearest
from compiler.config.tree import Node
from compiler.preprocess.serialise import OPS

NULL_TEXTS = ("None", "none", "null")  # written where YAML's null was meant
_NONE_IS_NULL = (("graph", "extra_ops", "type"), ("dataset", "sampler", "suffix"))
_NULL_COUNTS = ("div255", "norm_type")  # fields of ops in which null is not the default
_VALUE_NAMES: Mapping[KeyPath, Mapping[str, str]] = MappingProxyType(
    {
        ("backend", "quantize", "calibrate_mode"): {
            "kl": "kl_divergence",
            "minmax": "max",
            "min_max": "max",
            **{mode: mode for mode in get_args(CalibrateMode)},  # in upper or lower case
        },
        ("backend", "type"): {"ort": "onnxruntime"},
    }
)


def normalise(root: Node, findings: Findings, *, stem: str, lenient: bool = False) -> None:
    """Bring a document to the keys and values of the model, in place.

    Args:
        root: Document in the current dialect.
        findings: Receives notes, warnings and, for unknown keys, problems.
        stem: Name for the bundle if the document gives none.
        lenient: Unknown keys are warnings; one that is within two edits of an absent key is used.
    """
    _repair_known_slips(root, findings)
    _Walk(findings, lenient).section(root, BuildConfig, ())
    _rename_values(root, findings)
    if "name" not in root.mapping:
        name = re.sub(r"[^\w.+-]", "_", stem)
        root.mapping["name"] = Node(name, root.place, root.place)
        findings.warn(root.place, ("name",), f"absent; '{name}' is used, as the file is called")


def _repair_known_slips(root: Node, findings: Findings) -> None:
    quantize = root.get("backend", "quantize")
    if quantize and "alibrate_mode" in quantize.mapping and not quantize.get("calibrate_mode"):
        node = quantize.mapping["calibrate_mode"] = quantize.mapping.pop("alibrate_mode")
        path = ("backend", "quantize", "alibrate_mode")
        findings.warn(node.key_place, path, "read as calibrate_mode; correct the spelling")
    _drop_null(root, ("graph", "extra_ops"), "extra_ops", findings.warn)
    _drop_null(root, ("graph",), "type", findings.note)
    language_model = root.get("frontend", "quantize")
    if language_model:
        del root.mapping["frontend"].mapping["quantize"]
        text = "quantizing the weights of language models is not supported"
        findings.problem(language_model.key_place, ("frontend", "quantize"), text)


def _drop_null(
    root: Node, section: KeyPath, name: str, say: Callable[[Place, KeyPath, str], None]
) -> None:
    """Drop a null that was indented one level too far, or not far enough."""
    parent = root.get(*section)
    node = parent.get(name) if parent else None
    if parent and node and node.value in (None, *NULL_TEXTS):
        del parent.mapping[name]
        say(node.key_place, (*section, name), "does not belong here, but is null; ignored")


def _rename_values(root: Node, findings: Findings) -> None:
    for path, names in _VALUE_NAMES.items():
        node = root.get(*path)
        if node and isinstance(node.value, str):
            name = names.get(node.value.lower(), node.value)
            if name != node.value:
                findings.note(node.place, path, f"'{node.value}' is read as '{name}'")
                node.value = name


class _Walk:
    """Compares the tree with the sections of the model."""

    def __init__(self, findings: Findings, lenient: bool) -> None:
        self.findings = findings
        self.lenient = lenient

    def section(self, node: Node, model: type[Section], path: KeyPath) -> None:
        known = model.model_fields
        free = model.model_config.get("extra") == "allow"
        for key in [key for key in node.mapping if key not in known]:
            if free:
                text = "unknown option of the original accelerator; ignored"
                self.findings.note(node.mapping[key].key_place, (*path, key), text)
            else:
                self._unknown(node, key, path, known)
        for key, child in list(node.mapping.items()):
            here = (*path, key)
            field = known.get(key)
            self._null_text(
                child, here, text_allowed=field is None or _takes_text(field.annotation)
            )
            if child.value is None:
                del node.mapping[key]  # null means absent
                continue
            if field and is_ignored(field):
                text = "changes nothing on this host; ignored"
                self.findings.note(child.key_place, here, text)
            if field and (inner := section_in(field.annotation)):
                self.section(child, inner, here)
            if here == ("dataset", "process_ops") and isinstance(child.value, list):
                for index, op in enumerate(child.value):
                    self._op(op, (*here, index))

    def _unknown(self, node: Node, key: str, path: KeyPath, known: Mapping[str, Any]) -> None:
        child = node.mapping.pop(key)
        if not self.lenient:
            text = f"unknown key{_elsewhere(key, path)}{did_you_mean(key, known)}"
            self.findings.problem(child.key_place, (*path, key), text)
            return
        absent = [name for name in known if name not in node.mapping]
        meant = nearest(key, absent, within=2)
        if meant:
            node.mapping[meant] = child
        text = f"unknown key, {f'read as {meant}' if meant else 'ignored'}"
        self.findings.warn(child.key_place, (*path, key), text)

    def _op(self, node: Node, path: KeyPath) -> None:
        kind = node.get("type")
        op = OPS.get(str(kind.value)) if kind else None
        if op is None or op.__name__ == "CustomFunc":
            return  # the model names what is wrong; a CustomFunc passes all its fields on
        known = [item.name for item in fields(op)]
        for key, child in list(node.mapping.items()):
            here = (*path, key)
            if key not in known:
                text = f"{op.__name__} has no such field{did_you_mean(key, known)}"
                self.findings.problem(child.key_place, here, text)
                del node.mapping[key]
            elif key == "norm_type" and child.value in NULL_TEXTS:
                child.value = None
                self.findings.note(child.place, here, "the text 'None' is read as null")
            else:
                self._null_text(child, here, text_allowed=key == "code")
            if child.value is None and key == "div255":
                text = "null means false (the default, when absent, is true)"
                self.findings.note(child.place, here, text)
            elif child.value is None and key in known and key not in _NULL_COUNTS:
                del node.mapping[key]

    def _null_text(self, node: Node, path: KeyPath, *, text_allowed: bool) -> None:
        if node.value not in NULL_TEXTS:
            return
        if path in _NONE_IS_NULL:
            self.findings.note(node.place, path, f"the text '{node.value}' is read as null")
        elif text_allowed:
            text = f"'{node.value}' is taken as text; null is written null, or the key left out"
            self.findings.warn(node.place, path, text)
            return
        else:
            self.findings.warn(node.place, path, f"the text '{node.value}' is read as null")
        node.value = None


def _elsewhere(key: str, path: KeyPath) -> str:
    places = [".".join(where) or "the top level" for where in _homes().get(key, ())]
    return f"; it is a key of {' and '.join(places)}" if 0 < len(places) <= 2 and path else ""


@cache
def _homes() -> Mapping[str, list[tuple[str, ...]]]:
    homes: dict[str, list[tuple[str, ...]]] = {}
    for path, section in sections():
        for key, field in section.model_fields.items():
            if not is_ignored(field):
                homes.setdefault(key, []).append(path)
    return homes


def sections() -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Every section of a build file with its key path, the whole file first."""
    waiting: list[tuple[tuple[str, ...], type[Section]]] = [((), BuildConfig)]
    while waiting:
        path, section = waiting.pop(0)
        yield path, section
        for key, field in section.model_fields.items():
            if inner := section_in(field.annotation):
                waiting.append(((*path, key), inner))


def _takes_text(annotation: Any) -> bool:  # Any: annotations are not types
    if annotation is str:
        return True
    if get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        return any(_takes_text(part) for part in get_args(annotation))
    return False
