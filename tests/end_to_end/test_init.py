"""`modc init`: what it writes loads without a warning and compiles as it is."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from compiler.cli.app import main
from compiler.config.load import load_config, read_build_file
from compiler.pipeline.init_build import init_build
from tests.support.few_images import link_images
from tests.support.models import SHARED, model_from_text

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
WEIGHTS = "<float[2, 3, 3, 3] w>"
CONV = "Conv<pads = [1, 1, 1, 1]>"

NETWORKS = {
    "nchw": f"{HEAD} g (float[1, 3, 16, 16] image) => (float[1, 2, 16, 16] y) {WEIGHTS}"
    f"{{ y = {CONV}(image, w) }}",
    "open_batch": f"{HEAD} g (float[N, 3, 16, 16] image) => (float[N, 2, 16, 16] y) {WEIGHTS}"
    f"{{ y = {CONV}(image, w) }}",
    "open_size": f"{HEAD} g (float[N, 3, H, W] image) => (float[N, 2, H, W] y) {WEIGHTS}"
    f"{{ y = {CONV}(image, w) }}",
    "pixels": f"{HEAD} g (uint8[1, 3, 16, 16] image) => (float[1, 2, 16, 16] y) {WEIGHTS}"
    f"{{ f = Cast<to = 1>(image) y = {CONV}(f, w) }}",
    "grey": f"{HEAD} g (float[1, 1, 16, 16] image) => (float[1, 2, 16, 16] y)"
    f"<float[2, 1, 3, 3] w> {{ y = {CONV}(image, w) }}",
    "normalizes": f"{HEAD} g (float[1, 3, 16, 16] image) => (float[1, 2, 16, 16] y)"
    f"<float[2, 3, 3, 3] w, float[1] mean = {{127.5}}, float[1] std = {{127.5}}>"
    f"{{ a = Sub(image, mean) b = Div(a, std) y = {CONV}(b, w) }}",
    "classifier": f"{HEAD} g (float[1, 3, 16, 16] image) => (float[1, 2] y) {WEIGHTS}"
    f"{{ a = {CONV}(image, w) b = GlobalAveragePool(a) y = Flatten(b) }}",
}
OTHERS = {
    "nhwc": f"{HEAD} g (float[1, 16, 16, 3] image) => (float[1, 2, 16, 16] y) {WEIGHTS}"
    f"{{ a = Transpose<perm = [0, 3, 1, 2]>(image) y = {CONV}(a, w) }}",
    "two_inputs": f"{HEAD} g (float[1, 3, 8, 8] left, float[1, 3, 8, 8] right) =>"
    f"(float[1, 2, 8, 8] y) {WEIGHTS} {{ s = Add(left, right) y = {CONV}(s, w) }}",
}


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _save(folder: Path, name: str) -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(model_from_text((NETWORKS | OTHERS)[name]), path)
    return path


def _images(folder: Path) -> Path:
    calib = folder / "calib"
    calib.mkdir()
    random = np.random.default_rng(0)
    for index in range(6):
        pixels = random.integers(0, 256, (20 + index, 24, 3), np.uint8)
        Image.fromarray(pixels).save(calib / f"{index}.png")
    return calib


def _arrays(folder: Path, name: str) -> Path:
    calib = folder / "arrays"
    calib.mkdir()
    shapes = {"nhwc": {"image": (1, 16, 16, 3)}}.get(
        name, {"left": (1, 3, 8, 8), "right": (1, 3, 8, 8)}
    )
    random = np.random.default_rng(0)
    for index in range(4):
        arrays = {key: random.random(shape, np.float32) for key, shape in shapes.items()}
        np.savez(calib / f"{index}.npz", **arrays)  # type: ignore[arg-type]  # names are free
    return calib


def _compiles(build_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    file = read_build_file(build_file, strict=True)
    assert [note for note in file.notes if note.kind == "warning"] == []
    monkeypatch.chdir(build_file.parent)
    assert _modc("compile", build_file, "--strict", "--quiet") == 0
    document: dict[str, Any] = yaml.safe_load(build_file.read_text())
    assert (build_file.parent / "deploy_weights" / document["name"] / "mod.json").exists()
    return document


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_reads_an_image_is_built_for_int8(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_file = tmp_path / "net.yaml"
    assert (
        _modc("init", _save(tmp_path, name), "--images", _images(tmp_path), "-o", build_file, "-q")
        == 0
    )
    document = _compiles(build_file, monkeypatch)
    assert document["backend"] == {
        "type": "onnxruntime",
        "dtype": "int8",
        "quantize": {"calibrate_mode": "kl_divergence"},
    }
    assert document["frontend"]["checkpoint"] == f"{name}.onnx"
    assert document["dataset"]["path"] == "calib"
    assert document["dataset"]["sampler"] == {"suffix": "png", "get_data_num": 6}
    kinds = [op["type"] for op in document["dataset"]["process_ops"]]
    assert kinds[0] == "DecodeImage"
    assert kinds[-1] == "ToTensor"
    assert ("CenterCrop" in kinds) == (name == "classifier")
    assert name != "pixels" or "Normalize" not in kinds


@pytest.mark.parametrize("name", OTHERS)
def test_other_inputs_take_arrays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_file = tmp_path / "net.yaml"
    model, calib = _save(tmp_path, name), _arrays(tmp_path, name)
    assert _modc("init", model, "--images", calib, "-o", build_file, "-q") == 0
    document = _compiles(build_file, monkeypatch)
    assert document["backend"]["dtype"] == "int8"
    assert "process_ops" not in document["dataset"]


@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_without_images_the_build_is_fp32(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_file = tmp_path / "net.yaml"
    assert _modc("init", _save(tmp_path, name), "-o", build_file, "-q") == 0
    assert _compiles(build_file, monkeypatch)["backend"]["dtype"] == "fp32"


def test_guesses_are_marked_with_their_reasons(tmp_path: Path) -> None:
    draft = init_build(_save(tmp_path, "open_size"), folder=tmp_path)
    assert "# guess: axes 0, 2, 3 are open" in draft.text
    assert "# guess: RGB order: the usual; give --images to let the network decide" in draft.text
    assert {guess.key for guess in draft.guesses} == {
        "frontend.shape.image",
        "dataset.process_ops.CvtColor",
        "dataset.process_ops.Resize",
        "dataset.process_ops.Normalize",
    }


def test_a_normalization_inside_the_network_decides_the_scale(tmp_path: Path) -> None:
    draft = init_build(_save(tmp_path, "normalizes"), folder=tmp_path)
    assert "type: Normalize" not in draft.text
    assert "begins with a normalization of values 0 … 255" in " ".join(
        line.strip().removeprefix("# ") for line in draft.text.splitlines()
    )


def test_images_for_a_network_that_reads_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("init", _save(tmp_path, "nhwc"), "--images", _images(tmp_path), "-o", "-") == 4
    assert ".npz files with arrays named as the inputs" in capsys.readouterr().err


def test_images_of_which_none_can_be_decoded_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images = _save(tmp_path, "nchw"), _images(tmp_path)
    for path in images.iterdir():
        path.write_bytes(b"broken")
    assert _modc("init", model, "--images", images, "-o", "-") == 4
    assert "none of the 6 images can be decoded" in capsys.readouterr().err
    (images / "array.npz").write_bytes(b"")
    assert "array" in init_build(model, images=images, folder=tmp_path).text


def test_a_file_is_only_replaced_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, target = _save(tmp_path, "nchw"), tmp_path / "net.yaml"
    target.write_text("mine")
    assert _modc("init", model, "-o", target) == 2
    assert "is there already" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert _modc("init", model, "-o", target, "--force") == 0
    assert "name: nchw_fp32" in target.read_text()
    assert f"wrote {target}" in capsys.readouterr().out


def test_the_file_is_called_as_the_model_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _save(tmp_path, "nchw")
    monkeypatch.chdir(tmp_path)
    assert _modc("init", model, "-q") == 0
    assert (tmp_path / "nchw.yaml").exists()


def test_a_file_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _save(tmp_path, "nchw")
    assert _modc("init", model, "-o", tmp_path / "nowhere" / "net.yaml") == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert _modc("init", model, "-o", tmp_path, "--force") == 2
    assert "cannot be written: Is a directory" in capsys.readouterr().err


def test_what_would_be_replaced_is_told_before_the_network_is_read(tmp_path: Path) -> None:
    target = tmp_path / "net.yaml"
    target.write_text("mine")
    assert _modc("init", tmp_path / "absent.onnx", "-o", target) == 2


@pytest.mark.parametrize(
    "name", ["网络 1", 'it\'s "q"', "-lead", "co: lon #1", "null", "a\nb", "~x"]
)
def test_odd_names_survive_yaml_and_the_shell(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _save(tmp_path, "nchw").rename(tmp_path / f"{name}.onnx")
    images = _images(tmp_path).rename(tmp_path / f"{name} images")
    target = tmp_path / f"{name}.yaml"
    assert _modc("init", model, "--images", images, "-o", target) == 0
    _, _, command = capsys.readouterr().out.partition("then: ")
    assert shlex.split(command) == ["modc", "compile", str(target)]
    config = load_config(target)
    assert (tmp_path / config.frontend.checkpoint).samefile(model)
    assert config.dataset is not None
    assert config.dataset.path is not None
    assert (tmp_path / config.dataset.path).samefile(images)


def test_a_name_that_a_build_file_cannot_hold_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _save(tmp_path, "nchw").rename(tmp_path / "$HOME.onnx")
    assert _modc("init", model, "-o", "-") == 2
    assert "it takes $ for a variable" in capsys.readouterr().err


def test_standard_output_gets_the_text_or_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _save(tmp_path, "nchw")
    assert _modc("init", model, "-o", "-") == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["name"] == "nchw_fp32"
    assert _modc("init", model, "-o", "-", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["text"] == text
    assert [guess["key"].rsplit(".")[-1] for guess in facts["guesses"]] == [
        "CvtColor",
        "Resize",
        "Normalize",
    ]


def test_a_precision_in_the_models_name_is_no_contradiction(tmp_path: Path) -> None:
    path = _save(tmp_path, "nchw").rename(tmp_path / "my net_fp16.onnx")
    assert init_build(path, folder=tmp_path).name == "my_net_fp32"


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_what_is_no_network_is_an_error(content: bytes, tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(content)
    assert _modc("init", model, "-o", "-") == 3
    assert _modc("init", tmp_path / "absent.onnx", "-o", "-") == 3


SHARED_NETWORKS = {
    "unet3p_human_128": ("human", "{type: Normalize, norm_type: null}"),
    "unet_camvid_192x256": (
        "camvid",
        "{type: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED_NETWORKS)
def test_trained_networks_tell_their_preprocessing(name: str, tmp_path: Path) -> None:
    model = SHARED / "models" / f"{name}.onnx"
    if not model.exists():
        pytest.skip("needs ../shared/models")
    data, normalize = SHARED_NETWORKS[name]
    build_file = tmp_path / "net.yaml"
    images = link_images(SHARED / "data" / data / "calib", tmp_path / "images", 4)
    assert _modc("init", model, "--images", images, "-o", build_file, "-q") == 0
    assert normalize in build_file.read_text()
    document = yaml.safe_load(build_file.read_text())
    found = [op["type"] for op in document["dataset"]["process_ops"]]
    assert found == ["DecodeImage", "Resize", "Normalize", "ToTensor"]
