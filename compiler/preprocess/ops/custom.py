"""The user's own Python function as a process op."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from compiler.preprocess.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class CustomFunc:
    """The user's own function in place of the whole chain.

    Args:
        module_path: Python file.
        func_name: Function in it, called as `func_name(image_path, **arguments)`.
        arguments: In a build file, the remaining fields of the op.
    """

    type: Literal["CustomFunc"] = "CustomFunc"
    module_path: str
    func_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # Any: values of a YAML file

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "allow"}

    def __post_init__(self) -> None:
        # pydantic leaves the fields that it does not know in the instance's dictionary.
        extra = vars(self).keys() - {item.name for item in fields(self)}
        collected = {name: vars(self).pop(name) for name in sorted(extra)}
        object.__setattr__(self, "arguments", {**self.arguments, **collected})

    def __call__(self, path: Path | str) -> Pixels:
        """Whatever the function returns for this file; only `Chain` decides whether it may run."""
        function = _load_function(self.module_path, self.func_name)
        try:
            return np.asarray(function(str(path), **self.arguments))
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise ValueError(
                f"{self.func_name} of {self.module_path} failed: {_fault(error)}"
            ) from error


@cache
def _load_function(module_path: str, func_name: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(Path(module_path).stem, module_path)
    if spec is None or spec.loader is None:
        raise ValueError(f"module_path {module_path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise ValueError(f"cannot import {module_path} for {func_name}: {_fault(error)}") from error
    function = getattr(module, func_name, None)
    if not callable(function):
        raise ValueError(f"{module_path} has no function '{func_name}'")
    return function  # type: ignore[no-any-return]  # getattr of a foreign module


def _fault(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it calls sys.exit, which would end the whole process; raise an error instead"
    return f"{type(error).__name__}: {error}"
