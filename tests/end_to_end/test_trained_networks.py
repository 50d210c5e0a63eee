"""Trained networks on real images, as `../shared/models/README.md` measures them."""

from pathlib import Path

import numpy as np
import pytest

from compiler import Runner, compile_model, load_config

NETWORKS = Path(__file__).parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[3] / "shared"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks")

FP32 = {
    "unet3p_human_128": 76.241,
    "unet_camvid_192x256": 50.466,
    "prisma_nchw": 77.823,
    "sinet": 66.717,
}


@pytest.mark.parametrize(
    ("network", "dtype", "max_drop"),
    [
        ("unet3p_human_128", "int8", 1.0),
        ("unet_camvid_192x256", "int8", 1.0),
        ("sinet", "fp16", 0.1),
    ],
)
def test_the_task_metric_survives_compilation(
    network: str, dtype: str, max_drop: float, tmp_path: Path
) -> None:
    config = load_config(
        NETWORKS / f"{network}.yaml",
        dtype=dtype,
        overrides=[f"workspace.path={tmp_path}"],
    )
    task = compile_model(config).verification.task
    assert task is not None
    assert task.fp32 == pytest.approx(FP32[network], abs=0.01)
    assert task.drop <= max_drop


def test_prisma_of_opset_7_compiles_to_int8(tmp_path: Path) -> None:
    config = load_config(
        NETWORKS / "prisma_nchw.yaml",
        overrides=[
            f"workspace.path={tmp_path}",
            "dataset.sampler.get_data_num=8",
            "verify={min_cosine: 0.95}",
        ],
    )
    build = compile_model(config)
    assert build.broken_gates == ()
    done, planned = build.integer_layers or (0, 1)
    assert done == planned > 100
    assert any("integers would not be faster" in note for note in build.notes)


@pytest.mark.parametrize("network", FP32)
@pytest.mark.slow
def test_rewritten_networks_return_what_the_original_returns(network: str, tmp_path: Path) -> None:
    """fp32, all rewrites and Winograd: 1e-5 of the range of each output, on real images."""
    outputs = []
    for rewrite in ("false", "true"):
        config = load_config(
            NETWORKS / f"{network}.yaml",
            dtype="fp32",
            overrides=[
                f"workspace.path={tmp_path / rewrite}",
                f"backend.optimize.rewrite={rewrite}",
                "verify={samples: 2}",
            ],
        )
        build = compile_model(config)
        images = sorted((SHARED / "data").glob("*/calib/*.*"))
        with Runner(build.prefix, threads=1) as runner:
            assert bool(runner.manifest.optimization["rewrites"]) == (rewrite == "true")
            outputs.append([list(runner.run(image).values()) for image in images[::25]])
    for plain, rewritten in zip(*outputs, strict=True):
        for expected, actual in zip(plain, rewritten, strict=True):
            assert np.abs(actual - expected).max() <= 1e-5 * np.ptp(expected)
