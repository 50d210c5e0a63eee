"""Small networks from ONNX text with seeded weights, and a plain run of any network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def model_from_text(text: str, seed: int = 0) -> onnx.ModelProto:
    """Parse ONNX text; tensors in `<...>` without value become seeded weights.

    Weights are normal, apart from variances (input 4 of BatchNormalization), which are in
    [0.5, 1.5]. The text format has no values for float16: cast in the graph.
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(seed)
    produced = {name for node in model.graph.node for name in node.output}
    variances = {n.input[4] for n in model.graph.node if n.op_type == "BatchNormalization"}
    for info in [info for info in model.graph.value_info if info.name not in produced]:
        kind = info.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        if kind.elem_type != onnx.TensorProto.FLOAT:
            raise ValueError(f"'{info.name}': only float weights are seeded, give others a value")
        values = rng.uniform(0.5, 1.5, shape) if info.name in variances else rng.normal(size=shape)
        model.graph.initializer.append(numpy_helper.from_array(values.astype("f4"), info.name))
        model.graph.value_info.remove(info)
    return model


def random_feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, NDArray[Any]]:
    """One seeded array for every input that is not an initializer; unknown dimensions are 1."""
    rng = np.random.default_rng(seed)
    known = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, NDArray[Any]] = {}  # any element type that ONNX has
    for info in model.graph.input:
        if info.name not in known:
            kind = info.type.tensor_type
            shape = [size.dim_value or 1 for size in kind.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            feeds[info.name] = rng.normal(size=shape).astype(dtype)
    return feeds


def run(
    model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]] | None = None, seed: int = 0
) -> list[NDArray[Any]]:
    """Outputs of `model` in ONNX Runtime with its own optimisations switched off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds or random_feeds(model, seed))))


def ops(graph: gs.Graph) -> list[str]:
    """Op types in graph order."""
    return [node.op for node in graph.nodes]


def assert_close(
    actual: Sequence[NDArray[Any]],
    expected: Sequence[NDArray[Any]],
    *,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Two lists of outputs agree in number, element type and value."""
    assert [array.dtype for array in actual] == [array.dtype for array in expected]
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
