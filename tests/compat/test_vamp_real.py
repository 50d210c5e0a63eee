"""A trained network on real images: from JPEG files through npz and `vamp` to masks."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from compiler.cli.app import main
from compiler.cli.vamp import main as vamp_main
from compiler.runner.load import Runner
from tests.support.models import SHARED

NETWORK = SHARED / "models" / "unet_camvid_192x256.onnx"
IMAGES = SHARED / "data" / "camvid" / "calib"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NETWORK.exists(), reason="the shared networks are not here"),
]
BUILD = {
    "name": "camvid_fp32",
    "frontend": {
        "type": "onnx",
        "checkpoint": str(NETWORK),
        "dtype": "fp32",
        "shape": {"input": [1, 3, 192, 256]},
    },
    "backend": {"type": "onnxruntime", "dtype": "fp32"},
    "dataset": {
        "type": "tvm",
        "path": str(IMAGES),
        "sampler": {"suffix": "jpg", "get_data_num": 2},
        "process_ops": [
            {"type": "DecodeImage"},
            {"type": "Resize", "size": [192, 256]},
            {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            {"type": "ToTensor"},
        ],
    },
    "workspace": {"path": "deploy_weights"},
}
VDSP = {
    "OpType": "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR",
    "OpConfig": {
        "OimageWidth": 256,
        "OimageHeight": 192,
        "IimageFormat": "RGB_PLANAR",
        "ColorCvtCode": "NO_CHANGE",
        "ResizeType": "BILINEAR_CV",
        "NormaType": "DIV255_MINUSMEAN_DIVSTD",
        "Mean": [0.485107421875, 0.4560546875, 0.406005859375],
        "Std": [0.22900390625, 0.2239990234375, 0.2249755859375],
    },
}


def _call(entry: object, line: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        entry(shlex.split(line))  # type: ignore[operator]  # one of the two entry points
    assert not exit_.value.code


def test_the_published_lines_give_what_the_runner_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vdsp.json").write_text(json.dumps(VDSP))
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(BUILD))
    (tmp_path / "images").mkdir()
    files = sorted(IMAGES.glob("0016E5*.jpg"))[:5]
    for file in files:
        (tmp_path / "images" / file.name).symlink_to(file.resolve())
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")

    _call(main, "compile ../build.yaml --quiet")
    _call(
        main,
        "npz --dataset_path ../images --target_path npz --text_path npz_datalist.txt --quiet",
    )
    run = "-m deploy_weights/camvid_fp32/mod --vdsp_params ../vdsp.json"
    _call(vamp_main, f"{run} -i 1 p 1 -b 1 -s [3,192,256] --iterations 4")
    _call(
        vamp_main,
        f"{run} -p 1 -b 22 -i 8 --datalist npz_datalist.txt --path_output npz_output",
    )

    outputs = sorted(Path("npz_output").iterdir())
    assert [path.name for path in outputs] == [f"output_{i:06}.npz" for i in range(5)]
    with Runner("deploy_weights/camvid_fp32/mod", vdsp_params="../vdsp.json") as runner:
        for file, path in zip(files, outputs, strict=True):
            expected = next(iter(runner.run(file).values())).astype(np.float16)
            with np.load(path) as arrays:
                assert arrays.files == ["output_0"]
                # a sum of floats depends on how many threads share it
                np.testing.assert_allclose(arrays["output_0"], expected, rtol=2e-3, atol=2e-3)
                same = arrays["output_0"].argmax(axis=1) == expected.argmax(axis=1)
                assert same.mean() > 0.9999

    _call(
        main,
        "decode-npz npz_output --datalist npz_datalist.txt -m deploy_weights/camvid_fp32 -o drawn "
        "--vdsp_params ../vdsp.json --quiet",
    )
    assert len(list(Path("drawn").iterdir())) == 10
