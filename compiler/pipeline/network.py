"""The network of a build file, before any pass."""

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, GraphError
from compiler.frontend.load_onnx import LoadedModel, load_onnx
from compiler.graph.head import mask_rule
from compiler.passes import Pass
from compiler.passes.append_extra_ops import CLASS_MAPS, append_extra_ops
from compiler.passes.fold_normalization import fold_normalization
from compiler.passes.prepend_normalization import prepend_normalization
from compiler.passes.result import PassResult
from compiler.passes.simplify_tail import simplify_tail
from compiler.pipeline.detections import detection_of
from compiler.pipeline.open_sizes import shapes_of
from compiler.preprocess.ops import CustomFunc, Normalize
from compiler.runner.manifest import Postprocessing

_EXPORTERS = {
    "pytorch": "torch.onnx.export(model, example, 'model.onnx')",
    "keras": "python -m tf2onnx.convert --keras model.h5 --output model.onnx",
    "tensorflow": "python -m tf2onnx.convert --graphdef model.pb --output model.onnx",
    "darknet": "a darknet to ONNX converter",
}


def load_network(config: BuildConfig) -> tuple[LoadedModel, list[PassResult]]:
    """Read the checkpoint, fix its shapes, and give it the inputs and outputs that are asked for.

    Sizes with a range stay open: their dimensions have names, and what follows from them is
    unknown. `size_at_largest` gives them numbers after the passes.

    What `graph` of the build file puts in front of the network and behind it is part of what the
    compiled network is compared with: both read the same inputs and yield the same outputs.

    Returns:
        The network, and what was put in front of it and behind it.

    Raises:
        BuildFileError: The checkpoint does not exist, or the network and its preprocessing do not
            suit `graph.fold_normalization`.
        GraphError: Another format than ONNX, or a network that cannot be read.
    """
    checkpoint = checkpoint_of(config)
    loaded = load_onnx(checkpoint, shapes_of(config), config.frontend.dtype)
    edits = [_prepend(config, loaded.graph)] if config.graph.fold_normalization else []
    kind, detection = config.graph.extra_ops.type, detection_of(config)
    return loaded, [*edits, append_extra_ops(loaded.graph, kind=kind, detection=detection)]


def checkpoint_of(config: BuildConfig) -> Path:
    """The model file.

    Raises:
        BuildFileError: It does not exist.
        GraphError: Another format than ONNX.
    """
    frontend = config.frontend
    if frontend.format != "onnx":
        raise GraphError(
            f"frontend.type {frontend.format} cannot be read ({frontend.checkpoint})",
            where=f"{config.name}: frontend.type",
            fix=f"export it to ONNX, with {_EXPORTERS[frontend.format]}, then set type: onnx",
        )
    return resolve_input(
        frontend.checkpoint, config.base_dir, where=f"{config.name}: frontend.checkpoint"
    )


def asked_passes(config: BuildConfig) -> tuple[Pass, ...]:
    """Float passes that only serve what `graph` of the build file asks for; before the others."""
    folds = config.graph.fold_normalization and config.backend.dtype == "int8"
    maps = config.graph.extra_ops.type in CLASS_MAPS
    return (*([fold_normalization] if folds else []), *([simplify_tail] if maps else []))


def _prepend(config: BuildConfig, graph: gs.Graph) -> PassResult:
    ops = config.dataset.process_ops if config.dataset else ()
    inputs = [f"{one.name} {np.dtype(one.dtype).name}{list(one.shape)}" for one in graph.inputs]
    if not ops or any(isinstance(op, CustomFunc) for op in ops):
        reason = "there are no process_ops to fold, or they are the user's own code"
    elif len(inputs) != 1 or graph.inputs[0].dtype != np.float32 or len(graph.inputs[0].shape) != 4:
        reason = f"it needs one float32 input of shape [N, C, H, W], the network has {inputs}"
    else:
        try:
            steps = [op for op in ops if isinstance(op, Normalize)]
            return prepend_normalization(graph, steps=steps)
        except ValueError as error:
            reason = str(error)
    raise BuildFileError(
        reason,
        where=f"{config.name}: graph.fold_normalization",
        fix="correct it, or remove the key",
    )


def postprocessing_of(graph: gs.Graph) -> Postprocessing | None:
    """How the first output becomes a class map, if it can."""
    found = mask_rule(graph)
    return None if found is None else Postprocessing(*found)
