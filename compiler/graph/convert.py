"""The graph that passes edit (`gs.Graph`) to and from the file format (`onnx.ModelProto`).

Three rules make the rest of the compiler simple:

1. Every constant is a `gs.Constant` with its values loaded; there are no Constant nodes.
2. Every node has a unique name.
3. The same graph gives the same bytes: fixed producer, an IR version that follows from the opset,
   weights in graph order, no documentation strings, no metadata.

Checking and shape inference work on a *skeleton*, the model with its weights declared as inputs,
so that they cost no memory however large the network is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from numpy.typing import NDArray
from onnx import numpy_helper

from compiler.graph.open_sizes import OpenSize, has_open_sizes
from compiler.graph.query import constant_value, unique_name

PRODUCER: Final = "modc"
WEIGHT_BYTES: Final = 1024  # larger constants are weights: outside skeletons, in the data file
ALIGNMENT: Final = 4096  # bytes; a page, so that the data file can be mapped into memory


def to_graph(model: onnx.ModelProto) -> gs.Graph:
    """Graph of `model`, by the rules above. External data must have been loaded before."""
    graph = gs.import_onnx(model)
    graph.doc_string = ""
    _load_constants(graph)
    _lift_constant_nodes(graph)
    name_nodes(graph)
    return graph


def name_nodes(graph: gs.Graph) -> None:
    """Name every unnamed node `<op>_<first output>`; make repeated names unique."""
    nodes = [node for each in graph_and_subgraphs(graph) for node in each.nodes]
    repeated = {name for name, times in Counter(node.name for node in nodes).items() if times > 1}
    seen: set[str] = set()
    for node in nodes:
        if not node.name or (node.name in repeated and node.name in seen):
            output = next((tensor.name for tensor in node.outputs if tensor.name), "nothing")
            node.name = unique_name(graph, node.name or f"{node.op}_{output}")
        seen.add(node.name)


def to_model(graph: gs.Graph) -> onnx.ModelProto:
    """Self-contained model of `graph`; `to_bytes` serialises it deterministically."""
    model, weights = _export(graph)
    _insert(model, graph, (numpy_helper.from_array(w.values, w.name) for w in weights))
    return model


def to_skeleton(graph: gs.Graph) -> onnx.ModelProto:
    """Model of `graph` whose weights are graph inputs, after the real inputs."""
    model, weights = _export(graph)
    model.graph.input.extend(map(_as_input, weights))
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The serialised model: same model, same bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def save_model(graph: gs.Graph, path: Path, data: Path | None = None) -> None:
    """Write `graph` to `path`, its weights to `data` if given, else into the model.

    Weights go to the data file one by one, in graph order, each block at a multiple of 4096 bytes.

    Raises:
        ValueError: `data` is not in the folder of `path`, where ONNX looks for it.
    """
    if data is None:
        path.write_bytes(to_bytes(to_model(graph)))
        return
    if data.parent != path.parent:
        raise ValueError(f"{data.name} must be in the folder of {path.name}")
    model, weights = _export(graph)
    with data.open("wb") as file:
        _insert(model, graph, [_write_external(weight, file, data.name) for weight in weights])
    path.write_bytes(to_bytes(model))


def load_graph(path: Path) -> gs.Graph:
    """Graph that `save_model` has written; saved again, it gives the same bytes.

    Weights in a data file are not read but mapped into memory, read-only, and cost no time and no
    memory until they are used. The data file must stay as it is for as long as the graph lives: it
    may be deleted, but never be written over, not by saving this graph either.

    Raises:
        ValueError: The file is no model, or its data file is cut off or in another folder.
        OSError: A file cannot be read.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{path.name} is no ONNX model") from error
    graph = gs.import_onnx(model)
    mapped = _map_weights(model.graph.initializer, path.parent)
    for name, tensor in graph.tensors().items():
        if name in mapped:
            tensor.values = mapped[name]
            tensor.data_location = None  # where they came from; not where they are to go
    _load_constants(graph)
    return graph


def check_model(model: onnx.ModelProto | Path) -> None:
    """Check a model, or a model file with its external data, against the ONNX specification.

    Raises:
        ValueError: The model is invalid, or its shapes contradict each other.
    """
    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(_first_lines(error)) from error


def check_graph(graph: gs.Graph) -> None:
    """`check_model` on the skeleton of `graph`.

    Raises:
        ValueError: The graph is invalid, or its shapes contradict each other.
    """
    check_model(to_skeleton(graph))


def infer_shapes(graph: gs.Graph) -> int:
    """Compute shape and element type of every tensor from the graph inputs; update the graph.

    Sizes of inputs that are open within a range count as their largest.

    Returns:
        Number of tensors whose shape or type became known or changed.

    Raises:
        ValueError: Shapes contradict each other; the message names the node.
    """
    model = to_skeleton(graph)
    for dimension, size in _open_dimensions(model, graph):
        dimension.dim_value = size
    model = _infer(model)
    tensors = graph.tensors()
    return sum(
        _update(tensors[info.name], info)
        for info in [*model.graph.value_info, *model.graph.output]
        if info.name in tensors
    )


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The skeleton with the shapes that follow from those of its inputs, and no others."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(_first_lines(error)) from error


def _update(tensor: gs.Tensor, info: onnx.ValueInfoProto) -> bool:
    kind = info.type.tensor_type
    if isinstance(tensor, gs.Constant) or not kind.HasField("shape"):
        return False
    known = (
        [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim],
        np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)),
    )
    before = (None if tensor.shape is None else list(tensor.shape), tensor.dtype)
    tensor.shape, tensor.dtype = known
    return before != known


def graph_and_subgraphs(graph: gs.Graph) -> list[gs.Graph]:
    """`graph`, then the inner graphs of its If, Loop and Scan nodes, at any depth."""
    return [graph, *graph.subgraphs(recursive=True)]


def _constants(graph: gs.Graph) -> list[gs.Constant]:
    tensors = [tensor for each in graph_and_subgraphs(graph) for tensor in each.tensors().values()]
    return [tensor for tensor in tensors if isinstance(tensor, gs.Constant)]


def _load_constants(graph: gs.Graph) -> None:
    """Let no constant keep the model alive that it was imported from."""
    for constant in _constants(graph):
        _ = constant.values


def _lift_constant_nodes(graph: gs.Graph) -> None:
    for each in graph_and_subgraphs(graph):
        outputs = {id(tensor) for tensor in each.outputs}
        for node in [node for node in each.nodes if node.op == "Constant"]:
            value = _node_value(node)
            if value is not None and id(node.outputs[0]) not in outputs:
                tensor = node.outputs[0]
                node.outputs.clear()
                tensor.to_constant(value)
                each.nodes.remove(node)


def _node_value(node: gs.Node) -> NDArray[Any] | None:
    (key, value), *_ = node.attrs.items()
    if key == "value":
        return constant_value(value)
    kinds = {"value_float": np.float32, "value_int": np.int64}
    kind = kinds.get(key.removesuffix("s"))
    return None if kind is None else np.array(value, dtype=kind)


def _export(graph: gs.Graph) -> tuple[onnx.ModelProto, list[gs.Constant]]:
    """Model without its weights, and the weights in graph order."""
    bare = graph.copy()
    weights = [
        tensor
        for name, tensor in graph.tensors().items()
        if isinstance(tensor, gs.Constant) and tensor.values.nbytes > WEIGHT_BYTES
    ]
    held = {weight.name for weight in weights}
    for name, tensor in bare.tensors().items():
        if name in held:
            tensor.to_variable(tensor.dtype, tensor.shape)
            tensor.type = "tensor_type"  # which gs 0.6.1 forgets
    imports = onnx.helper.make_opsetid("", graph.opset)
    model = gs.export_onnx(bare, opset_imports=[imports, *_other_domains(graph)])
    infos = [info for info in model.graph.value_info if info.name not in held]
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos)
    model.producer_name = PRODUCER
    model.producer_version = ""
    model.ir_version = max(8, onnx.helper.find_min_ir_version_for([imports]))
    if has_open_sizes(graph):
        _open(model, graph, weights)
    return model, weights


def _open(model: onnx.ModelProto, graph: gs.Graph, weights: Iterable[gs.Constant]) -> None:
    """Write open sizes of inputs by their names, and leave out all sizes that follow from them."""
    for dimension, size in _open_dimensions(model, graph):
        dimension.dim_param = size.name
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    skeleton.graph.input.extend(map(_as_input, weights))
    inferred = _infer(skeleton).graph.output
    del model.graph.value_info[:]
    for output, known, tensor in zip(model.graph.output, inferred, graph.outputs, strict=True):
        shape = output.type.tensor_type.shape
        shape.Clear()  # which also declares it where it was not
        if known.type.tensor_type.HasField("shape"):
            shape.CopyFrom(known.type.tensor_type.shape)
        else:
            for _ in tensor.shape or ():
                shape.dim.add()


def _open_dimensions(
    model: onnx.ModelProto, graph: gs.Graph
) -> Iterator[tuple[onnx.TensorShapeProto.Dimension, OpenSize]]:
    """Those of the graph's inputs in `model`, with their ranges."""
    infos = {info.name: info for info in model.graph.input}
    for tensor in graph.inputs:
        dimensions = infos[tensor.name].type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, tensor.shape or (), strict=False):
            if isinstance(size, OpenSize):
                yield dimension, size


def _as_input(weight: gs.Constant) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    return onnx.helper.make_tensor_value_info(weight.name, kind, weight.shape)


def _other_domains(graph: gs.Graph) -> list[onnx.OperatorSetIdProto]:
    """Versions of the domains that nodes of `graph` use besides the standard one."""
    nodes = [node for each in graph_and_subgraphs(graph) for node in each.nodes]
    used = {node.domain for node in nodes if node.domain}
    known = {one.domain: one.version for one in graph.import_domains or ()}
    return [onnx.helper.make_opsetid(domain, known.get(domain, 1)) for domain in sorted(used)]


def _insert(model: onnx.ModelProto, graph: gs.Graph, weights: Iterable[onnx.TensorProto]) -> None:
    """Put `weights` among the small initializers of `model`, in the order of `graph`."""
    protos = {proto.name: proto for proto in [*model.graph.initializer, *weights]}
    del model.graph.initializer[:]
    model.graph.initializer.extend(protos[name] for name in graph.tensors() if name in protos)


def _write_external(weight: gs.Constant, file: BinaryIO, location: str) -> onnx.TensorProto:
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
    offset = file.tell()
    values = np.ascontiguousarray(weight.values, weight.dtype.newbyteorder("<"))
    file.write(values.reshape(-1).view(np.uint8).data)
    proto = onnx.TensorProto(
        name=weight.name,
        dims=values.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(values.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, text in {"location": location, "offset": offset, "length": values.nbytes}.items():
        proto.external_data.add(key=key, value=str(text))
    return proto


def _map_weights(initializers: Iterable[onnx.TensorProto], folder: Path) -> dict[str, NDArray[Any]]:
    """Values of the external ones among `initializers`, as views of their mapped file."""
    files: dict[str, NDArray[np.uint8]] = {}
    weights = {}
    for proto in initializers:
        if proto.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in proto.external_data}
        location, offset, length = (entries[key] for key in ("location", "offset", "length"))
        if Path(location).name != location:
            raise ValueError(f"weight '{proto.name}' lies in another folder: {location}")
        if location not in files:
            files[location] = np.memmap(folder / location, np.uint8, mode="r").view(np.ndarray)
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
        block = files[location][int(offset) :][: int(length)]
        if block.size != int(length):
            raise ValueError(f"weight '{proto.name}' is cut off: {location} is too short")
        values = block.view(dtype.newbyteorder("<")).astype(dtype, copy=False)
        weights[proto.name] = values.reshape(tuple(proto.dims))
    return weights


def _first_lines(error: Exception) -> str:
    """The facts of an onnx error, without the dump of the node that follows them."""
    return str(error).split("\n\n==>", maxsplit=1)[0].strip()
