"""Tiny bundles, vdsp JSONs and images for inference scripts, and a run of such a script."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from PIL import Image

from compiler.bundle.write import new_bundle
from compiler.runner.manifest import Manifest, Preprocessing, Source, TensorSpec

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "compat" / "scripts"

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
# A logit per pixel: how much red is more than blue.
SEGMENTATION = """net (float[1, 3, 8, 8] x) => (float[1, 1, 8, 8] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}> {
 red = Slice(x, zero, one, one)
 blue = Slice(x, two, three, one)
 y = Sub(red, blue) }"""
# A score per channel: its mean.
CLASSIFICATION = """net (float[1, 3, 8, 8] x) => (float[1, 3] y)
{ mean = GlobalAveragePool(x)
  y = Flatten(mean) }"""
# Class 1 in the right half of the input, as surely as the image is bright; two rows unused.
DETECTION = """net (float[1, 3, 8, 8] x) => (float[1, 3, 1] classes, float[1, 3, 1] scores,
 float[1, 3, 4] boxes)
<float[1, 3, 1] kinds = {1, -1, -1}, float[1, 2, 1] none = {-1, -1}, int64[3] row = {1, 1, 1},
 float[1, 3, 4] places = {4, 2, 8, 6, -1, -1, -1, -1, -1, -1, -1, -1}> {
 mean = ReduceMax<keepdims = 0>(x)
 score = Reshape(mean, row)
 scores = Concat<axis = 1>(score, none)
 classes = Identity(kinds)
 boxes = Identity(places) }"""
# Two inputs of token ids, and a matrix as output.
TOKENS = """net (int64[1, 4] ids, int64[1, 4] mask) => (float[1, 4, 2] y)
<int64[3] column = {1, 4, 1}> {
 kept = Mul(ids, mask)
 first = Cast<to = 1>(kept)
 second = Cast<to = 1>(mask)
 a = Reshape(first, column)
 b = Reshape(second, column)
 y = Concat<axis = 2>(a, b) }"""
# Bytes in, so that normalisation is the network's own.
BYTES = """net (uint8[1, 3, 8, 8] x) => (float[1, 3] y)
{ values = Cast<to = 1>(x)
  mean = GlobalAveragePool(values)
  y = Flatten(mean) }"""

DIV255 = (
    {"type": "DecodeImage"},
    {"type": "Resize", "size": [8, 8]},
    {"type": "Normalize", "norm_type": None},
    {"type": "ToTensor"},
)


def script_bundle(
    workspace: Path,
    network: str | onnx.ModelProto,
    *,
    preprocessing: Preprocessing | None = None,
    bounds: tuple[tuple[int, int], ...] = (),
) -> Path:
    """A bundle of a network, or of the one that ONNX text describes; returns its prefix."""
    model = onnx.parser.parse_model(HEADER + network) if isinstance(network, str) else network
    manifest = Manifest(
        name="net",
        inputs=tuple(_spec(info, bounds) for info in model.graph.input),
        outputs=tuple(_spec(info) for info in model.graph.output),
        build="name: net\n",
        preprocessing=preprocessing,
        sources=(
            Source("build", "net.yaml", 1, "b" * 64),
            Source("model", "net.onnx", 1, "c" * 64),
        ),
        versions={"modc": "0.1.0"},
    )
    with new_bundle(workspace, "net", build_file="net.yaml", model="net.onnx") as bundle:
        onnx.save(model, bundle.folder / "mod.onnx")
        for name in ("mod.params", "mod.calib.txt", "mod.build.json"):
            (bundle.folder / name).write_text("")
        bundle.commit(manifest)
    return workspace / "net" / "mod"


def _spec(info: onnx.ValueInfoProto, bounds: tuple[tuple[int, int], ...] = ()) -> TensorSpec:
    kind = info.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(info.name, shape, dtype, bounds)


def vdsp_json(
    folder: Path, op_type: str = "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR", **config: object
) -> Path:
    """A vdsp JSON for an 8×8 input, ÷ 255; None leaves a key out."""
    keys: dict[str, Any] = {
        "IimageFormat": "RGB_PLANAR",
        "IimageWidth": 8,
        "IimageHeight": 8,
        "OimageWidth": 8,
        "OimageHeight": 8,
        "ColorCvtCode": "NO_CHANGE",
        "ResizeType": "BILINEAR_CV",
        "NormaType": "DIV255",
        **config,
    }
    kept = {key: value for key, value in keys.items() if value is not None}
    path = folder / "vdsp_params.json"
    path.write_text(json.dumps({"OpType": op_type, "OpConfig": kept}))
    return path


def plain_images(folder: Path, colours: Sequence[tuple[int, int, int]], size: int = 12) -> Path:
    """One image of one colour (RGB) each, named by number; all of different sizes."""
    folder.mkdir()
    for number, colour in enumerate(colours):
        pixels = np.full((size + number % 5, size + number % 3, 3), colour, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def run_vsx(
    script: Path, *arguments: object, cwd: Path, options: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """`modc vsx` in a process of its own; a hang fails the test after two minutes."""
    command = [sys.executable, "-m", "compiler.cli", "vsx", *options, str(script)]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
