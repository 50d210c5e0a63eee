"""Runner: tensors and images in, named outputs out, and clear refusals."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.bundle.write import new_bundle
from compiler.errors import (
    BuildFileError,
    BundleError,
    CalibrationError,
    MissingRequirementError,
)
from compiler.runner.engine import EngineName
from compiler.runner.load import Runner
from compiler.runner.manifest import FORMAT_VERSION, Manifest, Preprocessing, TensorSpec
from tests.support.bundles import MANIFEST, RESIZE, SHAPE, make_bundle

TWO_INPUTS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 2] a, int64[1, 2] b) => (float[1, 2] sum, float[1, 1] total)
{ c = Cast<to = 1>(b)
  sum = Add(a, c)
  total = ReduceSum<keepdims = 1>(sum) }"""
TWO_INPUTS_MANIFEST = replace(
    MANIFEST,
    inputs=(TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1, 2), "int64")),
    outputs=(TensorSpec("sum", (1, 2), "float32"), TensorSpec("total", (1, 1), "float32")),
    preprocessing=None,
)


@pytest.fixture(autouse=True)
def named_engine(engine: EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bundle of this file names one engine, then the other."""
    read = Manifest.from_json

    def from_json(text: str, *, where: str) -> Manifest:
        return replace(read(text, where=where), engine=engine)

    monkeypatch.setattr(Manifest, "from_json", from_json)


def make_from_text(workspace: Path, text: str, manifest: Manifest) -> Path:
    with new_bundle(workspace, "net", build_file="net.yaml", model="net.onnx") as bundle:
        onnx.save(onnx.parser.parse_model(text), bundle.folder / "mod.onnx")
        bundle.commit(manifest)
    return workspace / "net"


def random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:], (5, *SHAPE[1:])])
def test_a_tensor_is_run_alone_or_as_a_batch(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = random(*shape)
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        for given in (x, {"x": x}):
            y = runner.run(given)["y"]
            np.testing.assert_array_equal(y, 2 * x.reshape(-1, *SHAPE[1:]))


def test_the_runner_tells_what_it_takes_and_gives(tmp_path: Path) -> None:
    with Runner(make_bundle(tmp_path)) as runner:
        assert [str(spec) for spec in runner.inputs] == ["x float32[1, 3, 4, 6]"]
        assert runner.outputs == MANIFEST.outputs
        assert runner.bundle.prefix == tmp_path / "net" / "mod"
        assert runner.manifest.build == "name: net\n"


def test_several_inputs_are_batched_together(tmp_path: Path) -> None:
    folder = make_from_text(tmp_path, TWO_INPUTS, TWO_INPUTS_MANIFEST)
    a, b = random(3, 2), np.arange(6).reshape(3, 2)
    with Runner(folder, threads=1) as runner:
        outputs = runner.run({"a": a, "b": b})
    np.testing.assert_allclose(outputs["sum"], a + b, rtol=1e-6)
    np.testing.assert_allclose(outputs["total"], (a + b).sum(axis=1, keepdims=True), rtol=1e-6)


UNBATCHED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 4] x) => (float[1, 4] y, OUTPUT z)
<float[4] c = {1.0, 2.0, 3.0, 4.0}>
{ y = Identity(x)
  BODY }"""


@pytest.mark.parametrize(
    ("output", "body", "declared", "actual"),
    [
        ("float[4]", "z = Identity(c)", (4,), (4,)),
        ("int64[2, n]", "z = NonZero(x)", (2, -1), (2, 4)),
        ("int64[n, 2]", "found = NonZero(x) z = Transpose(found)", (-1, 2), (4, 2)),
        ("float", "z = ReduceSum<keepdims = 0>(x)", (), ()),
        ("float[n]", "z = Identity(c)", (1,), (4,)),  # the manifest is wrong
    ],
)
def test_outputs_without_a_batch_dimension_are_not_joined(
    tmp_path: Path, output: str, body: str, declared: tuple[int, ...], actual: tuple[int, ...]
) -> None:
    manifest = replace(
        MANIFEST,
        inputs=(TensorSpec("x", (1, 4), "float32"),),
        outputs=(TensorSpec("y", (1, 4), "float32"), TensorSpec("z", declared, "float32")),
    )
    text = UNBATCHED.replace("OUTPUT", output).replace("BODY", body)
    x = np.ones((2, 4), np.float32)
    with Runner(make_from_text(tmp_path, text, manifest), threads=1) as runner:
        assert runner.run(x[:1])["z"].shape == actual
        with pytest.raises(BundleError, match=r"output z of shape .* cannot be joined") as caught:
            runner.run(x)
    assert caught.value.fix == "run the samples one by one"


def test_images_are_not_joined_where_an_output_has_no_batch_dimension(tmp_path: Path) -> None:
    outputs = (TensorSpec("y", (-1, *SHAPE[1:]), "float32"),)
    folder = make_bundle(tmp_path, manifest=replace(MANIFEST, outputs=outputs))
    pixels = np.zeros((4, 6, 3), np.uint8)
    with Runner(folder, threads=1) as runner:
        assert runner.run([pixels])["y"].shape == SHAPE
        with pytest.raises(BundleError, match=r"output y of shape \[-1, 3, 4, 6\]"):
            runner.run([pixels, pixels])


def test_an_input_without_batch_dimension_is_run_as_it_is(tmp_path: Path) -> None:
    text = TWO_INPUTS.replace("[1, 2]", "[3, 2]")
    specs = tuple(replace(spec, shape=(3, 2)) for spec in TWO_INPUTS_MANIFEST.inputs)
    folder = make_from_text(tmp_path, text, replace(TWO_INPUTS_MANIFEST, inputs=specs))
    with Runner(folder, threads=1) as runner:
        outputs = runner.run({"a": random(3, 2), "b": np.ones((3, 2), np.int64)})
        assert outputs["sum"].shape == (3, 2)
        with pytest.raises(BundleError, match=r"a float32\[2\] given"):
            runner.run({"a": random(2), "b": np.ones((3, 2), np.int64)})


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"y": random(*SHAPE)}, r"tensors \['y'\] given"),
        ({}, r"tensors \[\] given"),
        (random(1, 3, 6, 4), r"x float32\[1, 3, 6, 4\] given"),
        (random(*SHAPE).astype(np.float64), r"x float64\[1, 3, 4, 6\] given"),
        (random(0, *SHAPE[1:]), "an empty batch given"),
        ({"x": [1.0]}, "x: list given, not an array"),
        ({1: random(*SHAPE), "x": random(*SHAPE)}, r"tensors \['1', 'x'\] given"),
        ([], "no image given"),
        (None, "NoneType given; accepted: an array, a mapping .* one image or a sequence"),
        (3, "int given; accepted: an array"),
        (np.float32(3), "float32 given; accepted: an array"),
        (Image.new("RGB", (6, 4)), "Image given; accepted: an array"),
        ([Image.new("RGB", (6, 4))], "an element of type Image given; accepted: an array"),
        ([[1.0]], "an element of type list given; accepted: an array"),
        (bytearray(b"x"), "an element of type int given; accepted: an array"),
        ([random(3, 4, 6)] * 2, "float32 array given; tensors are given as one array or by name"),
    ],
)
def test_wrong_input_is_refused_with_what_is_expected(
    tmp_path: Path,
    inputs: Any,
    problem: str,  # Any: also what the types forbid
) -> None:
    with (
        Runner(make_bundle(tmp_path), threads=1) as runner,
        pytest.raises(BundleError, match=problem) as caught,
    ):
        runner.run(inputs)
    assert caught.value.fix == "expected: x float32[1, 3, 4, 6]"


def test_batches_of_different_size_are_refused(tmp_path: Path) -> None:
    folder = make_from_text(tmp_path, TWO_INPUTS, TWO_INPUTS_MANIFEST)
    with Runner(folder, threads=1) as runner:
        with pytest.raises(BundleError, match=r"batch sizes differ: {'a': 3, 'b': 1}"):
            runner.run({"a": random(3, 2), "b": np.ones((1, 2), np.int64)})
        with pytest.raises(BundleError, match="one value given for a network with several inputs"):
            runner.run(random(1, 2))


def test_images_go_through_the_preprocessing_of_the_bundle(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    file = tmp_path / "a.png"
    Image.fromarray(pixels).save(file)
    expected = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255 * 2
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        for image in (file, str(file), file.read_bytes(), pixels):
            np.testing.assert_allclose(runner.run(image)["y"], expected, rtol=1e-6)
        for both in (runner.run([file, pixels]), runner.run(np.stack([pixels, pixels]))):
            np.testing.assert_allclose(both["y"], np.concatenate([expected] * 2), rtol=1e-6)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"not a picture")
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        for image in (torn, tmp_path / "absent.png"):
            with pytest.raises(CalibrationError) as caught:
                runner.run(image)
            assert str(image) in caught.value.where


def test_a_bundle_without_preprocessing_takes_no_image(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, manifest=replace(MANIFEST, preprocessing=None))
    with (
        Runner(folder, threads=1) as runner,
        pytest.raises(BundleError, match="the bundle has no preprocessing"),
    ):
        runner.run("a.png")


def test_preprocessing_that_misses_the_input_is_refused(tmp_path: Path) -> None:
    ops = tuple({**op, "size": [8, 8]} if "size" in op else op for op in RESIZE.ops)
    folder = make_bundle(tmp_path, manifest=replace(MANIFEST, preprocessing=Preprocessing(ops)))
    with (
        Runner(folder, threads=1) as runner,
        pytest.raises(BundleError, match=r"preprocessing gives shape \[1, 3, 8, 8\]"),
    ):
        runner.run(np.zeros((4, 6, 3), np.uint8))


def test_custom_code_of_a_bundle_runs_only_with_permission(tmp_path: Path) -> None:
    code = tmp_path / "prepare.py"
    code.write_text(
        "import numpy as np\ndef ones(path, **kw):\n    return np.ones((3, 4, 6), np.float32)\n"
    )
    op = {"type": "CustomFunc", "module_path": str(code), "func_name": "ones"}
    facts = Preprocessing((op,), (3, 4, 6))
    folder = make_bundle(tmp_path, manifest=replace(MANIFEST, preprocessing=facts))
    with (
        Runner(folder, threads=1) as runner,
        pytest.raises(BundleError, match="its preprocessing cannot be used: CustomFunc"),
    ):
        runner.run("a.png")
    with Runner(folder, threads=1, allow_custom_code=True) as runner:
        np.testing.assert_array_equal(runner.run("a.png")["y"], np.full(SHAPE, 2, np.float32))


def test_uint8_arrays_are_tensors_where_the_network_takes_uint8(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
g (uint8[1, 3, 2] x) => (float[1, 3, 2] y)
{ y = Cast<to = 1>(x) }"""
    spec = TensorSpec("x", (1, 3, 2), "uint8")
    manifest = replace(MANIFEST, inputs=(spec,), outputs=(TensorSpec("y", (1, 3, 2), "float32"),))
    x = np.arange(6, dtype=np.uint8).reshape(1, 3, 2)
    with Runner(make_from_text(tmp_path, text, manifest), threads=1) as runner:
        np.testing.assert_array_equal(runner.run(x)["y"], x.astype(np.float32))
    folder = make_from_text(tmp_path, text, replace(manifest, preprocessing=None))
    with (
        Runner(folder, threads=1) as runner,
        pytest.raises(BundleError, match="tensors are given as one array or by name"),
    ):
        runner.run([x, x])


def test_a_loaded_bundle_stays_what_it_was_when_it_is_rebuilt(tmp_path: Path) -> None:
    x = random(*SHAPE)
    with Runner(make_bundle(tmp_path, 2.0), threads=1) as runner:
        with Runner(make_bundle(tmp_path, 3.0), threads=1) as newer:
            np.testing.assert_array_equal(newer.run(x)["y"], 3 * x)
        np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)


def test_a_closed_runner_says_so(tmp_path: Path) -> None:
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        pass
    with pytest.raises(BundleError, match="the runner is closed"):
        runner.run(random(*SHAPE))


def test_a_network_that_fails_says_so(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 4] x) => (float[1, 4] y)
{ y = Neg(x) }"""
    manifest = replace(
        MANIFEST,
        inputs=(TensorSpec("x", (1, 3), "float32"),),  # the manifest is wrong
        outputs=(TensorSpec("y", (1, 3), "float32"),),
    )
    with (
        Runner(make_from_text(tmp_path, text, manifest), threads=1) as runner,
        pytest.raises(BundleError, match="the network failed: "),
    ):
        runner.run(random(1, 3))


X = np.ones(SHAPE, np.float32)


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({"x": X.astype(">f4")}, "x >f4[1, 3, 4, 6] given"),
        ({"x": X.astype(np.float64)}, "x float64[1, 3, 4, 6] given"),
        ({"x": X[0]}, "x float32[3, 4, 6] given"),
        ({"x": X.tolist()}, "x: list given"),
        ({"x": X, "y": X}, "tensors ['x', 'y'] given"),
        ({}, "tensors [] given"),
        (X, "ndarray given"),
        (None, "NoneType given"),
    ],
)
def test_no_engine_computes_with_what_are_no_feeds(
    tmp_path: Path,
    feeds: Any,  # Any: wrong types
    text: str,
) -> None:
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        with pytest.raises(BundleError, match=re.escape(text)) as caught:
            runner.infer(feeds)
        assert caught.value.fix == "expected: x float32[1, 3, 4, 6]"
        np.testing.assert_array_equal(runner.infer({"x": X})["y"], 2 * X)


@pytest.mark.parametrize("items", ["a.png", Path("a.png"), b"a", {"x": X}])
def test_one_sample_is_no_stream(tmp_path: Path, items: Any) -> None:  # Any: wrong types
    with (
        Runner(make_bundle(tmp_path), threads=1) as runner,
        pytest.raises(BundleError, match="given to stream"),
    ):
        runner.stream(items)


@pytest.mark.parametrize("option", ["instances", "batch", "queue"])
@pytest.mark.parametrize("number", [0, -1, 1.0, "2"])
def test_nonsense_numbers_make_no_stream(tmp_path: Path, option: str, number: object) -> None:
    wanted: Any = {option: number}  # Any: wrong types
    with (
        Runner(make_bundle(tmp_path), threads=1) as runner,
        pytest.raises(BundleError, match=f"{option} {number!r} asked for"),
    ):
        runner.stream([X], **wanted)


def test_a_graph_that_cannot_be_loaded_is_a_bundle_error(
    tmp_path: Path, engine: EngineName
) -> None:
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        (bundle.folder / "mod.onnx").write_bytes(b"no graph")
        bundle.commit(MANIFEST)
    with pytest.raises(BundleError, match=f"{engine} cannot load it") as caught:
        Runner(tmp_path / "net")
    assert caught.value.where == str(tmp_path / "net" / "mod.onnx")


def test_an_edited_bundle_is_not_loaded_unless_the_check_is_off(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    table = folder / "mod.calib.txt"
    table.write_text(table.read_text().replace("1", "2"))
    with pytest.raises(BundleError, match="edited"):
        Runner(folder)
    with Runner(folder, check=False, threads=1) as runner:
        assert runner.run(random(*SHAPE))["y"].shape == SHAPE


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**30, True, 2.0, "2"])
def test_nonsense_threads_are_refused(tmp_path: Path, threads: Any) -> None:  # Any: wrong types
    with pytest.raises(BundleError, match=re.escape(f"threads {threads!r} asked for")) as caught:
        Runner(make_bundle(tmp_path), threads=threads)
    assert caught.value.fix == "give a whole number from 1 to 1024"


@pytest.mark.parametrize("instances", [None, 0, True, "2"])
def test_nonsense_instances_are_refused(tmp_path: Path, instances: Any) -> None:  # Any: as above
    with pytest.raises(BundleError, match=re.escape(f"instances {instances!r} asked for")):
        Runner(make_bundle(tmp_path), instances=instances)


@pytest.mark.parametrize("name", ["CPUExecutionProvider", "cpu"])
def test_a_plain_string_is_one_provider(tmp_path: Path, name: str) -> None:
    with Runner(make_bundle(tmp_path), threads=1, providers=name) as runner:
        assert runner.run(random(*SHAPE))["y"].shape == SHAPE
    with pytest.raises(MissingRequirementError, match="no execution provider 'Abacus'"):
        Runner(make_bundle(tmp_path), providers="Abacus")


@pytest.mark.parametrize("name", ["CPUExecutionProvider", "cpu", ("CPU", {})])
def test_providers_go_by_full_or_short_name(tmp_path: Path, name: str) -> None:
    with Runner(make_bundle(tmp_path), threads=1, providers=[name]) as runner:
        assert runner.run(random(*SHAPE))["y"].shape == SHAPE


def test_an_absent_provider_lists_those_present(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirementError, match="no execution provider 'Abacus'") as caught:
        Runner(make_bundle(tmp_path), providers=["Abacus"])
    assert ", ".join(onnxruntime.get_available_providers()) in caught.value.what


def test_a_provider_that_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.InferenceSession
    present = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, options, providers: real(model, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(
        MissingRequirementError, match="CUDAExecutionProvider is installed but does not"
    ):
        Runner(make_bundle(tmp_path), providers=["cuda"])


def test_tensors_need_no_image_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        x = random(*SHAPE)
        np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)
        with pytest.raises(MissingRequirementError, match="images need cv2") as caught:
            runner.run(np.zeros((8, 8, 3), np.uint8))
    assert "pip install opencv-python-headless" in caught.value.fix


def test_a_bundle_of_a_newer_format_names_both_versions(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    manifest = folder / "mod.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(f'"format": {FORMAT_VERSION}', '"format": 99'))
    with pytest.raises(BundleError, match="format 99 is newer than this modc reads"):
        Runner(folder)


BOUNDS = ((1, 1), (3, 3), (2, 4), (2, 6))
OPEN_SIZES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, h, w] x) => (float[1, 3, h, w] y)
{ y = Add(x, x) }"""


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (1, 3, 4, 6), (1, 3, 3, 5), (3, 2, 2)])
def test_open_sizes_take_what_lies_within_their_bounds(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    x = random(*shape)
    with Runner(make_from_text(tmp_path, OPEN_SIZES, open_manifest()), threads=1) as runner:
        np.testing.assert_array_equal(runner.run(x)["y"], 2 * x.reshape(-1, *shape[-3:]))


@pytest.mark.parametrize("shape", [(1, 3, 1, 2), (1, 3, 5, 6), (1, 3, 4, 7), (1, 2, 4, 6)])
def test_sizes_out_of_bounds_are_refused_with_the_bounds(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with (
        Runner(make_from_text(tmp_path, OPEN_SIZES, open_manifest()), threads=1) as runner,
        pytest.raises(BundleError, match=re.escape(f"x float32{list(shape)} given")) as caught,
    ):
        runner.run(random(*shape))
    assert caught.value.fix == "expected: x float32[1, 3, 2..4, 2..6]"


def open_manifest() -> Manifest:
    spec = TensorSpec("x", (1, 3, -1, -1), "float32", BOUNDS)
    return replace(
        MANIFEST, inputs=(spec,), outputs=(replace(spec, name="y", bounds=()),), preprocessing=None
    )


@pytest.mark.parametrize("providers", [("CPU", {"a": 1}), [3], [("CPU", None)], [("CPU", {}, 1)]])
def test_what_is_no_provider_is_a_usage_error(tmp_path: Path, providers: Any) -> None:  # Any: wrong
    with pytest.raises(BuildFileError, match="is no execution provider") as caught:
        Runner(make_bundle(tmp_path), providers=providers)
    assert "give a list of names" in caught.value.fix
