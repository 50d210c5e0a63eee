"""Weights of a model as arrays, wherever the file keeps them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compiler.errors import GraphError
from compiler.graph.convert import WEIGHT_BYTES

_SUPPORTED = {
    onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    for kind in ("f2", "f4", "f8", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "O")
}  # "O" holds strings

Arrays = dict[str, NDArray[Any]]  # any element type that ONNX has


def read_weights(model: onnx.ModelProto, path: Path) -> tuple[onnx.ModelProto, Arrays, list[Path]]:
    """Take the weights (constants over 1 KiB) out of `model`.

    Args:
        model: As parsed from `path`, external data not loaded; emptied of its weights.
        path: The model file; external data lies in its folder.

    Returns:
        A small model that declares the weights as inputs, after its own; the weights by name; the
        external data files, sorted.

    Raises:
        GraphError: External data that is missing, too short or outside the folder; truncated
            weights; an element type without support.
    """
    weights: Arrays = {}
    small: list[onnx.TensorProto] = []
    inner = list(_inner_tensors(model.graph))
    files = {_data_file(t, path) for t in [*model.graph.initializer, *inner] if _is_external(t)}
    for tensor in model.graph.initializer:
        values = _values(tensor, path)
        if values.nbytes > WEIGHT_BYTES:
            weights[tensor.name] = values
        else:
            small.append(numpy_helper.from_array(values, tensor.name))
    for tensor in inner:
        tensor.CopyFrom(numpy_helper.from_array(_values(tensor, path), tensor.name))
    del model.graph.initializer[:]
    rest = onnx.ModelProto()
    rest.CopyFrom(model)  # protobuf frees the memory of a message only with the message
    rest.graph.initializer.extend(small)
    rest.graph.input.extend(
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
        )
        for name, values in weights.items()
    )
    return rest, weights, sorted(files)


def _inner_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Tensors in node attributes, and everything in the graphs of If, Loop and Scan."""
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("g"):
            yield from attribute.g.initializer
            yield from _inner_tensors(attribute.g)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _values(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    if tensor.data_type not in _SUPPORTED:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise GraphError(
            f"weight '{tensor.name}' has element type {kind}, which is not supported",
            where=str(path),
            fix="export the network in float32",
        )
    if _is_external(tensor):
        return _external_values(tensor, path)
    try:
        return numpy_helper.to_array(tensor)
    except ValueError as error:
        raise GraphError(
            f"weight '{tensor.name}' of shape {list(tensor.dims)} is truncated ({error})",
            where=str(path),
            fix="export or copy the file again",
        ) from error


def _external_values(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    file = _data_file(tensor, path)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    count = int(np.prod(tensor.dims, dtype=np.int64))
    entries = _entries(tensor)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", count * dtype.itemsize))
    except ValueError:
        offset = length = -1
    if offset < 0 or length != count * dtype.itemsize:
        raise GraphError(
            f"weight '{tensor.name}' of shape {list(tensor.dims)} needs {count * dtype.itemsize} "
            f"bytes, its entry says {dict(entries)}",
            where=str(path),
            fix="export the model again, or copy both files from one export",
        )
    values = np.fromfile(file, dtype.newbyteorder("<"), count, offset=offset)
    if values.size != count:
        raise GraphError(
            f"weight '{tensor.name}' is cut off: needs bytes {offset} to {offset + length}, "
            f"the file has {file.stat().st_size}",
            where=str(file),
            fix="copy the file again, whole",
        )
    return values.astype(dtype, copy=False).reshape(tuple(tensor.dims))


def _data_file(tensor: onnx.TensorProto, path: Path) -> Path:
    location = _entries(tensor).get("location", "")
    file = path.parent / location
    inside = file.resolve().is_relative_to(path.parent.resolve())
    if not location or Path(location).is_absolute() or not inside:
        raise GraphError(
            f"weight '{tensor.name}' lies at '{location}', outside the model's folder",
            where=str(path),
            fix="put the data file beside the model and export with a relative location",
        )
    if not file.is_file():
        raise GraphError(
            f"external data file '{location}' of weight '{tensor.name}' does not exist",
            where=str(path),
            fix=f"put '{location}' into {path.parent}",
        )
    return file


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
