"""From a build file to a verified bundle: the only package that knows the order of the stages."""

from compiler.pipeline.build import Build
from compiler.pipeline.compile import compile_model, layers_of

__all__ = ["Build", "compile_model", "layers_of"]
