"""The two older forms of a vdsp JSON → the current one.

Flat: `vdsp_op_type` is a number (300, 301, 303) and every enumeration is one. Property list:
`config` is a list of {Property, DType, ParamType, Value} and enumerations carry prefixes. Both
keep means and deviations as the bits of a float16, and name the channels r, g, b.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compiler.preprocess.vdsp_names import LEGACY_OP_TYPES

_TRIPLES = {"Mean": "mean{}", "Std": "std{}", "Padding": "padding_value_{}"}
_PREFIXES = ("COLOR_SPACE_", "COLOR_", "EDGE_PADDING_TYPE_")


def is_legacy(content: Mapping[str, Any]) -> bool:
    """Whether the object is of an older form."""
    return "vdsp_op_type" in content


def modernise(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same op as {OpType, OpConfig}; values that cannot be right are left for its reader.

    Raises:
        ValueError: A form that has no current counterpart.
    """
    flat = _properties(content["config"]) if "config" in content else dict(content)
    if "short_edge_threshold" in flat:
        raise ValueError(
            "short_edge_threshold scales the short side of the image, for which OpConfig has no "
            "key; set ResizeWidth and ResizeHeight for each image instead"
        )
    config = {_camel(key): _without_prefix(value) for key, value in flat.items()}
    for key, pattern in _TRIPLES.items():
        names = [pattern.format(channel) for channel in "rgb"]
        if all(name in flat for name in names):
            values = [flat[name] for name in names]
            config[key] = values if key == "Padding" else [_from_bits(value) for value in values]
    return {"OpType": _op_type(content["vdsp_op_type"]), "OpConfig": config}


def _properties(listed: Any) -> dict[str, Any]:  # Any: a value of a JSON file
    if not isinstance(listed, list) or not all(
        isinstance(item, Mapping) and isinstance(item.get("Property"), str) for item in listed
    ):
        raise ValueError("config is not a list of objects with Property and Value")
    return {item["Property"]: item.get("Value") for item in listed}


def _op_type(legacy: object) -> object:
    if isinstance(legacy, int) and not isinstance(legacy, bool):
        if legacy not in LEGACY_OP_TYPES:
            known = ", ".join(f"{number} ({name})" for number, name in LEGACY_OP_TYPES.items())
            raise ValueError(f"vdsp_op_type {legacy} is not known; expected {known}")
        return LEGACY_OP_TYPES[legacy]
    if not isinstance(legacy, str):
        return legacy
    name = legacy.removesuffix("_U8").replace("NORMALIZATION", "NORM")
    return f"FUSION_OP_{name.replace('TENSORIZATION', 'TENSOR')}"


def _camel(key: str) -> str:
    return "".join(part.capitalize() for part in key.split("_"))


def _without_prefix(value: object) -> object:
    if isinstance(value, str):
        prefix = next((prefix for prefix in _PREFIXES if value.startswith(prefix)), "")
        return value.removeprefix(prefix)
    return value


def _from_bits(value: object) -> float:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0xFFFF:
        raise ValueError(f"{value!r} is not the bits of a float16 (0 to 65535)")
    return float(np.array(value, np.uint16).view(np.float16))
