"""`modc eval` on trained networks and real images; `../shared/models/README.md` has figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from compiler import compile_model, load_config
from compiler.cli.app import main

NETWORKS = Path(__file__).parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[3] / "shared"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks"),
]


@pytest.mark.parametrize(
    ("build_file", "model", "data", "metric", "images", "fp32"),
    [
        ("sinet", "SINet", "human", "foreground_iou", 40, 66.717),
        ("unet3p_human_128", "unet3p_human_128", "human", "foreground_iou", 40, 76.241),
        ("prisma_nchw", "prisma_nchw", "human", "foreground_iou", 40, 77.823),
        ("unet_camvid_192x256", "unet_camvid_192x256", "camvid", "mean_iou", 50, 50.466),
    ],
)
def test_the_float_network_has_its_known_figure_and_the_bundle_loses_little(
    build_file: str,
    model: str,
    data: str,
    metric: str,
    images: int,
    fp32: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [f"workspace.path={tmp_path}", "dataset.sampler.get_data_num=8"]
    config = load_config(NETWORKS / f"{build_file}.yaml", overrides=overrides, dtype="fp16")
    build = compile_model(config)
    folder = SHARED / "data" / data / "test"
    arguments: list[str | Path] = [
        "-m",
        build.prefix,
        "--onnx",
        SHARED / "models" / f"{model}.onnx",
    ]
    arguments += ["--images", folder / "images", "--masks", folder / "masks"]
    found = _json(capsys, *arguments)
    base, compiled = found["networks"]
    assert len(found["images"]["counted"]) == images
    assert base["metrics"][0]["name"] == metric
    assert base["metrics"][0]["value"] == pytest.approx(fp32, abs=0.01)
    difference = compiled["metrics"][0]["differences"][metric]
    assert abs(difference["value"]) < 0.1
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["high"] - difference["low"] < 0.5  # pairs cancel what is hard for both
    interval = base["metrics"][0]["figures"][metric]
    assert interval["high"] - interval["low"] > 2
    assert compiled["agreement"]["pixels"] > 99.9


def _json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    with pytest.raises(SystemExit) as exit_:
        main(["eval", *map(str, arguments), "--json"])
    assert not exit_.value.code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)  # Any: a JSON object
    return found
