"""Tree → typed configuration; pydantic's errors become sentences with a line."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compiler.config.advice import advise
from compiler.config.model import INT8_NEEDS_DATA, BuildConfig
from compiler.config.problems import Findings, KeyPath, RefusedFileError
from compiler.config.spelling import did_you_mean
from compiler.config.tree import Node
from compiler.preprocess.serialise import OPS

_EXPECTED = (  # by the beginning of pydantic's error type
    ("int_", "a whole number"),
    ("float_", "a number"),
    ("bool_", "true or false"),
    ("string_too_short", "a text that is not empty"),
    ("string_", "text"),
    ("tuple_type", "a list"),
    ("model_", "keys and values below it"),
    ("mapping_type", "keys and values below it"),
    ("dict_type", "keys and values below it"),
    ("dataclass_type", "keys and values below it"),
    ("finite_number", "a finite number"),
    ("greater_than_equal", "{ge} or more"),
    ("greater_than", "more than {gt}"),
    ("less_than_equal", "at most {le}"),
    ("too_short", "at least {min_length} value(s)"),
    ("too_long", "at most {max_length} values"),
    ("literal_error", "{expected}"),
)


def validate(tree: Node, findings: Findings, *, strict: bool = False) -> BuildConfig:
    """The configuration that a normalised document holds; advice on it goes to `findings`.

    Raises:
        RefusedFileError: Everything that stands against the file, from here and from before.
    """
    try:
        config = BuildConfig.model_validate(tree.plain())
    except ValidationError as error:
        _report(error, tree, findings)
        raise RefusedFileError(findings.source, findings.standing(strict=strict)) from None
    advise(config, tree, findings)
    if problems := findings.standing(strict=strict):
        raise RefusedFileError(findings.source, problems)
    return config


def _report(error: ValidationError, tree: Node, findings: Findings) -> None:
    """One problem per place; the branches of a union that failed there become one sentence."""
    by_place: dict[KeyPath, list[tuple[KeyPath, ErrorDetails]]] = {}
    for details in error.errors(include_url=False):
        if details["loc"]:  # the check across sections is made below, whatever else is wrong
            path, union_at = _locate(details, tree)
            by_place.setdefault(union_at, []).append((path, details))
    for found in by_place.values():
        depth = max(len(path) for path, _ in found)
        deepest = [(path, details) for path, details in found if len(path) == depth]
        path = deepest[0][0]
        node = tree.deepest(path)
        missing = deepest[0][1]["type"] == "missing" and isinstance(path[-1], str)
        place = node.key_place if missing or isinstance(node.value, dict) else node.place
        findings.problem(place, path, _sentence([details for _, details in deepest]))
    dtype = tree.get("backend", "dtype")
    if dtype and dtype.value == "int8" and tree.get("dataset", "path") is None:
        node = tree.get("dataset") or dtype
        findings.problem(node.key_place, ("dataset",), INT8_NEEDS_DATA)


def _locate(details: ErrorDetails, tree: Node) -> tuple[KeyPath, KeyPath]:
    """Key path of an error without pydantic's branch names, and the path of its first union."""
    path: KeyPath = ()
    union_at: KeyPath | None = None
    for position, part in enumerate(details["loc"]):
        last = position == len(details["loc"]) - 1
        if tree.get(*path, part) or (
            last and details["type"] == "missing" and isinstance(part, str)
        ):
            path = (*path, part)
        elif part not in OPS and union_at is None:
            union_at = path
    return path, path if union_at is None else union_at


def _sentence(errors: list[ErrorDetails]) -> str:
    first = errors[0]
    context: Mapping[str, Any] = first.get("ctx", {})  # Any: as pydantic declares it
    match first["type"]:
        case "missing" if isinstance(first["loc"][-1], str):
            return "required, but absent"
        case "value_error":
            return str(context["error"])
        case "union_tag_invalid":
            tag = str(context["tag"])
            return f"unknown op '{tag}'{did_you_mean(tag, OPS)}; known are {', '.join(OPS)}"
        case "union_tag_not_found":
            return f"each op needs a type: {', '.join(OPS)}"
    expected = " or ".join(dict.fromkeys(_expectation(error) for error in errors))
    shown = json.dumps(first["input"], ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{shown} given; expected {expected}{_hint(first, shown) if len(errors) == 1 else ''}"


def _hint(error: ErrorDetails, shown: str) -> str:
    value, kind = error["input"], error["type"]
    if kind == "string_type" and isinstance(value, int | float):
        return " (put it in quotes)"
    if kind == "tuple_type" and isinstance(value, str | int | float):
        return f", such as [{shown}]"
    choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    return did_you_mean(value, choices) if isinstance(value, str) else ""


def _expectation(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return f"at least {int(error['loc'][-1]) + 1} values"
    template = next((text for start, text in _EXPECTED if error["type"].startswith(start)), None)
    return template.format(**error.get("ctx", {})) if template else error["msg"]
