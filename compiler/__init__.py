"""modc: one build YAML in, one verified bundle out.

    from compiler import Runner, compile_model, load_config

    build = compile_model(load_config("build_configs/official_unet3p.yaml"))
    with Runner(build.prefix) as runner:
        outputs = runner.run("portrait.jpg")

Importing this package costs nothing: each name is loaded when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.config.load import load_config
    from compiler.errors import ModcError
    from compiler.pipeline import Build, compile_model
    from compiler.pipeline.check import Check, check_build
    from compiler.runner.load import Runner

__version__ = "0.1.0"
__all__ = [
    "Build",
    "Check",
    "ModcError",
    "Runner",
    "check_build",
    "compile_model",
    "load_config",
]

# ONNX Runtime looks at it when it is imported: else it writes an identifier and a database into the
# user's home, and reports to a server.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Build": "compiler.pipeline",
    "Check": "compiler.pipeline.check",
    "ModcError": "compiler.errors",
    "Runner": "compiler.runner.load",
    "check_build": "compiler.pipeline.check",
    "compile_model": "compiler.pipeline",
    "load_config": "compiler.config.load",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
