"""What shapes the results of a build besides its inputs: versions, code and processor."""

from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

import calibration
import compiler

TOOLS: Final = ("PIL", "cv2", "numpy", "onnx", "onnx_graphsurgeon", "onnxruntime")
"""Modules whose version may change the bytes of a bundle, whatever package brought them."""


def versions() -> dict[str, str]:
    """Version of modc and of each of the `TOOLS`."""
    tools: dict[str, Any] = {tool: import_module(tool) for tool in TOOLS}  # Any: their attributes
    return {"modc": compiler.__version__, **{name: one.__version__ for name, one in tools.items()}}


def cpu_features() -> list[str]:
    """Vector extensions of this CPU: kernels chosen by them differ in their last bits."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return sorted({*extensions.get("baseline", []), *extensions.get("found", [])})


@cache
def code_digest() -> str:
    """SHA-256 of modc's own Python files, which change more often than its version."""
    digest = sha256()
    for package in (compiler, calibration):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            code = path.read_bytes()
            name = path.relative_to(root.parent).as_posix()
            digest.update(f"{name} {len(code)}\n".encode() + code)
    return digest.hexdigest()
