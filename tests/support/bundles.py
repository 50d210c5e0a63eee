"""Tiny bundles: y = x * w on 1×3×4×6, with w in external data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.bundle.write import new_bundle
from compiler.runner.manifest import Manifest, Preprocessing, Source, TensorSpec

BUILD_SHA256 = "b" * 64
SHAPE = (1, 3, 4, 6)
RESIZE = Preprocessing(
    (
        {"type": "DecodeImage"},
        {"type": "Resize", "size": [4, 6]},
        {"type": "Normalize", "norm_type": None},
        {"type": "ToTensor"},
    ),
    (3, 4, 6),
)
MANIFEST = Manifest(
    name="net",
    inputs=(TensorSpec("x", SHAPE, "float32"),),
    outputs=(TensorSpec("y", SHAPE, "float32"),),
    build="name: net\n",
    preprocessing=RESIZE,
    sources=(
        Source("build", "net.yaml", 10, BUILD_SHA256),
        Source("model", "net.onnx", 10, "c" * 64),
    ),
    versions={"modc": "0.1.0"},
)


def write_network(folder: Path, weight: float) -> None:
    """Write `mod.onnx` and `mod.params`."""
    values = np.full((1, 3, 1, 1), weight, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(values, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model,
        folder / "mod.onnx",
        save_as_external_data=True,
        location="mod.params",
        size_threshold=0,
    )


def make_bundle(
    workspace: Path, weight: float = 2.0, *, manifest: Manifest = MANIFEST, table: str = "x max 1\n"
) -> Path:
    """Build `<workspace>/<manifest.name>`; returns its folder."""
    with new_bundle(workspace, manifest.name, build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, weight)
        (bundle.folder / "mod.calib.txt").write_text(table)
        (bundle.folder / "mod.build.json").write_text("{}")
        bundle.commit(replace(manifest, verification={"weight": weight}))
    return workspace / manifest.name
