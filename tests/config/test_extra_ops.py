from pathlib import Path

import pytest

from compiler.config.extra_ops import EXTRA_OPS
from compiler.config.load import load_config
from compiler.errors import BuildFileError
from compiler.graph.detector import FORMS, Detection
from compiler.pipeline.detections import detection_of

TEXT = """name: net_fp32
frontend: {checkpoint: net.onnx, shape: {x: [1, 3, 64, 64]}}
backend: {dtype: fp32}
graph: {extra_ops: {type: TYPE, params: {PARAMS}}}
"""


def _detection(folder: Path, kind: str, params: str = "") -> Detection | None:
    path = folder / "build.yaml"
    path.write_text(TEXT.replace("TYPE", kind).replace("PARAMS", params), encoding="utf-8")
    return detection_of(load_config(path))


def test_every_detector_is_a_public_type() -> None:
    assert set(FORMS) < set(EXTRA_OPS)


def test_what_is_absent_has_the_documented_defaults(tmp_path: Path) -> None:
    assert _detection(tmp_path, "yolov8_nms") == Detection(
        "yolov8_nms",
        classes=None,
        strides=(8, 16, 32),
        anchors=(),
        confidence=0.25,
        overlap=0.45,
        candidates=4096,
        boxes=300,
        masks=False,
    )


@pytest.mark.parametrize(
    "params",
    [
        "confidence_threshold: 0.1, nms_threshold: 0.7, nms_topk: 9, max_obj_per_sample: 5",
        "confidence_thresh: 0.1, nms_thresh: 0.7, nms_pre_max: 9, post_nms: 5",
        "score_thresh: 0.1, nms_thresh: 0.7, nms_pre_max: 9, nms_post_max: 5",
        "confidence_threshold: 0.1, score_thresh: 0.9, nms_threshold: 0.7, nms_thresh: 0, "
        "nms_topk: 9, nms_pre_max: 1, max_obj_per_sample: 5, post_nms: 1",
    ],
)
def test_parameters_have_several_names_of_which_the_first_wins(params: str, tmp_path: Path) -> None:
    found = _detection(tmp_path, "yolov5_nms", f"{params}, strides: [8], anchor: [1, 2]")
    assert found == Detection("yolov5_nms", None, (8,), (1, 2), 0.1, 0.7, 9, 5)


@pytest.mark.parametrize("kind", ["softmax", "null", "insert_odma", "centerpoint_nms", "other"])
def test_other_types_ask_for_no_boxes(kind: str, tmp_path: Path) -> None:
    assert _detection(tmp_path, kind) is None


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ("confidence_threshold: 1.5", "1.5 given; expected at most 1"),
        ("nms_threshold: -1", "-1 given; expected 0"),
        ("max_obj_per_sample: 0", "0 given; expected 1 or more"),
        ("nms_topk: 0", "0 given; expected 1 or more"),
        ("strides: [8, 0]", "0 given; expected 1 or more"),
        ("strides: []", "expected at least 1 value(s)"),
        ("num_clases: 3", "did you mean 'num_classes'?"),
    ],
)
def test_impossible_parameters_are_refused(params: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFileError, match="params") as refused:
        _detection(tmp_path, "yolov8_nms", params)
    assert text in str(refused.value)
