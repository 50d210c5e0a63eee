"""Read, check and run bundles; importing this package loads neither numpy nor onnxruntime."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.runner.load import Runner

__all__ = ["Runner"]

_HOMES = {"Runner": "compiler.runner.load"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
