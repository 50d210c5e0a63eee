"""The build file for editors (JSON Schema) and for people (a reference page), from the model."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from compiler.config.base import ACTED_ON
from compiler.config.model import BuildConfig
from compiler.preprocess.serialise import OPS

Schema = dict[str, Any]  # Any: JSON

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPE_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true/false",
    "object": "mapping",
    "op": "op",
}
_INTRODUCTION = """\
# Build file

```
modc schema > modc.schema.json
```

writes the JSON Schema of this page; `build_configs/modc.schema.json` is the same file. An editor
with a YAML language server checks a build file that begins with
`# yaml-language-server: $schema=modc.schema.json`.

Keys that are *accepted and ignored* stand in public build files and change nothing on this host.
Keys that are on no list here are refused, except below `backend.compile` and
`backend.dynamic_params`. A key whose value is null counts as absent, except `div255` and
`norm_type`. Older dialects are translated; `modc migrate old.yaml` writes the current one. This
page is generated from `compiler/config/`.
"""


def json_schema() -> Schema:
    """JSON Schema of a build file in the current dialect, with a description for every key."""
    schema = BuildConfig.model_json_schema()
    for name, op in OPS.items():
        definition = schema["$defs"][name]
        texts = {"type": "Name of the op.", **_field_texts(op)}
        definition["description"] = _first_sentence(op)
        definition["required"] = ["type", *definition.get("required", ())]
        definition["properties"].pop("arguments", None)  # a CustomFunc's other fields
        for key, field in definition["properties"].items():
            field["description"] = texts.get(key, definition["description"])
    return {"$schema": _DIALECT, **schema, "title": "modc build file"}


def reference() -> str:
    """The reference page in Markdown: every key with type, default and meaning."""
    schema = json_schema()
    sections = [_section(path, part, schema) for path, part in _sections("", schema, schema)]
    ops = ["## dataset.process_ops\n", "Each op is a mapping with its `type` and these fields.\n"]
    for name in OPS:
        definition = schema["$defs"][name]
        ops += [f"### {name}\n", f"{definition['description']}\n"]
        rows = [row for row in _rows(definition, schema) if not row.startswith("| `type`")]
        ops += [_table(rows)] if rows else []
    return "\n".join([_INTRODUCTION, *sections, *ops])


def _sections(path: str, section: Schema, schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, section
    for key, value in section.get("properties", {}).items():
        inner = _resolved(value, schema)
        if "properties" in inner:
            yield from _sections(f"{path}.{key}".removeprefix("."), inner, schema)


def _section(path: str, section: Schema, schema: Schema) -> str:
    title = f"## {path or 'Top level'}\n"
    return "\n".join([title, f"{section['description']}\n", _table(list(_rows(section, schema)))])


def _table(rows: list[str]) -> str:
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _rows(section: Schema, schema: Schema) -> Iterator[str]:
    for key, value in section["properties"].items():
        inner = _resolved(value, schema)
        is_section = "properties" in inner
        kind = "section" if is_section else _type(value)
        default = "" if is_section else _default(key, value, section)
        meaning = value.get("description", inner.get("description", "")).replace("|", "\\|")
        ignored = " *Accepted and ignored.*" if value.get(ACTED_ON) is False else ""
        yield f"| `{key}` | {kind} | {default} | {meaning}{ignored} |"


def _resolved(value: Schema, schema: Schema) -> Schema:
    """What a property refers to, leaving out an alternative null."""
    options = [item for item in value.get("anyOf", [value]) if item.get("type") != "null"]
    name = options[0].get("$ref", "").removeprefix("#/$defs/")
    resolved: Schema = schema["$defs"][name] if name and len(options) == 1 else value
    return resolved


def _type(value: Schema) -> str:
    if "enum" in value or "const" in value:
        return ", ".join(f"`{item}`" for item in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        names = [_type(item) for item in value["anyOf"] if item.get("type") != "null"]
        return " or ".join(dict.fromkeys(names))
    kind = str(value.get("type", "op"))
    if kind == "array":
        items: Schema = value.get("items") or value["prefixItems"][0]
        return f"list of {_type(items)}"
    if kind == "object" and isinstance(value.get("additionalProperties"), Mapping):
        return f"mapping to {_type(value['additionalProperties'])}"
    return _TYPE_NAMES[kind]


def _default(key: str, value: Schema, section: Schema) -> str:
    if key in section.get("required", ()):
        return "required"
    default = value.get("default")
    return "" if default in (None, []) else f"`{json.dumps(default)}`".replace('"', "")


def _first_sentence(op: type[Any]) -> str:  # Any: the ops have no common base
    return " ".join((op.__doc__ or "").split("\n\n")[0].split())


def _field_texts(op: type[Any]) -> dict[str, str]:  # Any: the ops have no common base
    """Descriptions of the fields, from the Args of the op's docstring."""
    arguments = (op.__doc__ or "").partition("Args:\n")[2]
    entries = re.split(r"^ {8}(\w+): ", arguments, flags=re.MULTILINE)
    texts = dict(zip(entries[1::2], entries[2::2], strict=True))
    known = [item.name for item in fields(op)]
    return {key: " ".join(text.split()) for key, text in texts.items() if key in known}
