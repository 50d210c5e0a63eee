"""A small but complete project on disk: network, images, build file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

Document = dict[str, Any]  # Any: a YAML mapping


@dataclass(frozen=True)
class Project:
    """Folder with `net.onnx`, `calib/`, and what `build.yaml` says."""

    folder: Path
    document: Document

    @property
    def build_file(self) -> Path:
        return self.folder / "build.yaml"

    def write(self, text: str | None = None) -> Path:
        """Write the build file, from the document unless a text is given."""
        content = yaml.safe_dump(self.document, sort_keys=False) if text is None else text
        self.build_file.write_text(content, encoding="utf-8")
        return self.build_file


def make_project(folder: Path, *, images: int = 6, dtype: str = "int8") -> Project:
    """Two convolutions with BatchNormalization and Relu on 3×16×16 images."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(two_convolutions(), folder / "net.onnx")
    calib = folder / "calib"
    calib.mkdir()
    random = np.random.default_rng(0)
    for index in range(images):
        pixels = random.integers(0, 256, (20 + index, 24, 3), np.uint8)
        Image.fromarray(pixels).save(calib / f"image_{index}.png")
    document: Document = {
        "name": f"net_{dtype}",
        "frontend": {
            "type": "onnx",
            "checkpoint": str(folder / "net.onnx"),
            "dtype": "fp32",
            "shape": {"input": [1, 3, 16, 16]},
        },
        "backend": {
            "type": "onnxruntime",
            "dtype": dtype,
            # The network is so small that all of it would stay float.
            "optimize": {"rewrite": False, "keep_float": False},
        },
        "dataset": {
            "type": "tvm",
            "path": str(calib),
            "sampler": {"suffix": "png", "get_data_num": 4},
            "process_ops": [
                {"type": "DecodeImage"},
                {"type": "Resize", "size": [16, 16]},
                {"type": "Normalize", "norm_type": None},
                {"type": "ToTensor"},
            ],
        },
        "workspace": {"path": str(folder / "deploy")},
    }
    if dtype == "int8":
        document["backend"]["quantize"] = {
            "calibrate_mode": "kl_divergence",
            "quantize_per_channel": True,
        }
    return Project(folder, document)


def two_convolutions(seed: int = 0) -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Conv; input 1×3×16×16, output one logit per pixel."""
    random = np.random.default_rng(seed)

    def constant(name: str, *shape: int, low: float = -0.5, high: float = 0.5) -> TensorProto:
        return numpy_helper.from_array(random.uniform(low, high, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "mean", "var"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["output"], name="last", pads=[1, 1, 1, 1]),
    ]
    weights = [
        constant("w1", 8, 3, 3, 3),
        constant("b1", 8),
        constant("gamma", 8, low=0.5, high=1.5),
        constant("beta", 8),
        constant("mean", 8),
        constant("var", 8, low=0.5, high=1.5),
        constant("w2", 1, 8, 3, 3),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 16, 16])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
