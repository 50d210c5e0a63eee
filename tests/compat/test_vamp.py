"""`vamp` on bundles: what it writes, what it refuses, and what its numbers mean."""

import json
import time
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compiler.bundle.write import new_bundle
from compiler.compat.vamp.command import Options, run_vamp
from compiler.compat.vamp.measure import Network, Stopwatch, Timed, run_in_order
from compiler.compat.vamp.output import output_folder
from compiler.compat.vamp.report import Settings, result_text
from compiler.compat.vamp.samples import pixels_of
from compiler.errors import BuildFileError, BundleError, CalibrationError, ModcError
from compiler.preprocess.formats import ImageFormat
from compiler.runner.engine import Tensor
from compiler.runner.load import Runner
from compiler.runner.manifest import Manifest, TensorSpec
from tests.support.bundles import MANIFEST, make_bundle
from tests.support.models import model_from_text

RESIZE_JSON = {
    "OpType": "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR",
    "OpConfig": {
        "OimageWidth": 6,
        "OimageHeight": 4,
        "ColorCvtCode": "NO_CHANGE",
        "IimageFormat": "RGB_PLANAR",
        "ResizeType": "BILINEAR_CV",
        "NormaType": "DIV255",
    },
}
TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
g (int64[1, 8] ids, int32[1, 8] mask, int64[1, 8] types) => (float[1, 8, 2] y)
<float ten = {10.0}, float hundred = {100.0}, int64[1] last = {2}>
{ a = Cast<to = 1>(ids)
  b = Cast<to = 1>(mask)
  c = Cast<to = 1>(types)
  b10 = Mul(b, ten)
  c100 = Mul(c, hundred)
  ab = Add(a, b10)
  abc = Add(ab, c100)
  first = Unsqueeze(abc, last)
  second = Unsqueeze(a, last)
  y = Concat<axis = 2>(first, second) }"""
GRAY = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 1, 4, 6] x) => (float[1, 1, 4, 6] y, float[1, 24] z)
{ y = Neg(x)
  z = Flatten(x) }"""


def write_bundle(workspace: Path, manifest: Manifest, text: str) -> Path:
    """A bundle of a network in ONNX text; returns its prefix."""
    with new_bundle(workspace, manifest.name, build_file="net.yaml", model="net.onnx") as bundle:
        onnx.save(model_from_text(text), bundle.folder / "mod.onnx")
        (bundle.folder / "mod.build.json").write_text("{}")
        bundle.commit(manifest)
    return workspace / manifest.name / "mod"


def write_inputs(folder: Path, arrays: list[dict[str, Tensor]]) -> Path:
    """One npz each, and their list."""
    lines = []
    for index, one in enumerate(arrays):
        path = folder / f"input_{index}.npz"
        np.savez(path, **one)  # type: ignore[arg-type]  # stub: mistakes keys for options
        lines.append(f"{path}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder / "list.txt"


def images(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Planes (3, H, W) of different sizes."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (3, 5 + 3 * i, 9 + i), np.uint8) for i in range(count)]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """The tiny bundle on five images, with a JSON."""
    (tmp_path / "vdsp.json").write_text(json.dumps(RESIZE_JSON))
    return Options(
        prefix=make_bundle(tmp_path / "deploy") / "mod",
        vdsp_params=tmp_path / "vdsp.json",
        datalist=write_inputs(tmp_path, [{"input_0": image} for image in images(5)]),
        output=tmp_path / "npz_output",
    )


def run(options: Options) -> str:
    """Everything that `vamp` prints."""
    lines: list[str] = []
    run_vamp(options, lines.append)
    return "\n".join(lines)


def names(folder: Path) -> list[str]:
    """Of the files in a folder, sorted."""
    return sorted(file.name for file in folder.iterdir())


def outputs(folder: Path) -> list[dict[str, Tensor]]:
    """Arrays of every file, in sorted order, as the published readers take them."""
    found = []
    for name in names(folder):
        with np.load(folder / name, allow_pickle=False) as file:
            found.append({key: file[key] for key in file.files})
    return found


def test_one_file_per_line_in_the_order_of_the_list(options: Options) -> None:
    text = run(options)
    assert "  samples: 5\n" in text
    assert options.output is not None
    assert names(options.output) == [f"output_{i:06}.npz" for i in range(5)]
    with Runner(options.prefix, vdsp_params=options.vdsp_params) as runner:
        for found, image in zip(outputs(options.output), images(5), strict=True):
            expected = runner.run(image.transpose(1, 2, 0))["y"].astype(np.float16)
            assert list(found) == ["output_0"]
            assert found["output_0"].dtype == np.float16
            assert found["output_0"].shape == (1, 3, 4, 6)
            np.testing.assert_array_equal(found["output_0"], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 22, "instances": (8,), "shapes": ((3, 224, 224),)},
        {"batch": 2, "processes": 2, "instances": (2,)},
        {"synchronous": True},
        {"instances": (1, 3)},
        {"seconds": 0.001, "iterations": 1},
    ],
    ids=["batch 22 on 8 instances", "processes", "synchronous", "two runs", "limits"],
)
def test_results_do_not_depend_on_how_they_are_run(
    changes: dict[str, object], options: Options, tmp_path: Path
) -> None:
    run(options)
    other = replace(options, output=tmp_path / "other", **changes)  # type: ignore[arg-type]  # of all types
    run(other)
    assert options.output is not None
    assert other.output is not None
    files = sorted(options.output.iterdir())
    assert [file.name for file in sorted(other.output.iterdir())] == [f.name for f in files]
    for file in files:
        assert (other.output / file.name).read_bytes() == file.read_bytes()


def test_names_of_arrays_and_empty_lines_do_not_matter(options: Options, tmp_path: Path) -> None:
    first, second = images(2)
    np.savez(tmp_path / "a.npz", zebra=first, aardvark=np.zeros(3))
    np.savez(tmp_path / "b.npz", zebra=second[None])
    lines = ["", str(tmp_path / "a.npz"), "  ", f"{tmp_path / 'b.npz'}\r"]
    (tmp_path / "own.txt").write_text("\n".join(lines))
    run(replace(options, datalist=tmp_path / "own.txt", output=tmp_path / "own"))
    run(options)
    assert options.output is not None
    for own, expected in zip(outputs(tmp_path / "own"), outputs(options.output), strict=False):
        np.testing.assert_array_equal(own["output_0"], expected["output_0"])


def test_relative_paths_start_at_the_current_folder(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    Path("list.txt").write_text("../input_0.npz\n../input_4.npz\n")
    relative = replace(
        options,
        prefix=Path("../deploy/net/mod"),
        vdsp_params=Path("../vdsp.json"),
        datalist=Path("list.txt"),
        output=Path("npz_output"),
    )
    run(relative)
    assert names(Path("npz_output")) == ["output_000000.npz", "output_000001.npz"]


def test_gray_images_and_several_outputs(tmp_path: Path) -> None:
    manifest = replace(
        MANIFEST,
        inputs=(TensorSpec("x", (1, 1, 4, 6), "float32"),),
        outputs=(
            TensorSpec("y", (1, 1, 4, 6), "float32"),
            TensorSpec("z", (1, 24), "float32"),
        ),
        preprocessing=None,
    )
    (tmp_path / "vdsp.json").write_text(json.dumps(RESIZE_JSON))
    image = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
    options = Options(
        prefix=write_bundle(tmp_path, manifest, GRAY),
        vdsp_params=tmp_path / "vdsp.json",
        datalist=write_inputs(tmp_path, [{"input_0": image[None]}, {"input_0": image}]),
        output=tmp_path / "npz_output",
    )
    assert "output[1]: [1,24], dtype:f2" in run(options)
    for found in outputs(tmp_path / "npz_output"):
        expected = (image / np.float32(255)).astype(np.float16)
        assert [found[key].shape for key in found] == [(1, 1, 4, 6), (1, 24)]
        np.testing.assert_allclose(found["output_0"][0, 0], -expected, atol=1e-6)
        np.testing.assert_allclose(found["output_1"][0], expected.ravel(), atol=1e-6)
    assert "input[0]: [1,4,6], dtype:u1" in run(replace(options, datalist=None, iterations=2))


def token_options(folder: Path) -> Options:
    """A network of three token inputs, with the JSON of the published ones."""
    manifest = replace(
        MANIFEST,
        inputs=(
            TensorSpec("ids", (1, 8), "int64"),
            TensorSpec("mask", (1, 8), "int32"),
            TensorSpec("types", (1, 8), "int64"),
        ),
        outputs=(TensorSpec("y", (1, 8, 2), "float32"),),
        preprocessing=None,
    )
    (folder / "bert.json").write_text('{"OpType": "BERT_EMBEDDING_OP"}')
    return Options(prefix=write_bundle(folder, manifest, TOKENS), vdsp_params=folder / "bert.json")


def test_tokens_go_to_the_inputs_in_the_order_of_the_npz(tmp_path: Path) -> None:
    ids, mask, types = (np.full((1, 8), value, np.int32) for value in (3, 2, 1))
    six = {"z": ids, "y": mask, "x": types, "w": mask, "v": mask, "u": mask}
    three = {"input_0": ids[0], "input_1": mask[0], "input_2": types[0]}
    options = replace(
        token_options(tmp_path),
        datalist=write_inputs(tmp_path, [six, three]),
        output=tmp_path / "npz_output",
        batch=22,
        shapes=((3, 224, 224),),  # means nothing here
    )
    assert "input[0]: [1,8], dtype:i8" in run(options)
    for found in outputs(tmp_path / "npz_output"):
        np.testing.assert_array_equal(found["output_0"], np.tile([123, 3], (8, 1)))
        assert found["output_0"].dtype == np.float16


def test_tokens_are_generated_in_the_shapes_given(tmp_path: Path) -> None:
    options = replace(token_options(tmp_path), iterations=3, shapes=((1, 8),) * 6)
    text = run(options)
    assert "[input_count]: 3" in text
    assert "input[0]: [1,8], dtype:i8\ninput[1]: [1,8], dtype:i4" in text
    assert "output[0]: [8,2], dtype:f2" in text
    with pytest.raises(BuildFileError, match=r"1 shape\(s\) for 3 inputs"):
        run(replace(options, shapes=((1, 8),)))
    with pytest.raises(BundleError, match=r"ids int64\[1, 9\] given"):
        run(replace(options, shapes=((1, 9),) * 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((1, 8), np.int32)}, r"1 array\(s\); the network takes 3"),
        ({key: np.zeros((1, 8), np.float32) for key in "abc"}, "float32 values for the input ids"),
        ({key: np.zeros((1, 7), np.int32) for key in "abc"}, r"ids int64\[1, 7\] given"),
    ],
)
def test_tokens_that_do_not_fit_are_named_with_their_line(
    arrays: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    good = {key: np.ones((1, 8), np.int32) for key in "abc"}
    listed = write_inputs(tmp_path, [good, arrays])
    options = replace(token_options(tmp_path), datalist=listed, output=tmp_path / "npz_output")
    with pytest.raises(ModcError, match=message) as caught:
        run(options)
    assert f"{listed} line 2: {tmp_path / 'input_1.npz'}" in str(caught.value)
    assert names(tmp_path / "npz_output") == []


def test_a_performance_run_writes_nothing(options: Options, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    text = run(replace(options, datalist=None, iterations=9, shapes=((3, 50, 40),)))
    assert sorted(tmp_path.rglob("*")) == before
    assert "  samples: 9\n" in text
    assert "input[0]: [3,50,40], dtype:u1" in text


def test_a_run_may_last_a_time_instead_of_a_number_of_samples(options: Options) -> None:
    began = time.perf_counter()
    text = run(replace(options, datalist=None, seconds=0.2))
    assert 0.2 <= time.perf_counter() - began < 5
    assert "  samples: 1024\n" not in text


def test_the_shortest_time_runs_one_sample(options: Options) -> None:
    assert "  samples: 1\n" in run(replace(options, datalist=None, seconds=1e-9))


def test_an_image_that_memory_cannot_hold_is_refused(options: Options) -> None:
    with pytest.raises(BuildFileError, match="Unable to allocate"):
        run(replace(options, datalist=None, shapes=((3, 10**8, 10**8),)))


def test_without_a_json_the_bundle_prepares_images_itself(options: Options) -> None:
    run(options)
    assert options.output is not None
    expected = outputs(options.output)
    run(replace(options, vdsp_params=None))
    for found, with_json in zip(outputs(options.output), expected, strict=True):
        np.testing.assert_allclose(found["output_0"], with_json["output_0"], atol=2e-3)  # float16


def test_an_image_that_is_no_image_is_refused(options: Options) -> None:
    with pytest.raises(BuildFileError, match=r"shape \[7, 4, 6\] .*expected \[3, height, width\]"):
        run(replace(options, datalist=None, shapes=((7, 4, 6),)))


@pytest.mark.parametrize("layout", ["planes", "pixels", "batch"])
@pytest.mark.parametrize(
    ("image_format", "first_is_red"), [("RGB_PLANAR", True), ("BGR_INTERLEAVE", False)]
)
def test_an_array_is_what_the_format_says_in_the_layout_that_it_has(
    layout: str, image_format: ImageFormat, first_is_red: bool
) -> None:
    pixels = images(1)[0].transpose(1, 2, 0)
    planes = pixels.transpose(2, 0, 1)
    array = {"planes": planes, "pixels": pixels, "batch": planes[None]}[layout]
    expected = pixels if first_is_red else pixels[:, :, ::-1]
    np.testing.assert_array_equal(pixels_of(array, image_format), expected)


def test_gray_and_nv12_images() -> None:
    gray = images(1)[0][0]
    for array in (gray, gray[None], gray[None, None]):
        np.testing.assert_array_equal(pixels_of(array, "BGR_PLANAR"), gray)
    black = np.concatenate([np.full((4, 6), 16, np.uint8), np.full((2, 6), 128, np.uint8)])
    np.testing.assert_array_equal(pixels_of(black, "YUV_NV12"), np.zeros((4, 6, 3)))


def damage(kind: str, path: Path) -> None:
    """Spoil an npz."""
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut off":
        path.write_bytes(data[:-40])
    elif kind == "no npz":
        path.write_bytes(b"not an archive")
    elif kind == "no array":
        np.savez(path)
    elif kind == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros((3, 4, 6), np.uint8))
    elif kind == "no arrays":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "no array")
    elif kind == "encrypted":
        first, entry = data.find(b"PK\x03\x04"), data.find(b"PK\x01\x02")
        path.write_bytes(
            b"".join(
                [
                    data[: first + 6],
                    b"\1",
                    data[first + 7 : entry + 8],
                    b"\1",
                    data[entry + 9 :],
                ]
            )
        )
    elif kind == "huge":
        with zipfile.ZipFile(path, "w") as archive, archive.open("input_0.npy", "w") as file:
            shape = {"descr": "|u1", "fortran_order": False, "shape": (3, 10**9, 10**9)}
            np.lib.format.write_array_header_1_0(file, shape)
    elif kind == "objects":
        np.savez(path, input_0=np.array([{}], object))
    elif kind == "float":
        np.savez(path, input_0=np.zeros((3, 4, 6), np.float32))
    else:
        np.savez(path, input_0=np.zeros((3, 4, 6, 2), np.uint8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("empty", "not a readable npz"),
        ("cut off", "not a readable npz"),
        ("no npz", "not a readable npz"),
        ("no array", "no array in it"),
        ("flipped", "not a readable npz"),
        ("npy", "not a readable npz"),
        ("objects", "not a readable npz"),
        ("no arrays", "files that are no arrays"),
        ("encrypted", "not a readable npz: .*encrypted"),
        ("huge", "not a readable npz: Unable to allocate"),
        ("float", "float32"),
        ("shape", r"\[3, 4, 6, 2\]"),
    ],
)
def test_an_unusable_input_is_named_and_nothing_is_left_half_done(
    kind: str, message: str, options: Options, tmp_path: Path
) -> None:
    damage(kind, tmp_path / "input_3.npz")
    with pytest.raises(CalibrationError, match=message) as caught:
        run(options)
    assert f"{options.datalist} line 4: {tmp_path / 'input_3.npz'}" in str(caught.value)
    assert options.output is not None
    assert not options.output.exists() or names(options.output) == []


def test_a_list_that_is_missing_or_empty(options: Options, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="datalist cannot be read"):
        run(replace(options, datalist=tmp_path / "absent.txt"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(CalibrationError, match="no npz is listed"):
        run(replace(options, datalist=tmp_path / "empty.txt"))


def test_results_of_a_longer_earlier_run_are_deleted(options: Options, tmp_path: Path) -> None:
    run(options)
    short = tmp_path / "short.txt"
    short.write_text(f"{tmp_path / 'input_2.npz'}\n")
    run(replace(options, datalist=short))
    assert options.output is not None
    assert names(options.output) == ["output_000000.npz"]


def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(options: Options) -> None:
    run(options)
    assert options.output is not None
    (options.output / "report.txt").write_text("mine")
    with pytest.raises(BuildFileError, match=r"it holds report\.txt; readers would take"):
        run(options)
    assert len(names(options.output)) == 6


def test_inputs_are_never_taken_for_results(options: Options, tmp_path: Path) -> None:
    np.savez(tmp_path / "output_000000.npz", images(1)[0])
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'output_000000.npz'}\n")
    with pytest.raises(BuildFileError, match="it holds inputs of the datalist"):
        run(replace(options, output=tmp_path))
    assert (tmp_path / "output_000000.npz").exists()


def test_the_report_is_never_taken_for_a_result(options: Options) -> None:
    assert options.output is not None
    inside = replace(options, report=options.output / ".." / options.output.name / "report.yaml")
    with pytest.raises(BuildFileError, match="would take the report for a result"):
        run(inside)
    assert not options.output.exists()


def test_results_of_an_earlier_run_do_not_outlive_a_failing_one(
    options: Options, tmp_path: Path
) -> None:
    run(options)
    damage("float", tmp_path / "input_0.npz")  # the one that the warm-up runs on
    with pytest.raises(CalibrationError, match="float32"):
        run(options)
    assert options.output is not None
    assert names(options.output) == []


def test_another_run_in_the_same_folder_is_noticed(tmp_path: Path) -> None:
    array = np.zeros((1, 2), np.float16)
    with ExitStack() as stack:
        write = stack.enter_context(output_folder(tmp_path / "out"))
        write(0, [array])
        with output_folder(tmp_path / "out"):  # deletes it
            pass
        write(1, [array])
        with pytest.raises(BundleError, match="another program used it at the same time"):
            stack.close()
    assert names(tmp_path / "out") == []


def test_only_line_feeds_end_a_line(options: Options, tmp_path: Path) -> None:
    odd = tmp_path / "a\x85b\u2028c.npz"
    (tmp_path / "input_0.npz").rename(odd)
    (tmp_path / "list.txt").write_text(f"{odd}\r\n{tmp_path / 'input_1.npz'}", encoding="utf-8")
    run(options)
    assert options.output is not None
    assert len(names(options.output)) == 2


def test_an_output_that_is_no_folder(options: Options) -> None:
    assert options.output is not None
    options.output.write_text("a file")
    with pytest.raises(BundleError, match="results cannot be written"):
        run(options)


def test_times_count_requests_from_their_first_sample_to_their_last_result() -> None:
    stopwatch = Stopwatch(batch=2)
    for submitted, finished, model in [(0, 3, 1), (1, 2, 0.5), (2, 6, 2), (3, 5, 1), (4, 8, 3)]:
        stopwatch.add(Timed({}, submitted, finished, model))
    times = stopwatch.times()
    assert times.samples == 5
    assert times.seconds == 8
    assert times.throughput == 5 / 8
    assert times.requests == (3, 4, 4)
    assert times.model == (1, 0.5, 2, 1, 3)
    with pytest.raises(ValueError, match="no sample"):
        Stopwatch(1).times()


def test_the_share_in_the_model_is_that_of_all_instances() -> None:
    stopwatch = Stopwatch(1)
    for _ in range(2):
        stopwatch.add(Timed({}, 0.0, 2.0, 1.5))
    settings = Settings(2, (0, 3), 1, 1, ())
    text = result_text(settings, stopwatch.times(), None)
    assert "  devices: [0, 3]\n" in text
    assert "  ai utilize (%): 75.0000\n" in text
    assert "  throughput (qps): 1.000\n" in text
    assert "    avg latency: 1500000" in text
    assert "die memory" not in text
    assert "p50" not in text


def test_queued_samples_wait_and_synchronous_ones_do_not() -> None:
    def infer(_: object) -> dict[str, Tensor]:
        time.sleep(0.01)
        return {}

    def measure(in_flight: int) -> tuple[float, float]:
        network = Network[int](lambda _: {}, infer, 1, 1, in_flight)
        stopwatch = Stopwatch(1)
        for timed in run_in_order(network, range(12)):
            stopwatch.add(timed)
        times = stopwatch.times()
        return float(np.median(times.requests)), float(np.median(times.model))

    queued, queued_model = measure(in_flight=6)
    alone, alone_model = measure(in_flight=1)
    assert queued > 3 * queued_model
    assert alone < 1.8 * alone_model


def test_a_failing_sample_ends_the_run() -> None:
    def infer(_: object) -> dict[str, Tensor]:
        raise BundleError("broken", where="net", fix="mend it")

    with pytest.raises(BundleError, match="broken"):
        list(run_in_order(Network[int](lambda _: {}, infer, 1, 2, 4), range(100)))
