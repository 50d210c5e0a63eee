"""Networks that read 8-bit pixels or yield class maps, against those that do not."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler import Build, Runner, compile_model, load_config
from compiler.errors import BuildFileError
from compiler.pipeline.samples import Input, random_feeds
from compiler.runner.masks import class_mask
from compiler.runner.results import write_results
from tests.support.project import Project, make_project, two_convolutions

NETWORKS = Path(__file__).parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[3] / "shared"
IMAGENET = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _project(folder: Path, *, dtype: str = "fp32", **graph: object) -> Project:
    project = make_project(folder, dtype=dtype)
    project.document["dataset"]["process_ops"][2] = IMAGENET
    project.document["graph"] = graph
    return project


def _build(project: Project) -> Build:
    return compile_model(load_config(project.write()))


def _several_classes(project: Project, classes: int = 3, tail: str | None = None) -> None:
    """Let the network of a project end in `classes` channels, and `tail` after them."""
    model = two_convolutions()
    weights = np.random.default_rng(5).normal(size=(classes, 8, 3, 3)).astype(np.float32)
    model.graph.initializer[-1].CopyFrom(onnx.numpy_helper.from_array(weights, "w2"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = classes
    if tail:
        model.graph.node[-1].output[0] = "logits"
        model.graph.node.append(onnx.helper.make_node(tail, ["logits"], ["output"], axis=1))
    onnx.save(model, project.folder / "net.onnx")


def _operators(build: Build) -> list[str]:
    return [node.op_type for node in onnx.load(build.prefix.parent / "mod.onnx").graph.node]


def _mask(build: Build, image: Path) -> NDArray[np.int64]:
    with Runner(build.prefix, threads=1) as runner:
        assert runner.manifest.postprocessing is not None
        output = runner.run(image)[runner.outputs[0].name]
        return class_mask(output, runner.manifest.postprocessing)


@pytest.mark.parametrize(("dtype", "most"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 0.04)])
def test_a_network_that_normalizes_itself_gives_the_same_for_the_same_image(
    dtype: str, most: float, tmp_path: Path
) -> None:
    plain = _build(_project(tmp_path / "plain", dtype=dtype))
    folded = _build(_project(tmp_path / "folded", dtype=dtype, fold_normalization=True))
    images = sorted((tmp_path / "plain" / "calib").iterdir())
    with Runner(plain.prefix, threads=1) as one, Runner(folded.prefix, threads=1) as other:
        assert str(other.inputs[0]) == "input uint8[1, 3, 16, 16]"
        assert other.manifest.preprocessing is not None
        kinds = [op["type"] for op in other.manifest.preprocessing.ops]
        assert kinds == ["DecodeImage", "Resize", "ToTensor"]
        expected, actual = one.run(images)["output"], other.run(images)["output"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=most * np.ptp(expected))


def test_verification_gives_both_networks_the_same_pixels(tmp_path: Path) -> None:
    build = _build(_project(tmp_path, fold_normalization=True))
    assert build.verification.origin == "held-out samples"
    assert build.verification.sqnr_db > 120
    assert _operators(build)[:3] == ["Cast", "Sub", "Conv"]


def test_in_int8_nothing_is_left_to_do_before_the_first_convolution(tmp_path: Path) -> None:
    folded = _build(_project(tmp_path, dtype="int8", fold_normalization=True))
    operators = set(_operators(folded))
    assert not operators & {"Cast", "Sub", "Mul"}
    assert operators.issuperset({"Pad", "Concat"})
    assert folded.integer_layers is not None
    assert folded.integer_layers[0] == folded.integer_layers[1]
    names = [layer.name for layer in folded.verification.layers]
    assert "input" not in names  # bytes need no calibrated scale
    assert folded.verification.sqnr_db > 30


def test_pixels_come_as_an_image_or_as_the_tensor(tmp_path: Path) -> None:
    build = _build(_project(tmp_path, fold_normalization=True))
    pixels = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    with Runner(build.prefix, threads=1) as runner:
        expected = runner.run(pixels)["output"]
        for given in (tensor, tensor[None], {"input": tensor[None]}, [pixels]):
            np.testing.assert_array_equal(runner.run(given)["output"], expected)


def test_without_files_random_pixels_verify(tmp_path: Path) -> None:
    project = _project(tmp_path, fold_normalization=True)
    del project.document["dataset"]["path"]
    build = _build(project)
    assert build.verification.origin == "random inputs"
    inputs = [
        Input("pixels", (1, 3, 16, 16), np.dtype(np.uint8)),
        Input("numbers", (1, 4), np.dtype(np.uint8)),
    ]
    first, second = random_feeds(inputs, 2)
    assert first["pixels"].dtype == np.uint8
    assert (first["pixels"].min() < 10, first["pixels"].max() > 245) == (True, True)
    assert not np.array_equal(first["pixels"], second["pixels"])
    assert not first["numbers"].any()


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("tail", [None, "Softmax"])
def test_argmax_yields_the_mask_that_the_scores_would(
    tail: str | None, dtype: str, tmp_path: Path
) -> None:
    plain, mapped = _project(tmp_path / "a", dtype=dtype), _project(tmp_path / "b", dtype=dtype)
    mapped.document["graph"] = {"extra_ops": {"type": "argmax"}}
    for project in (plain, mapped):
        _several_classes(project, tail=tail)
    build, image = _build(mapped), tmp_path / "a" / "calib" / "image_0.png"
    with Runner(build.prefix) as runner:
        assert str(runner.outputs[0]) == "output uint8[1, 1, 16, 16]"
    assert "Softmax" not in _operators(build)
    assert _operators(build)[-2:] == ["ArgMax", "Cast"]
    agreement = (_mask(build, image) == _mask(_build(plain), image)).mean()
    assert agreement == 1.0 if dtype == "fp32" else agreement > 0.98
    assert build.verification.cosine > 0.98


@pytest.mark.parametrize("tail", [None, "Sigmoid"])
def test_threshold_yields_the_mask_that_the_scores_would(tail: str | None, tmp_path: Path) -> None:
    plain, mapped = _project(tmp_path / "a"), _project(tmp_path / "b")
    mapped.document["graph"] = {"extra_ops": {"type": "threshold"}}
    if tail:
        model = two_convolutions()
        model.graph.node[-1].output[0] = "logits"
        model.graph.node.append(onnx.helper.make_node(tail, ["logits"], ["output"]))
        for project in (plain, mapped):
            onnx.save(model, project.folder / "net.onnx")
    build, image = _build(mapped), tmp_path / "a" / "calib" / "image_0.png"
    assert _operators(build)[-2:] == ["Greater", "Cast"]
    assert "Sigmoid" not in _operators(build)
    np.testing.assert_array_equal(_mask(build, image), _mask(_build(plain), image))
    assert build.verification.cosine == 1.0


def test_task_metrics_and_files_follow_a_class_map(tmp_path: Path) -> None:
    project = _project(tmp_path, extra_ops={"type": "argmax"}, fold_normalization=True)
    _several_classes(project)
    masks = tmp_path / "masks"
    masks.mkdir()
    for image in (tmp_path / "calib").iterdir():
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(masks / image.name)
    images = str(tmp_path / "calib")
    verify = {"images": images, "masks": str(masks), "metric": "mean_iou", "classes": 3}
    project.document["verify"] = verify | {"max_drop": 0, "min_cosine": 1.0}
    build = _build(project)
    assert build.broken_gates == ()
    assert build.verification.task is not None
    assert 0 < build.verification.task.compiled < 100
    manifest = json.loads((build.prefix.parent / "mod.json").read_text())
    assert manifest["postprocessing"] == {"kind": "classes", "threshold": 0.0}
    image = tmp_path / "calib" / "image_0.png"
    with Runner(build.prefix, threads=1) as runner:
        files = write_results(tmp_path, "a", image, runner.run(image), runner.manifest)
    with Image.open(files[1]) as mask:
        assert (mask.mode, mask.size) == ("P", (24, 20))
    project.document["verify"] = verify | {"classes": 2}
    with pytest.raises(Exception, match="value 2 of the prediction is not a class"):
        _build(project)


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        (None, "no process_ops to fold"),
        ([{"type": "CustomFunc", "module_path": "a.py", "func_name": "f"}], "the user's own code"),
        (
            [{"type": "Resize", "size": 16}, {**IMAGENET, "mean": [0.5, 0.5]}],
            r"2 numbers for 3 channel\(s\)",
        ),
    ],
)
def test_preprocessing_that_cannot_be_folded_is_refused(
    ops: list[dict[str, object]] | None, reason: str, tmp_path: Path
) -> None:
    project = _project(tmp_path, fold_normalization=True)
    if ops is None:
        del project.document["dataset"]
    else:
        project.document["dataset"]["process_ops"] = ops
    with pytest.raises(BuildFileError, match=reason) as caught:
        _build(project)
    assert caught.value.where == "net_fp32: graph.fold_normalization"


def test_a_network_that_reads_no_float_image_is_refused(tmp_path: Path) -> None:
    project = _project(tmp_path, fold_normalization=True)
    model = two_convolutions()
    model.graph.node[0].input[0] = "values"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["input"], ["values"], to=1))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, project.folder / "net.onnx")
    with pytest.raises(BuildFileError, match="it needs one float32 input of shape"):
        _build(project)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks")
def test_a_trained_network_on_real_images_keeps_its_classes(tmp_path: Path) -> None:
    build = compile_model(
        load_config(
            NETWORKS / "unet_camvid_192x256.yaml",
            dtype="fp32",
            overrides=[
                f"workspace.path={tmp_path}",
                "graph={fold_normalization: true}",
                "verify={samples: 4}",
            ],
        )
    )
    (output,) = build.verification.outputs
    assert output.sqnr_db > 120
    image = next((SHARED / "data" / "camvid" / "test" / "images").iterdir())
    with Runner(build.prefix) as runner:
        (scores,) = runner.run(image).values()
    assert output.max_error < 1e-5 * np.ptp(scores)
