"""Tiny bundles whose outputs a test reads off its images: colours, mean colours, detections."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from compiler.bundle.write import new_bundle
from compiler.runner.manifest import Manifest, Postprocessing, Preprocessing, TensorSpec
from tests.support.bundles import MANIFEST

Op = dict[str, Any]  # Any: JSON values of an operation

SIDE = 16
RED, GREEN, BLUE = 0, 1, 2


def colour_bundle(
    workspace: Path,
    name: str,
    *,
    gain: Sequence[float] = (1, 1, 1),
    geometry: Sequence[Op] = (),
) -> Path:
    """Class of a pixel: its strongest of red, green, blue, each times its gain. Returns the prefix.

    Unless operations bring them to it, images have to be 16 × 16.
    """
    weight = numpy_helper.from_array(np.array(gain, np.float32).reshape(1, 3, 1, 1), "gain")
    nodes = [helper.make_node("Mul", ["x", "gain"], ["y"])]
    shapes = {"y": (1, 3, SIDE, SIDE)}
    rule = Postprocessing("argmax")
    return _bundle(workspace, name, nodes, [weight], shapes, rule, geometry)


def mean_colour_bundle(workspace: Path, name: str, *, gain: Sequence[float] = (1, 1, 1)) -> Path:
    """A classifier: the scores are the mean of red, green and blue, each times its gain."""
    weight = numpy_helper.from_array(np.array(gain, np.float32).reshape(1, 3), "gain")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "gain"], ["y"]),
    ]
    return _bundle(workspace, name, nodes, [weight], {"y": (1, 3)}, None)


def detector_bundle(
    workspace: Path, name: str, *, rows: int = 4, shift: float = 0, masks: bool = False
) -> Path:
    """Classes, scores and boxes are red values of the image, row by row; see `detection_image`.

    Args:
        workspace: Folder for the bundle.
        name: Of the bundle.
        rows: Detections of an image.
        shift: Of all boxes, in pixels.
        masks: Whether there are coefficients and prototypes, by which masks fill their boxes.
    """
    numbers = {"start": [0, 0, 0, 0], "end": [1, 1, rows, 6], "rows": [1, rows, 6]}
    constants = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in numbers.items()]
    constants += [
        numpy_helper.from_array(np.array([1, 1, 4], np.int64), "widths"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
        numpy_helper.from_array(np.array(shift, np.float32), "shift"),
    ]
    nodes = [
        helper.make_node("Slice", ["x", "start", "end"], ["red"]),
        helper.make_node("Reshape", ["red", "rows"], ["values"]),
        helper.make_node("Split", ["values", "widths"], ["c", "s", "b"], axis=2),
        helper.make_node("Sub", ["c", "one"], ["classes"]),
        helper.make_node("Div", ["s", "white"], ["scores"]),
        helper.make_node("Add", ["b", "shift"], ["boxes"]),
    ]
    shapes: dict[str, tuple[int, ...]] = {
        "classes": (1, rows, 1),
        "scores": (1, rows, 1),
        "boxes": (1, rows, 4),
    }
    if masks:
        shapes |= {"coefficients": (1, rows, 1), "prototypes": (1, 1, 8, 8)}
        for output in ("coefficients", "prototypes"):
            ones = np.ones(shapes[output], np.float32)
            constants.append(numpy_helper.from_array(ones, f"{output}_ones"))
            nodes.append(helper.make_node("Identity", [f"{output}_ones"], [output]))
    return _bundle(workspace, name, nodes, constants, shapes, None)


def detection_image(rows: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """The image in which `detector_bundle` finds these.

    Args:
        rows: Class, score / 255, and the corners x1, y1, x2, y2 of each.
    """
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for place, (kind, *values) in enumerate(rows):
        image[place, :6, 0] = [kind + 1, *values]
    return image


def paint(classes: NDArray[np.int64], file: Path) -> None:
    """Write an image whose pixels have the colours of these classes, shape (16, 16)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.eye(3, dtype=np.uint8) * 200)[classes]
    Image.fromarray(pixels).save(file)


def write_mask(classes: NDArray[np.int64], file: Path) -> None:
    """Write class numbers as a grey PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(classes.astype(np.uint8)).save(file)


def _bundle(
    workspace: Path,
    name: str,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    outputs: Mapping[str, tuple[int, ...]],
    rule: Postprocessing | None,
    geometry: Sequence[Op] = (),
) -> Path:
    shape = (1, 3, SIDE, SIDE)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, s) for o, s in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    ops = (
        {"type": "DecodeImage"},
        *geometry,
        {"type": "Normalize", "div255": False, "norm_type": None},
        {"type": "ToTensor"},
    )
    manifest: Manifest = replace(
        MANIFEST,
        name=name,
        inputs=(TensorSpec("x", shape, "float32"),),
        outputs=tuple(TensorSpec(o, s, "float32") for o, s in outputs.items()),
        preprocessing=Preprocessing(ops, (3, SIDE, SIDE)),
        postprocessing=rule,
        quantization={"dtype": name.rsplit("_", 1)[-1]},
    )
    with new_bundle(workspace, name, build_file="net.yaml", model="net.onnx") as bundle:
        onnx.save_model(model, bundle.folder / "mod.onnx")
        (bundle.folder / "mod.params").write_bytes(b"")
        (bundle.folder / "mod.calib.txt").write_text("")
        (bundle.folder / "mod.build.json").write_text("{}")
        bundle.commit(manifest)
    return workspace / name / "mod"
