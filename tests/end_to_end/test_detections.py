"""A detector, from the build file to lists of boxes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import Runner, compile_model, load_config
from compiler.cli.app import main
from compiler.errors import BuildFileError
from compiler.graph.detector import Detection
from compiler.runner.engine import EngineName
from tests.support.detectors import small_yolo, suppress
from tests.support.models import run
from tests.support.project import Project, make_project

PARAMS = {
    "num_classes": 3,
    "confidence_threshold": 0.3,
    "nms_thresh": 0.5,
    "nms_pre_max": 20,
    "post_nms": 12,
}
DETECTION = Detection("yolov8_nms", 3, confidence=0.3, overlap=0.5, candidates=20, boxes=12)


def _project(
    folder: Path,
    dtype: str = "fp32",
    kind: str = "yolov8_nms",
    network: onnx.ModelProto | None = None,
    **params: object,
) -> Project:
    project = make_project(folder, dtype=dtype)
    onnx.save(network or small_yolo(), folder / "net.onnx")
    project.document["frontend"]["shape"] = {"images": [1, 3, 32, 32]}
    project.document["dataset"]["process_ops"][1]["size"] = [32, 32]
    project.document["graph"] = {"extra_ops": {"type": kind, "params": {**PARAMS, **params}}}
    return project


def _warnings(project: Project) -> list[str]:
    return list(compile_model(load_config(project.write())).warnings)


def _exit_code(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_every_precision_and_engine_yields_lists_of_boxes(
    dtype: str, engine: EngineName, tmp_path: Path
) -> None:
    build = compile_model(load_config(_project(tmp_path, dtype).write()))
    image = tmp_path / "calib" / "image_0.png"
    with Runner(build.prefix, engine=engine, threads=1) as runner:
        assert [str(one) for one in runner.outputs] == [
            "classes float32[1, 12, 1]",
            "scores float32[1, 12, 1]",
            "boxes float32[1, 12, 4]",
        ]
        assert runner.manifest.postprocessing is None
        feeds = runner.prepare(image)
        classes, scores, boxes = runner.run(image).values()

    (joined,) = run(small_yolo(), feeds)
    centre, size, best = joined[0, :2].T, joined[0, 2:4].T, joined[0, 4:].T
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    expected = suppress(corners, best, DETECTION)
    used = int((expected[0] >= 0).sum())
    assert 2 <= used < 12
    assert (scores[0, used:] == -1).all()
    assert (boxes[0, used:] == -1).all()
    assert (np.diff(scores[0, :used, 0]) <= 0).all()
    score, pixels = {"fp32": (1e-5, 1e-3), "fp16": (5e-3, 0.5), "int8": (0.1, 12.0)}[dtype]
    np.testing.assert_allclose(scores[0, 0], expected[1][0, 0], rtol=0, atol=score)
    np.testing.assert_allclose(boxes[0, 0], expected[2][0, 0], rtol=0, atol=pixels)
    assert classes[0, 0] == expected[0][0, 0]
    if dtype != "int8":  # which may drop or add the weakest boxes
        np.testing.assert_array_equal(classes, expected[0])
        np.testing.assert_allclose(boxes, expected[2], rtol=0, atol=pixels)


@pytest.mark.parametrize(("dtype", "least"), [("fp32", 100), ("fp16", 50), ("int8", 20)])
def test_boxes_and_scores_are_verified_before_any_is_dropped(
    dtype: str, least: float, tmp_path: Path
) -> None:
    """Each with a scale of its own in int8, though the network joins them."""
    build = compile_model(load_config(_project(tmp_path, dtype).write()))
    figures = {one.name: one.sqnr_db for one in build.verification.outputs}
    assert set(figures) == {"pixels", "probabilities"}
    assert min(figures.values()) > least
    assert build.warnings == ()
    model = onnx.load(build.prefix.parent / "mod.onnx", load_external_data=False)
    names = [node.name for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    assert names == ["nms=>suppress"]
    own = [node for node in model.graph.node if node.name.startswith("nms=>")]
    assert not {node.op_type for node in own} & {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_every_precision_and_engine_yields_what_masks_are_made_from(
    dtype: str, engine: EngineName, tmp_path: Path
) -> None:
    network = small_yolo(masks=5)
    project = _project(tmp_path, dtype, network=network, seg_enable=True)
    build = compile_model(load_config(project.write()))
    figures = {one.name: one.sqnr_db for one in build.verification.outputs}
    assert set(figures) == {"pixels", "probabilities", "weights_of_masks", "output1"}
    assert min(figures.values()) > {"fp32": 100, "fp16": 50, "int8": 20}[dtype]
    assert build.warnings == ()

    image = tmp_path / "calib" / "image_0.png"
    with Runner(build.prefix, engine=engine, threads=1) as runner:
        assert [str(one) for one in runner.outputs] == [
            "classes float32[1, 12, 1]",
            "scores float32[1, 12, 1]",
            "boxes float32[1, 12, 4]",
            "coefficients float32[1, 12, 5]",
            "prototypes float32[1, 5, 8, 8]",
        ]
        feeds = runner.prepare(image)
        classes, scores, boxes, coefficients, prototypes = runner.run(image).values()

    joined, maps = run(network, feeds)
    centre, size, best = joined[0, :2].T, joined[0, 2:4].T, joined[0, 4:7].T
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    expected = suppress(corners, best, DETECTION, joined[0, 7:].T)
    used = int((expected[0] >= 0).sum())
    assert 2 <= used < 12
    assert not coefficients[0, (classes[0, :, 0] < 0)].any()
    error = {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.2}[dtype]  # of the largest
    span = np.abs(maps).max(), np.abs(expected[3]).max()
    np.testing.assert_allclose(prototypes, maps, rtol=0, atol=error * span[0])
    np.testing.assert_allclose(coefficients[0, 0], expected[3][0, 0], rtol=0, atol=error * span[1])
    np.testing.assert_allclose(scores[0, 0], expected[1][0, 0], rtol=0, atol=error)
    if dtype != "int8":  # which may drop or add the weakest boxes
        np.testing.assert_array_equal(classes, expected[0])
        np.testing.assert_allclose(boxes, expected[2], rtol=0, atol=0.5)
        np.testing.assert_allclose(coefficients, expected[3], rtol=0, atol=error * span[1])


def test_a_second_build_takes_the_same_network_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    config = load_config(_project(tmp_path / "project").write())
    digests = {compile_model(config).digest for _ in range(2)}
    assert len(digests) == 1
    assert None not in digests


@pytest.mark.parametrize(
    ("kind", "params", "reason"),
    [
        ("yolov5_nms", {}, "of an image of 32 x 32 it needs a map of logits for each stride"),
        ("yolov8_nms", {"num_classes": 4}, "it needs [1, 8, 21] (centre, size, scores)"),
        ("yolov8_nms", {"seg_enable": True}, "with masks besides [1, K, 8, 8] (prototypes)"),
        ("yolov10_nms", {"seg_enable": True}, "masks (seg_enable) are built for yolov8_nms"),
        ("centerpoint_nms", {}, "extra_ops 'centerpoint_nms' is not compiled"),
        ("pointpillar_nms", {}, "extra_ops 'pointpillar_nms' is not compiled"),
        ("yolov9000_nms", {}, "extra_ops 'yolov9000_nms' is not compiled"),
    ],
)
def test_a_head_that_does_not_fit_keeps_its_outputs(
    kind: str, params: dict[str, object], reason: str, tmp_path: Path
) -> None:
    project = _project(tmp_path, "fp32", kind, None, **params)
    build = compile_model(load_config(project.write()))
    assert [reason in warning for warning in build.warnings] == [True]
    assert "outputs stay as they are" in build.warnings[0]
    with Runner(build.prefix, threads=1) as runner:
        assert [str(one) for one in runner.outputs] == ["output0 float32[1, 7, 21]"]


def test_strict_refuses_a_head_that_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, num_classes=4)
    with pytest.raises(BuildFileError, match="found 'output0'"):
        compile_model(load_config(project.write()), strict=True)
    assert _exit_code("compile", project.write(), "--strict", "--quiet") == 2
    out, err = capsys.readouterr()
    assert "graph.extra_ops" in out + err
    assert "found 'output0' [1, 7, 21]" in " ".join((out + err).split())
    assert not (tmp_path / "deploy" / "net_fp32").exists()
    assert _exit_code("compile", project.write(), "--quiet") == 0


def test_strict_refuses_an_unknown_type_and_takes_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, kind="yolov8nms")
    assert _exit_code("compile", project.write(), "--strict", "--quiet") == 2
    assert "did you mean 'yolov8_nms'?" in capsys.readouterr().err
    for kind in ("insert_odma", None, "yolov8_nms"):
        project.document["graph"]["extra_ops"]["type"] = kind
        assert _exit_code("compile", project.write(), "--strict", "--quiet", "--json") == 0
        outputs = json.loads((tmp_path / "deploy" / "net_fp32" / "mod.json").read_text())["outputs"]
        assert len(outputs) == (3 if kind == "yolov8_nms" else 1)


@pytest.mark.parametrize("masks", [0, 5])
def test_maps_in_front_of_the_decoder_give_the_same_boxes(masks: int, tmp_path: Path) -> None:
    model, asked = small_yolo(masks=masks), masks > 0
    whole = _project(tmp_path / "whole", network=model, seg_enable=asked)
    del model.graph.output[0]
    channels = {"map{}": 67, "mask{}_map": masks} if asked else {"map{}": 67}
    names = {
        name.format(level): [1, numbers, side, side]
        for name, numbers in channels.items()
        for level, side in enumerate((4, 2, 1))
    }
    for name, shape in names.items():
        output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        model.graph.output.append(output)
    cut = _project(tmp_path / "cut", network=model, seg_enable=asked)
    image = tmp_path / "whole" / "calib" / "image_0.png"
    lists = []
    for project in (whole, cut):
        build = compile_model(load_config(project.write()))
        with Runner(build.prefix, threads=1) as runner:
            lists.append(list(runner.run(image).values()))
    compared = {one.name for one in build.verification.outputs}
    assert compared == {*names, *(["output1"] if asked else [])}
    assert len(lists[0]) == (5 if asked else 3)
    for one, other in zip(*lists, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
