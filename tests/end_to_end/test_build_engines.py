"""The engine that a build file names: the build measures on it, the bundle runs on it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler import Runner, compile_model, load_config
from compiler.errors import MissingRequirementError
from compiler.pipeline import sessions
from compiler.pipeline.profile import profile_bundle
from compiler.runner.cpu import has_bfloat16
from compiler.runner.engine import open_session
from tests.support.project import make_project

pytest.importorskip("openvino", reason="openvino is not installed")

NETWORKS = Path(__file__).parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Networks that OpenVINO has loaded, by file name."""
    names: list[str] = []

    def open_(engine: Any, model: Path, **options: Any) -> Any:  # Any: passed on
        names.append(model.name)
        return open_session(engine, model, **options)

    monkeypatch.setattr(sessions, "open_session", open_)
    return names


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_openvino_verifies_and_times_what_it_will_run(
    dtype: str, tmp_path: Path, opened: list[str]
) -> None:
    project = make_project(tmp_path / "p", dtype=dtype)
    project.document["backend"]["type"] = "openvino"
    build = compile_model(load_config(project.write()))
    assert opened == ["mod.onnx", "original.onnx", "mod.onnx"]  # verification, then latency
    assert min(one.sqnr_db for one in build.verification.outputs) > 20
    assert any("openvino chooses its kernels" in note for note in build.notes) == (dtype == "int8")
    assert any("engine openvino" in note for note in profile_bundle(build.prefix, runs=1).notes)
    with Runner(build.prefix) as runner:
        assert runner.engine == runner.manifest.engine == "openvino"
        assert runner.manifest.versions["openvino"]
        image = next((tmp_path / "p" / "calib").glob("*.png"))
        assert runner.run(image)["output"].shape[0] == 1


def test_an_accuracy_search_runs_on_openvino(tmp_path: Path, opened: list[str]) -> None:
    project = make_project(tmp_path / "p")
    project.document["backend"]["type"] = "openvino"
    project.document["backend"]["quantize"]["accuracy"] = {"metric": "sqnr", "max_drop": 50}
    compile_model(load_config(project.write()), force=True)
    assert opened[:2] == ["fp32.onnx", "trial.onnx"]


def test_auto_is_left_to_the_place_where_the_bundle_runs(tmp_path: Path, opened: list[str]) -> None:
    project = make_project(tmp_path / "p", dtype="fp32")
    project.document["backend"]["type"] = "auto"
    build = compile_model(load_config(project.write()))
    assert opened == []
    with Runner(build.prefix) as runner:
        assert runner.manifest.engine == "auto"
        assert "openvino" not in runner.manifest.versions
        assert runner.engine in ("onnxruntime", "openvino")


def test_a_build_for_an_absent_engine_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "p")
    project.document["backend"]["type"] = "openvino"
    config = load_config(project.write())
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingRequirementError, match="cannot be imported") as caught:
        compile_model(config)
    assert "pip install 'modc[openvino]'" in caught.value.fix


def test_a_bf16_build_computes_in_bfloat16(tmp_path: Path) -> None:
    if not has_bfloat16("openvino"):
        pytest.skip("this CPU has no bfloat16 for OpenVINO")
    project = make_project(tmp_path / "p", dtype="bf16")
    project.document["backend"]["type"] = "openvino"
    build = compile_model(load_config(project.write()))
    assert 25 < min(one.sqnr_db for one in build.verification.outputs) < 70
    with Runner(build.prefix) as runner:
        assert runner.engine == "openvino"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks")
@pytest.mark.parametrize(
    "network",
    [
        "unet_camvid_192x256",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("unet3p_human_128", "sinet")),
    ],
)
def test_int8_networks_lose_the_same_on_both_engines(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a decibel and half a point: integers are equal, float kernels between them are not."""
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    noise, points = [], []
    for engine in ("onnxruntime", "openvino"):
        overrides = [
            f"workspace.path={tmp_path / engine}",
            f"backend.type={engine}",
            "backend.optimize.keep_float=false",  # or sinet would stay float
            "dataset.sampler.get_data_num=16",
        ]
        result = compile_model(load_config(NETWORKS / f"{network}.yaml", overrides=overrides))
        assert result.verification.task is not None
        noise.append(result.verification.outputs[0].sqnr_db)
        points.append(result.verification.task.compiled)
    assert noise[1] == pytest.approx(noise[0], abs=0.5)
    assert points[1] == pytest.approx(points[0], abs=0.5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks")
def test_instances_of_an_int8_network_compute_the_same(tmp_path: Path) -> None:
    """One OpenVINO graph with two streams does not, in most of its loads."""
    config = load_config(
        NETWORKS / "unet3p_human_128.yaml",
        overrides=[
            f"workspace.path={tmp_path}",
            "dataset.sampler.get_data_num=4",
            "verify={samples: 1}",
        ],
    )
    build = compile_model(config)
    x = np.random.default_rng(0).random((1, 3, 128, 128)).astype(np.float32)
    with Runner(build.prefix, engine="openvino", threads=1) as runner:
        (expected,) = runner.run(x).values()
    for _ in range(4):
        with (
            Runner(build.prefix, engine="openvino", threads=1, instances=2) as runner,
            runner.stream([x] * 8) as results,
        ):
            for result in results:
                assert result.outputs is not None
                (output,) = result.outputs.values()
                np.testing.assert_array_equal(output, expected)
