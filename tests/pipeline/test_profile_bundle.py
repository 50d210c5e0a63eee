import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from compiler.config.load import load_config
from compiler.errors import BuildFileError, BundleError, CalibrationError
from compiler.pipeline import compile_model
from compiler.pipeline.profile import profile_bundle
from tests.support.bundles import MANIFEST, make_bundle
from tests.support.project import make_project, two_convolutions

MACS = 8 * 16 * 16 * 27 + 1 * 16 * 16 * 72  # of the project's two convolutions


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project with an int8 bundle."""
    folder = tmp_path_factory.mktemp("project")
    project = make_project(folder)
    compile_model(load_config(project.write()))
    return folder


@pytest.fixture
def bundle(project: Path) -> Path:
    return project / "deploy" / "net_int8"


def test_both_networks_are_timed_node_by_node(bundle: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    profile = profile_bundle(
        bundle, threads=1, runs=3, progress=lambda *step: seen.append((step[0], step[1], step[2]))
    )
    assert (profile.name, profile.dtype, profile.threads) == ("net_int8", "int8", 1)
    assert (profile.runs, profile.notes) == (3, ())
    compiled, original = profile.compiled, profile.original
    assert original is not None
    assert {"QuantizeLinear", "QLinearConv", "DequantizeLinear"} <= set(compiled.operators)
    assert "Conv (NCHWc)" in original.operators or "Conv" in original.operators
    assert compiled.macs == original.macs == compiled.computed_macs == MACS
    assert original.computed_macs >= MACS
    for graph in (compiled, original):
        times = [node.milliseconds for node in graph.nodes]
        assert times == sorted(times, reverse=True)
        assert 0 < graph.node_milliseconds <= graph.run_milliseconds
        assert sum(graph.operators.values()) == pytest.approx(graph.node_milliseconds, rel=1e-9)
        assert {node.provider for node in graph.nodes} == {"CPUExecutionProvider"}
    assert seen[-1] == ("profile", 4, 4)


def test_bytes_are_those_of_the_tensors_and_the_weights(bundle: Path) -> None:
    nodes = profile_bundle(bundle, threads=1, runs=1).compiled.nodes
    (first,) = (node for node in nodes if node.name.startswith("first"))
    pixels = 16 * 16
    scales = 2 * (4 + 1) + 8 * 4 + 8  # scale and zero point of input and output, and per channel
    assert first.bytes == 3 * pixels + 8 * pixels + 8 * 27 + 8 * 4 + scales
    (quantize,) = (node for node in nodes if node.op == "QuantizeLinear")
    assert (quantize.macs, quantize.bytes) == (0, 3 * pixels * (4 + 1) + 4 + 1)


def test_an_image_goes_through_the_bundles_preprocessing(project: Path, bundle: Path) -> None:
    image = project / "calib" / "image_0.png"
    assert profile_bundle(bundle, image=image, threads=1, runs=1).original is not None
    with pytest.raises(CalibrationError, match="No such file"):
        profile_bundle(bundle, image=project / "absent.png", threads=1, runs=1)


def test_an_image_needs_preprocessing(tmp_path: Path) -> None:
    plain = make_bundle(tmp_path, manifest=replace(MANIFEST, preprocessing=None))
    with pytest.raises(BundleError, match="no preprocessing"):
        profile_bundle(plain, image=tmp_path / "any.png", runs=1)


def test_custom_code_of_a_bundle_is_not_trusted(tmp_path: Path) -> None:
    ops = ({"type": "CustomFunc", "module_path": "ops.py", "func_name": "f"},)
    assert MANIFEST.preprocessing is not None
    preprocessing = replace(MANIFEST.preprocessing, ops=ops)
    custom = make_bundle(tmp_path, manifest=replace(MANIFEST, preprocessing=preprocessing))
    with pytest.raises(BundleError, match="its preprocessing cannot be used"):
        profile_bundle(custom, image=tmp_path / "any.png", runs=1)


@pytest.fixture
def copy(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose build file names its network relative to itself, built from elsewhere."""
    folder = tmp_path / "work" / "builds"
    shutil.copytree(project / "calib", folder / "calib")
    document = make_project(folder / "other")
    document.document["frontend"]["checkpoint"] = "net.onnx"
    document.document["workspace"]["path"] = "deploy"
    monkeypatch.chdir(tmp_path / "work")
    compile_model(load_config(document.write()))
    shutil.move(folder / "other", tmp_path / "work" / "other")
    return tmp_path / "work"


def test_the_original_is_found_beside_its_build_file(copy: Path) -> None:
    profile = profile_bundle("deploy/net_int8", threads=1, runs=1)
    assert profile.original is not None
    assert profile.notes == ()


def test_an_absent_original_is_said(copy: Path) -> None:
    (copy / "other" / "net.onnx").unlink()
    profile = profile_bundle("deploy/net_int8", threads=1, runs=1)
    assert profile.original is None
    assert profile.notes == (
        "the compiled network alone: net.onnx is not to be found; name it with --original",
    )


def test_a_changed_original_is_said_and_can_be_named_all_the_same(copy: Path) -> None:
    network = copy / "other" / "net.onnx"
    onnx.save(two_convolutions(seed=1), network)
    profile = profile_bundle("deploy/net_int8", threads=1, runs=1)
    assert profile.original is None
    assert "net.onnx has changed since; name it with" in profile.notes[0]
    profile = profile_bundle("deploy/net_int8", original=network, threads=1, runs=1)
    assert profile.original is not None
    assert profile.original.macs == MACS
    assert profile.notes == (f"{network} is not the file that the bundle was made from",)


def test_an_original_that_is_not_there_is_an_error(bundle: Path) -> None:
    with pytest.raises(BuildFileError, match=r"absent\.onnx") as caught:
        profile_bundle(bundle, original=Path("absent.onnx"), runs=1)
    assert caught.value.where == "--original"


def test_a_bundle_of_another_version_is_profiled_alone(tmp_path: Path) -> None:
    profile = profile_bundle(make_bundle(tmp_path), threads=1, runs=1)
    assert profile.original is None
    assert profile.dtype == ""
    assert [node.op for node in profile.compiled.nodes] == ["Mul"]
    assert profile.notes == (
        "the compiled network alone: its build file is of another version of modc",
    )
