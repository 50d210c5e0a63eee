"""Bundles whose inputs have a range of sizes: at both ends and between, as the network itself."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from compiler import Runner
from compiler.cli.app import main
from compiler.config.load import load_config
from compiler.errors import BuildFileError, BundleError, CalibrationError, GraphError
from compiler.pipeline import Build, compile_model
from compiler.pipeline.debug import debug_bundle
from compiler.pipeline.diff import diff_networks
from compiler.pipeline.profile import profile_bundle
from compiler.runner.engine import ENGINES, EngineName
from compiler.runner.manifest import TensorSpec
from tests.support.models import model_from_text, run
from tests.support.open_networks import HEAD, NETWORKS, network

Document = dict[str, Any]  # Any: a YAML mapping

SIZES: Final = ((8, 8), (24, 32), (16, 20), (12, 28))
"""Smallest, largest, and two between."""


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_size_of_the_range_gives_what_the_network_gives(
    name: str, dtype: str, tmp_path: Path
) -> None:
    model = network(name)
    build = _build(tmp_path, model, dtype)
    least = {"fp32": 90.0, "fp16": 45.0, "int8": 15.0}[dtype]
    with Runner(build.prefix) as runner:
        assert runner.inputs[0].shape == (1, 3, -1, -1)
        assert runner.inputs[0].bounds == ((1, 1), (3, 3), (8, 24), (8, 32))
        assert -1 in runner.outputs[0].shape
        for size in SIZES:
            x = _pixels(1, 3, *size)
            actual = runner.run(x)["y"]
            (expected,) = run(model, {"x": x})
            assert actual.shape == expected.shape
            assert _sqnr(expected, actual) > least, size


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_a_range_of_batch_sizes(dtype: str, tmp_path: Path) -> None:
    model = network("squeeze and excitation", batch="N")
    build = _build(tmp_path, model, dtype, shape=[[1, 3, 16, 16], [8, 3, 16, 16]])
    with Runner(build.prefix) as runner:
        assert str(runner.inputs[0]) == "x float32[1..8, 3, 16, 16]"
        assert runner.outputs[0].shape[0] == -1
        for batch in (1, 3, 8):
            x = _pixels(batch, 3, 16, 16)
            (expected,) = run(model, {"x": x})
            assert _sqnr(expected, runner.run(x)["y"]) > {"int8": 15.0}.get(dtype, 45.0)
        with pytest.raises(BundleError, match=r"\[9, 3, 16, 16\] given"):
            runner.run(_pixels(9, 3, 16, 16))


def test_what_depends_on_no_size_is_folded_and_fused_all_the_same(tmp_path: Path) -> None:
    build = _build(tmp_path, network("convolutions, pools and nearest upsampling"), "fp32")
    ops = [node.op_type for node in onnx.load(f"{build.prefix}.onnx").graph.node]
    assert "BatchNormalization" not in ops
    assert any("stay open" in note for note in build.notes)


def test_equal_ends_are_a_fixed_size(tmp_path: Path) -> None:
    model = network("padding that depends on the size")
    build = _build(tmp_path, model, "fp32", shape=[[1, 3, 16, 16], [1, 3, 16, 16]])
    with Runner(build.prefix) as runner:
        assert runner.inputs == (TensorSpec("x", (1, 3, 16, 16), "float32"),)
    assert "stay open" not in " ".join(build.notes)


def test_the_file_names_the_open_sizes_and_no_others(tmp_path: Path) -> None:
    build = _build(tmp_path, network("squeeze and excitation"), "int8")
    model = onnx.load(f"{build.prefix}.onnx")
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == [1, 3, "H", "W"]
    assert not model.graph.value_info
    onnx.checker.check_model(f"{build.prefix}.onnx", full_check=True)


def test_a_second_build_takes_the_graph_from_the_cache_and_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    model = network("a resize to the size of another tensor")
    digests = {_build(tmp_path, model, "int8").digest for _ in range(2)}
    assert len(digests) == 1


def test_images_keep_the_size_that_process_ops_give_them(tmp_path: Path) -> None:
    model = network("padding that depends on the size")
    images = _images(tmp_path, (20, 24), (9, 31), (16, 16))
    build = _build(tmp_path, model, "int8", dataset=_dataset(images))
    with Runner(build.prefix) as runner:
        assert runner.run(images / "1.png")["y"].shape == (1, 4, 5, 16)
    fixed = _build(tmp_path, model, "int8", dataset=_dataset(images, size=[12, 16]))
    with Runner(fixed.prefix) as runner:
        assert runner.run(images / "1.png")["y"].shape == (1, 4, 6, 8)


def test_an_image_outside_the_range_is_named(tmp_path: Path) -> None:
    model = network("padding that depends on the size")
    images = _images(tmp_path, (20, 24), (9, 33))
    with pytest.raises(
        CalibrationError, match=r"give \[1, 3, 9, 33\].*\[1, 3, 8\.\.24, 8\.\.32\]"
    ) as caught:
        _build(tmp_path, model, "int8", dataset=_dataset(images))
    assert caught.value.where.endswith("1.png")
    with Runner(_build(tmp_path, model, "fp32").prefix) as runner, pytest.raises(BundleError):
        runner.run(_pixels(1, 3, 9, 33))


def test_arrays_of_several_sizes_calibrate(tmp_path: Path) -> None:
    model = network("squeeze and excitation")
    build = _build(tmp_path, model, "int8")  # its data set has arrays of all SIZES
    assert build.verification.sqnr_db > 15
    np.savez(tmp_path / "arrays" / "9.npz", x=_pixels(1, 3, 40, 40))
    with pytest.raises(CalibrationError, match=r"\[1, 3, 40, 40\].*\[1, 3, 8\.\.24, 8\.\.32\]"):
        _build(tmp_path, model, "int8")


def test_profile_and_diff_take_the_largest_size(tmp_path: Path) -> None:
    model = network("squeeze and excitation")
    build = _build(tmp_path, model, "int8")
    profile = profile_bundle(build.prefix, runs=1)
    assert profile.compiled.macs == (profile.original and profile.original.macs)
    assert profile.compiled.macs > 24 * 32
    difference = diff_networks(build.prefix, tmp_path / "net.onnx")
    assert difference.run is not None
    assert difference.run.outputs[0].sqnr_db > 15
    assert difference.run.layers


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_openvino_takes_every_size_too(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model = network("a resize to the size of another tensor")
    build = _build(tmp_path, model, dtype)
    with Runner(build.prefix, engine="openvino", threads=1) as runner:
        for size in SIZES:
            x = _pixels(1, 3, *size)
            (expected,) = run(model, {"x": x})
            assert _sqnr(expected, runner.run(x)["y"]) > {"fp32": 60.0, "int8": 15.0}[dtype], size


def test_run_gives_every_image_a_result_of_its_size(tmp_path: Path) -> None:
    images = _images(tmp_path, (20, 24), (9, 31), (24, 32))
    _build(tmp_path, network("squeeze and excitation"), "int8", dataset=_dataset(images))
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(tmp_path / "net.yaml"), "--quiet"])
    assert not exit_.value.code
    shapes = []
    for number in range(3):
        with np.load(tmp_path / "deploy" / "net-result" / f"{number}.npz") as arrays:
            shapes.append(arrays["output_0"].shape)
    assert shapes == [(1, 2, 19, 23), (1, 2, 9, 31), (1, 2, 23, 31)]


def test_sensitivity_and_debug_read_such_a_bundle(tmp_path: Path) -> None:
    images = _images(tmp_path, (20, 24), (9, 31), (24, 32))
    model = network("squeeze and excitation")
    build = _build(tmp_path, model, "int8", dataset=_dataset(images))
    diagnosis = debug_bundle(build.prefix, config=tmp_path / "net.yaml", limit=1)
    assert len(diagnosis.layers) == 1
    assert diagnosis.sqnr_db > 15


def test_a_size_that_the_network_fixes_cannot_have_a_range(tmp_path: Path) -> None:
    with pytest.raises(
        GraphError, match=r"8\.\.24.*dimension 0 has a range against the fixed size 1"
    ):
        _build(
            tmp_path,
            network("squeeze and excitation"),
            "fp32",
            shape=[[1, 3, 8, 8], [2, 3, 24, 32]],
        )


def test_a_network_that_does_not_take_its_smallest_size_is_refused(tmp_path: Path) -> None:
    model = model_from_text(
        HEAD.format(batch=1) + "<float[4, 3, 9, 9] w> { c = Conv(x, w)  y = Relu(c) }"
    )
    with pytest.raises(GraphError, match=r"at its smallest size: .* on x \[1, 3, 8, 8\]"):
        _build(tmp_path, model, "fp32")


HALVES: Final = "convolutions, pools and nearest upsampling"
"""This network takes even sizes only."""


def test_a_network_that_does_not_take_its_largest_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"at its largest size, x \[1, 3, 25, 32\]"):
        _build(tmp_path, network(HALVES), "fp32", shape=[[1, 3, 8, 8], [1, 3, 25, 32]])


def test_a_sample_that_the_network_cannot_take_is_told_by_its_sizes(tmp_path: Path) -> None:
    images = _images(tmp_path, (20, 24), (9, 16))
    with pytest.raises(GraphError, match=r"cannot run it on x \[1, 3, 9, 16\]"):
        _build(tmp_path, network(HALVES), "int8", dataset=_dataset(images))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_that_the_network_cannot_take_is_named_and_the_others_go_on(
    tmp_path: Path, engine: EngineName, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(engine)
    images = _images(tmp_path, (20, 24), (16, 16), (16, 16))
    _build(tmp_path, network(HALVES), "fp32", dataset=_dataset(images))
    Image.new("RGB", (16, 9)).save(images / "1.png")
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(tmp_path / "net.yaml"), "--quiet", "--engine", engine])
    assert exit_.value.code == 4
    assert f"modc: {images / '1.png'}: the network failed: " in capfd.readouterr().err
    results = tmp_path / "deploy" / "net-result"
    assert sorted(file.name for file in results.iterdir()) == ["0.npz", "2.npz"]


def test_results_of_different_sizes_are_not_joined(tmp_path: Path) -> None:
    images = _images(tmp_path, (20, 24), (16, 16))
    build = _build(tmp_path, network(HALVES), "fp32", dataset=_dataset(images))
    with Runner(build.prefix) as runner, pytest.raises(BundleError, match="cannot be joined"):
        runner.run(sorted(images.iterdir()))


def test_a_search_for_masks_of_one_size_is_refused(tmp_path: Path) -> None:
    images = _images(tmp_path, (20, 24), (16, 16))
    with pytest.raises(BuildFileError, match="compares masks of one size"):
        _build(
            tmp_path,
            model_from_text(HEAD.format(batch=1) + "<float[1, 3, 1, 1] w> { y = Conv(x, w) }"),
            "int8",
            dataset=_dataset(images),
            accuracy={"metric": "fg_iou", "max_drop": 0.5},
        )


def _build(
    folder: Path,
    model: onnx.ModelProto,
    dtype: str,
    *,
    shape: list[list[int]] | None = None,
    dataset: Document | None = None,
    accuracy: Document | None = None,
) -> Build:
    onnx.save(model, folder / "net.onnx")
    shape = shape or [[1, 3, 8, 8], [1, 3, 24, 32]]
    document: Document = {
        "name": "net",
        "frontend": {"checkpoint": str(folder / "net.onnx"), "shape": {"x": shape}},
        "backend": {"dtype": dtype, "optimize": {"keep_float": False}},
        "dataset": dataset or {"path": str(_arrays(folder, shape))},
        "workspace": {"path": str(folder / "deploy")},
    }
    if accuracy:
        document["backend"]["quantize"] = {"accuracy": accuracy}
    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return compile_model(load_config(path))


def _arrays(folder: Path, shape: list[list[int]]) -> Path:
    path = folder / "arrays"
    path.mkdir(exist_ok=True)
    low, high = shape
    sizes = SIZES if low[2:] != high[2:] else (tuple(low[2:]),) * 2
    for number, size in enumerate(sizes):
        batch = high[0] if number else low[0]
        np.savez(path / f"{number}.npz", x=_pixels(batch, 3, *size, seed=number))
    return path


def _images(folder: Path, *sizes: tuple[int, int]) -> Path:
    path = folder / "images"
    path.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(path / f"{number}.png")
    return path


def _dataset(images: Path, size: list[int] | None = None) -> Document:
    ops: list[Document] = [{"type": "DecodeImage"}]
    ops += [{"type": "Resize", "size": size}] if size else []
    ops += [{"type": "Normalize", "mean": [0.5] * 3, "std": [0.25] * 3}, {"type": "ToTensor"}]
    return {"path": str(images), "process_ops": ops}


def _pixels(*shape: int, seed: int = 7) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _sqnr(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    noise = float(np.square(expected.astype("f8") - actual).sum())
    return float(10 * np.log10(np.square(expected.astype("f8")).sum() / max(noise, 1e-30)))
