"""The inputs that a build calibrates with, as files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.config.load import load_config
from compiler.errors import CalibrationError
from compiler.pipeline.dump_calibration import INDEX, Dump, dump_calibration
from compiler.pipeline.inspect_calibration import calibration_samples
from compiler.pipeline.samples import declared_inputs
from tests.support.models import model_from_text
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def _dump(project: Project, **options: Any) -> tuple[Dump, dict[str, Any]]:  # Any: as declared
    folder = project.folder / "seen"
    written = dump_calibration(load_config(project.write()), folder, **options)
    return written, json.loads((folder / INDEX).read_text(encoding="utf-8"))


def _tensors(project: Project) -> list[NDArray[np.float32]]:
    config = load_config(project.write())
    inputs = declared_inputs(config)
    samples, _ = calibration_samples(config, inputs, allow_custom_code=False)
    return [feeds["input"] for feeds in samples.feeds(samples.calibration)]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    "normalize",
    [
        {"type": "Normalize", "norm_type": None},
        {"type": "Normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.1]},
        {"type": "Normalize", "mean": [120], "std": [-60], "div255": False},
    ],
)
def test_normalizing_a_picture_gives_the_tensor_to_the_last_bit(
    project: Project, normalize: dict[str, object], swapped: bool
) -> None:
    ops = project.document["dataset"]["process_ops"]
    ops[2] = normalize
    if swapped:
        ops.insert(1, {"type": "CvtColor", "code": "COLOR_RGB2BGR"})
    written, index = _dump(project, arrays=True)
    assert (written.pictures, written.stretched, written.arrays) == (4, 0, 4)
    assert index["channels"] == ("BGR" if swapped else "RGB")
    tensors = _tensors(project)
    project.document["dataset"] |= {
        "path": str(written.folder),
        "process_ops": [op for op in ops if op["type"] != "Resize"],
    }
    for row, tensor, again in zip(index["samples"], tensors, _tensors(project), strict=True):
        np.testing.assert_array_equal(np.load(written.folder / row["arrays"])["input"], tensor)
        np.testing.assert_array_equal(again, tensor)
        assert row["pixels"] == "exact"
        assert row["picture"] == str(Path(row["name"]).with_suffix(".png"))


def test_what_custom_code_makes_is_stretched(project: Project, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def load(path):\n"
        "    return np.linspace(-3, 5, 768, dtype=np.float32).reshape(1, 3, 16, 16)\n"
    )
    project.document["dataset"]["process_ops"] = [
        {"type": "CustomFunc", "module_path": str(tmp_path / "own.py"), "func_name": "load"}
    ]
    written, index = _dump(project, allow_custom_code=True)
    assert (written.pictures, written.stretched, written.arrays) == (4, 4, 0)
    assert index["channels"] is None
    pixels = np.asarray(Image.open(written.folder / index["samples"][0]["picture"]))
    assert (pixels[0, 0].tolist(), pixels[-1, -1].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_files_with_one_stem_and_folders_keep_apart(project: Project) -> None:
    calib = project.folder / "calib"
    for image in sorted(calib.iterdir())[2:]:
        image.unlink()
    Image.open(calib / "image_0.png").save(calib / "image_0.jpg")
    (calib / "deep").mkdir()
    shutil.copyfile(calib / "image_1.png", calib / "deep" / "image_0.png")
    del project.document["dataset"]["sampler"]["suffix"]
    _, index = _dump(project)
    assert [row["picture"] for row in index["samples"]] == [
        "deep/image_0.png",
        "image_0.jpg.png",
        "image_0.png.png",
        "image_1.png",
    ]


def test_arrays_stay_arrays(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    values = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "a.npz", input=values)
    project.document["dataset"] = {"path": str(tmp_path / "arrays")}
    written, index = _dump(project)
    assert (written.pictures, written.arrays) == (0, 1)
    assert index["samples"][0]["arrays"] == "a.npz"
    np.testing.assert_array_equal(np.load(written.folder / "a.npz")["input"], values)


def test_a_damaged_file_ends_the_dump_unless_a_build_skips_it(project: Project) -> None:
    [first, *_] = sorted((project.folder / "calib").iterdir())
    for image in (project.folder / "calib").iterdir():
        if image != first:
            continue
        image.write_bytes(b"torn")
    project.document["dataset"]["sampler"]["get_data_num"] = 6
    with pytest.raises(CalibrationError, match="not an image in a known format"):
        _dump(project)
    assert not (project.folder / "seen").exists()
    project.document["dataset"]["on_error"] = "skip"
    written, index = _dump(project)
    assert written.skipped == tuple(index["skipped"]) == (first.name,)
    assert written.pictures == 5


def test_a_dump_that_is_interrupted_leaves_the_folder_as_it_was(project: Project) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            assert any(seen.glob("deep/*.png"))
            raise KeyboardInterrupt

    calib, seen = project.folder / "calib", project.folder / "seen"
    (calib / "deep").mkdir()
    for image in sorted(calib.glob("*.png"))[:3]:
        image.rename(calib / "deep" / image.name)
    seen.mkdir()
    with pytest.raises(KeyboardInterrupt):
        dump_calibration(load_config(project.write()), seen, progress=interrupt)
    assert list(seen.iterdir()) == []


def test_a_folder_with_files_is_left_alone(project: Project) -> None:
    (project.folder / "seen").mkdir()
    (project.folder / "seen" / "mine").touch()
    with pytest.raises(CalibrationError, match="the folder is not empty"):
        _dump(project)


def test_a_folder_that_cannot_be_made_is_an_error(project: Project) -> None:
    (project.folder / "seen").touch()
    with pytest.raises(CalibrationError, match="cannot be written"):
        _dump(project)


def test_one_channel_becomes_a_grey_picture(project: Project) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[1, 1, 16, 16] input) => (float[1, 1, 16, 16] output) { output = Relu(input) }"
    )
    onnx.save(model_from_text(text), project.folder / "net.onnx")
    project.document["frontend"]["shape"] = {"input": [1, 1, 16, 16]}
    project.document["dataset"]["process_ops"][0] = {"type": "DecodeImage", "cv2_flags": 0}
    written, index = _dump(project)
    assert written.stretched == 0
    for row, tensor in zip(index["samples"], _tensors(project), strict=True):
        with Image.open(written.folder / row["picture"]) as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), np.rint(255 * tensor[0, 0]))
