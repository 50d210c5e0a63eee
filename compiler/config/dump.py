"""Configurations and documents as YAML text, keys in the order of the model."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import yaml

from compiler.config.base import Section, section_in
from compiler.config.model import BuildConfig
from compiler.preprocess.ops import ProcessOp
from compiler.preprocess.serialise import op_to_dict


def dump_config(config: BuildConfig) -> str:
    """The effective configuration: what the build file says, completed by the defaults.

    Paths stay as they were written. Loading the text gives an equal configuration.
    """
    return write_yaml(_plain(config))


def write_yaml(document: Mapping[str, Any]) -> str:  # Any: YAML values
    """A document in block style, lists of scalars on one line, sections in the model's order."""
    text: str = yaml.dump(
        _ordered(document, BuildConfig),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return text


def _plain(value: Any) -> Any:  # Any: pydantic fields in, YAML values out
    if isinstance(value, Section):
        entries = {key: _plain(item) for key, item in value if item is not None}
        return {
            key: item
            for key, item in entries.items()
            if item or not isinstance(getattr(value, key), Section)
        }
    if isinstance(value, get_args(ProcessOp)):
        implied = {field.name for field in fields(value) if field.default is None}
        return {
            key: item
            for key, item in op_to_dict(value).items()
            if item is not None or key not in implied
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _ordered(document: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    rank = {key: position for position, key in enumerate(section.model_fields)}
    ordered = {}
    for key in sorted(document, key=lambda key: rank.get(key, len(rank))):
        value = document[key]
        inner = section_in(section.model_fields[key].annotation) if key in rank else None
        ordered[key] = _ordered(value, inner) if inner and isinstance(value, Mapping) else value
    return ordered


class _Dumper(yaml.SafeDumper):
    """Block style, but lists of scalars (sizes, means, shapes) on one line."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal values out instead of naming them once."""
        return True

    def _represent_list(self, data: list[Any]) -> yaml.Node:
        nested = any(isinstance(item, Mapping) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


_Dumper.add_representer(list, _Dumper._represent_list)
