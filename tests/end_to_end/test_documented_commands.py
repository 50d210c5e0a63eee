"""The commands of the public documentation, from compilation to evaluation, as it types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from compiler import Runner

HERE = Path(__file__).parent
TESTS = HERE.parent
SHARED = Path(__file__).resolve().parents[3] / "shared"
TEST = SHARED / "data" / "human" / "test"
BUNDLE = Path("workspace/deploy_weights/official_unet3p_int8/mod")
JSON = Path("build_in/vdsp_params/official-unet3p-vdsp_params.json")
VDSP = {
    "OpType": "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR",
    "OpConfig": {
        "IimageFormat": "RGB_PLANAR",
        "IimageWidth": 128,
        "IimageHeight": 128,
        "IimageWidthPitch": 128,
        "IimageHeightPitch": 128,
        "OimageWidth": 128,
        "OimageHeight": 128,
        "ColorCvtCode": "NO_CHANGE",
        "ResizeType": "BILINEAR_CV",
        "NormaType": "DIV255",
        "Mean": [0.5, 0.5, 0.5],
        "Std": [0.5, 0.5, 0.5],
    },
}

pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
]


def lay_out(folder: Path) -> None:
    """The folder of one model, as the documentation has it."""
    for name in ("build", "vdsp_params", "vsx"):
        (folder / "build_in" / name).mkdir(parents=True)
    build = yaml.safe_load((TESTS / "networks" / "unet3p_human_128.yaml").read_text())
    build["name"] = "official_unet3p_int8"
    build["frontend"]["checkpoint"] = str(SHARED / "models" / "unet3p_human_128.onnx")
    build["dataset"]["path"] = str(SHARED / "data" / "human" / "calib")
    del build["verify"]
    (folder / "build_in/build/official_unet3p.yaml").write_text(yaml.safe_dump(build))
    (folder / JSON).write_text(json.dumps(VDSP))
    shutil.copy(TESTS / "compat/scripts/segmentation.py", folder / "build_in/vsx/vsx_inference.py")
    shutil.copy(HERE / "documentation/vamp_eval.py", folder / "build_in/vdsp_params")


def mean_iou(runner: Runner) -> float:
    """Mean foreground IoU (M6) of `Runner.run`, image by image."""
    ious = []
    for image in sorted((TEST / "images").iterdir()):
        (output,) = runner.run(image).values()
        (label,) = (TEST / "masks").glob(f"{image.stem}.*")
        grey = cv2.imread(str(label), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        predicted, truth = output[0, 0] > 0, cv2.resize(grey, (128, 128)) >= 125
        if np.count_nonzero(predicted | truth):
            ious.append(np.count_nonzero(predicted & truth) / np.count_nonzero(predicted | truth))
    return float(np.mean(ious))


def test_every_way_of_the_documentation_gives_the_same_accuracy(tmp_path: Path) -> None:
    lay_out(tmp_path)
    scripts = Path(sys.executable).parent  # where modc, vamc, vamp and python stand
    done = subprocess.run(
        ["bash", str(HERE / "documentation/commands.sh"), TEST / "images", TEST / "masks"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    ious = [float(found) for found in re.findall(r"mean iou: ([\d.]+)", done.stdout)]
    assert len(ious) == 2, done.stdout  # of the script, and of vamp's arrays
    for vdsp_params in (None, tmp_path / JSON):
        with Runner(tmp_path / BUNDLE, vdsp_params=vdsp_params) as runner:
            ious.append(mean_iou(runner))
    assert ious == pytest.approx([ious[0]] * 4, abs=1e-6)
    assert ious[0] == pytest.approx(0.762, abs=0.005)

    throughputs = re.findall(r"\(qps\): \d+\.\d+", done.stdout)
    assert len(throughputs) == 2, done.stdout
    images = len(list((TEST / "images").iterdir()))
    written = sorted(path.name for path in (tmp_path / "workspace/npz_output").iterdir())
    assert written == [f"output_{index:06d}.npz" for index in range(images)]
