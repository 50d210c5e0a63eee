"""Graphs as ONNX Runtime has optimized them for this CPU, kept in the user's cache.

A session rewrites weights (into the blocks of its convolutions, or from QDQ form), so that each
process has a copy of its own, and takes most of its loading time for that. Of a graph that one has
written before, nothing is left to rewrite: the weights are mapped from a file, which all processes
share, and the results are the same bit by bit. Only what kernels pack when they are created, such
as int8 weights, is copied all the same.
"""

import json
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import onnxruntime

from compiler.runner.cpu import cpu_features
from compiler.runner.user_cache import KeptFolders, cache_folder

WORTH_KEEPING: Final = 1 << 19
"""Bytes of graph and weights; below, a kept graph saves less than a millisecond (measured)."""

CPU: Final = "CPUExecutionProvider"

_GRAPH: Final = "graph.onnx"
_WEIGHTS: Final = "weights"
_WEIGHT_BYTES: Final = 1024
_KEPT_BYTES: Final = 4 << 30
_LARGEST: Final = _KEPT_BYTES // 4  # beyond, too few would fit

_LOG = logging.getLogger(__name__)

Options: TypeAlias = Any  # Any: onnxruntime has no types
OrtInferenceSession: TypeAlias = Any  # Any: as above


def write_graph(options: Options, path: Path, *, weights: str) -> None:
    """Let the session that will have these options write its graph, weights beside it."""
    options.optimized_model_filepath = str(path)
    for key, value in {
        "external_initializers_file_name": weights,
        "external_initializers_min_size_in_bytes": str(_WEIGHT_BYTES),
    }.items():
        options.add_session_config_entry(f"session.optimized_model_{key}", value)


def open_kept(
    model: Path, digest: str, new_options: Callable[[], Options], *, bfloat16: bool
) -> OrtInferenceSession | None:
    """Session of a graph's optimized form, which is kept if it was not.

    Args:
        model: ONNX file; weights beside it, in a file of that name that ends in .params.
        digest: Names the contents of both.
        new_options: What the session shall have; of its options, `bfloat16` alone may shape the
            graph (the number of threads does not).
        bfloat16: As in these options.

    Returns:
        None where keeping is off, does not pay or fails: open the model itself then.
    """
    folder, features = cache_folder("onnxruntime", chosen="onnxruntime"), sorted(cpu_features())
    # A graph for another CPU could crash: without features, nothing tells them apart.
    if folder is None or not features or not WORTH_KEEPING <= _size(model) <= _LARGEST:
        return None
    versions = (onnxruntime.__version__, onnxruntime.get_build_info())
    facts = json.dumps([digest, versions, features, bfloat16])
    name = sha256(facts.encode()).hexdigest()
    kept = KeptFolders(folder, limit=_KEPT_BYTES)

    def write(into: Path) -> None:
        options = new_options()
        write_graph(options, into / _GRAPH, weights=_WEIGHTS)
        _open(model, options)

    try:
        path = kept.find(name) or kept.keep(name, write)
    except Exception as error:  # ONNX Runtime's errors have no common base
        _LOG.info("onnxruntime: nothing is kept of %s: %s", model, error)
        return None
    if path is None:
        return None
    options = new_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return _open(path / _GRAPH, options)
    except Exception as error:  # as above
        _LOG.warning("onnxruntime: what was kept of %s is not used: %s", model, error)
        kept.remove(name)
        return None


def _open(path: Path, options: Options) -> OrtInferenceSession:
    return onnxruntime.InferenceSession(str(path), options, providers=[CPU])


def _size(model: Path) -> int:
    files = (model, model.with_suffix(".params"))
    return sum(path.stat().st_size for path in files if path.exists())
