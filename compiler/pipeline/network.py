"""The network of a build file, before any pass."""

import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig, is_range
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, GraphError
from compiler.frontend.load_onnx import LoadedModel, load_onnx
from compiler.graph.head import mask_rule
from compiler.passes.append_extra_ops import append_extra_ops
from compiler.passes.result import PassResult
from compiler.runner.manifest import Postprocessing

_EXPORTERS = {
    "pytorch": "torch.onnx.export(model, example, 'model.onnx')",
    "keras": "python -m tf2onnx.convert --keras model.h5 --output model.onnx",
    "tensorflow": "python -m tf2onnx.convert --graphdef model.pb --output model.onnx",
    "darknet": "a darknet to ONNX converter",
}


def load_network(config: BuildConfig) -> tuple[LoadedModel, PassResult]:
    """Read the checkpoint, fix its shapes and append what `graph.extra_ops` asks for.

    Raises:
        BuildFileError: The checkpoint does not exist, or an input has a range of shapes.
        GraphError: Another format than ONNX, or a network that cannot be read.
    """
    frontend = config.frontend
    if frontend.format != "onnx":
        raise GraphError(
            f"frontend.type {frontend.format} cannot be read ({frontend.checkpoint})",
            where=f"{config.name}: frontend.type",
            fix=f"export it to ONNX, with {_EXPORTERS[frontend.format]}, then set type: onnx",
        )
    ranges = [name for name, shape in frontend.shape.items() if is_range(shape)]
    if ranges:
        raise BuildFileError(
            f"'{ranges[0]}' has a range of shapes, and bundles have one shape",
            where=f"{config.name}: frontend.shape",
            fix="give one shape; build one bundle for each size that is needed",
        )
    checkpoint = resolve_input(
        frontend.checkpoint, config.base_dir, where=f"{config.name}: frontend.checkpoint"
    )
    shapes = {name: [int(str(size)) for size in shape] for name, shape in frontend.shape.items()}
    loaded = load_onnx(checkpoint, shapes, frontend.dtype)
    return loaded, append_extra_ops(loaded.graph, kind=config.graph.extra_ops.type)


def postprocessing_of(graph: gs.Graph) -> Postprocessing | None:
    """How the first output becomes a class map, if it can."""
    found = mask_rule(graph)
    return None if found is None else Postprocessing(*found)
