"""`modc eval` from the build file on: detectors, class maps and open sizes against the network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from compiler import Runner, compile_model, load_config
from compiler.cli.app import main
from tests.support.detectors import small_yolo
from tests.support.project import Project, make_project

Json = dict[str, Any]  # Any: a JSON object


@pytest.mark.parametrize("masks", [False, True])
def test_a_detector_finds_what_its_float_network_finds(
    masks: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The truth is what the bundle finds itself, so that whoever finds the same has 100 points."""
    project = make_project(tmp_path, dtype="fp32", images=4)
    onnx.save(small_yolo(masks=5 if masks else 0), tmp_path / "net.onnx")
    project.document["frontend"]["shape"] = {"images": [1, 3, 32, 32]}
    project.document["dataset"]["process_ops"][1]["size"] = [32, 32]
    params = {"num_classes": 3, "confidence_threshold": 0.3, "nms_thresh": 0.5, "post_nms": 12}
    ops = {"type": "yolov8_nms", "params": {**params, "seg_enable": masks}}
    project.document["graph"] = {"extra_ops": ops}
    prefix = compile_model(load_config(project.write())).prefix
    _annotate(tmp_path, prefix, masks=masks)
    found = _eval(
        capsys,
        *("-m", prefix, "--onnx", tmp_path / "net.onnx", "--images", tmp_path / "calib"),
        *("--annotations", tmp_path / "instances.json", "--metric", "coco"),
    )
    for network in found["networks"]:
        boxes, *others = network["metrics"]
        assert boxes["value"] == pytest.approx(100, abs=1e-6)
        assert [one["name"] for one in others] == (["coco mask"] if masks else [])
    assert found["networks"][0]["dtype"] == "fp32"
    difference = found["networks"][1]["metrics"][0]["differences"]["box_ap"]
    assert difference["value"] == pytest.approx(0, abs=1e-6)


def test_a_network_that_ends_in_class_numbers_is_compared_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, dtype="fp32", images=4)
    project.document["graph"] = {"extra_ops": {"type": "threshold"}}
    _write_masks(project)
    prefix = compile_model(load_config(project.write())).prefix
    found = _eval(
        capsys,
        *("-m", prefix, "--onnx", tmp_path / "net.onnx", "--images", tmp_path / "calib"),
        *("--masks", tmp_path / "masks", "--metric", "foreground_iou"),
    )
    float_, compiled = (one["metrics"][0]["value"] for one in found["networks"])
    assert 0 < float_ < 100
    assert compiled == pytest.approx(float_, abs=0.5)
    assert found["networks"][1]["agreement"]["pixels"] > 99


def test_images_keep_their_sizes_where_the_network_takes_a_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, dtype="fp32", images=4)
    model = onnx.load(tmp_path / "net.onnx")
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, tmp_path / "net.onnx")
    project.document["frontend"]["shape"] = {"input": [[1, 3, 8, 8], [1, 3, 32, 32]]}
    del project.document["dataset"]["process_ops"][1]  # Resize
    _write_masks(project)
    prefix = compile_model(load_config(project.write())).prefix
    found = _eval(
        capsys,
        *("-m", prefix, "--onnx", tmp_path / "net.onnx", "--images", tmp_path / "calib"),
        *("--masks", tmp_path / "masks", "--metric", "pooled_foreground_iou"),
    )
    both = total = 0
    with Runner(prefix) as runner:
        for image in sorted((tmp_path / "calib").iterdir()):
            predicted = runner.run(image)["output"][0, 0] > 0
            truth = np.asarray(Image.open(tmp_path / "masks" / image.name)) > 0
            assert predicted.shape == truth.shape
            both, total = (
                both + int((predicted & truth).sum()),
                total + int((predicted | truth).sum()),
            )
    for network in found["networks"]:
        assert network["metrics"][0]["value"] == pytest.approx(100 * both / total, abs=0.5)


def _annotate(folder: Path, prefix: Path, *, masks: bool) -> None:
    """Write what the bundle finds as annotations, in pixels of the images."""
    annotations: list[Json] = []
    images: list[Json] = []
    with Runner(prefix) as runner:
        for number, image in enumerate(sorted((folder / "calib").iterdir()), start=1):
            with Image.open(image) as picture:
                width, height = picture.size
            images.append({"id": number, "file_name": image.name, "width": width, "height": height})
            outputs = runner.run(image)
            scale = np.array([width, height] * 2) / 32
            classes = outputs["classes"][0, :, 0]
            for kind, box in zip(classes, outputs["boxes"][0], strict=True):
                if kind < 0:
                    break
                corners = np.clip(box * scale, 0, [width, height] * 2)
                x, y, right, bottom = (float(value) for value in corners)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": int(kind) + 1,
                        "bbox": [x, y, right - x, bottom - y],
                        "area": (right - x) * (bottom - y),
                        "iscrowd": 0,
                    }
                )
                if masks:
                    outline = [[x, y, right, y, right, bottom, x, bottom]]
                    annotations[-1]["segmentation"] = outline
    categories = [{"id": i, "name": f"class {i}"} for i in (1, 2, 3)]
    facts = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(facts))


def _write_masks(project: Project) -> None:
    """The left half of every image is foreground."""
    (project.folder / "masks").mkdir()
    for image in (project.folder / "calib").iterdir():
        with Image.open(image) as picture:
            width, height = picture.size
        mask = np.zeros((height, width), np.uint8)
        mask[:, : width // 2] = 255
        Image.fromarray(mask).save(project.folder / "masks" / image.name)


def _eval(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Json:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(["eval", *map(str, arguments), "--json"])
    assert not exit_.value.code
    found: Json = json.loads(capsys.readouterr().out)
    return found
