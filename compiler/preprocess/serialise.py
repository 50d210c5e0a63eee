"""Process ops ↔ plain JSON values, without pydantic: how a bundle keeps its preprocessing."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any, get_args

from compiler.preprocess.ops import CustomFunc, Op, ProcessOp, closest

# Any: the constructors differ.
OPS: Mapping[str, type[Any]] = MappingProxyType({op.__name__: op for op in get_args(ProcessOp)})
_ALL: Mapping[str, type[Any]] = MappingProxyType({op.__name__: op for op in get_args(Op)})


def op_from_dict(data: Mapping[str, Any]) -> Op:
    """One op from its JSON or YAML form, without pydantic.

    Raises:
        ValueError: Unknown type or field, missing field, or a value that the op refuses.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r} is not an op; expected a mapping with the field type")
    name = str(data.get("type"))
    if name not in _ALL:
        raise ValueError(f"no op '{name}'{closest(name, _ALL)}; known are {', '.join(_ALL)}")
    if name == "CustomFunc":
        return _custom_from_dict(data)
    known = [item.name for item in fields(_ALL[name])]
    for key in data:
        if key not in known:
            raise ValueError(f"{name} has no field '{key}'{closest(key, known)}")
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    try:
        op: Op = _ALL[name](**values)
    except (TypeError, AttributeError) as error:  # a value of another type than the field's
        raise ValueError(f"{name}: {error}") from error
    return op


def op_to_dict(op: Op) -> dict[str, Any]:
    """The op as JSON-able values with every field written out; `op_from_dict` reads it."""
    values = asdict(op)
    values.update(values.pop("arguments", {}))
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _custom_from_dict(data: Mapping[str, Any]) -> CustomFunc:
    arguments = {key: value for key, value in data.items() if key != "type"}
    try:
        module_path, func_name = arguments.pop("module_path"), arguments.pop("func_name")
    except KeyError as error:
        raise ValueError(f"CustomFunc needs the field {error}") from None
    return CustomFunc(module_path=module_path, func_name=func_name, arguments=arguments)
