"""Pictures on the page of a bundle, made through whole builds and looked at pixel by pixel."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from compiler import Build, compile_model, load_config
from compiler.page import render
from compiler.page.contents import Contents
from tests.support.project import Project, make_project

Pixels = NDArray[np.uint8]
SIDE = 16


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Contents]:
    """What builds gave to the page."""
    found: list[Contents] = []

    def keep(contents: Contents) -> str:
        found.append(contents)
        return "<!DOCTYPE html>"

    monkeypatch.setattr(render, "render_bundle", keep)
    return found


def _build(project: Project) -> Build:
    return compile_model(load_config(project.write()))


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _pixels(data: bytes) -> Pixels:
    return np.asarray(_open(data).convert("RGB"))


def _classes(count: int) -> onnx.ModelProto:
    """A network that returns its three channels, and zero for classes beyond."""
    weight = np.zeros((count, 3, 1, 1), np.float32)
    weight[range(3), range(3)] = 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["output"], name="copy")],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, count, SIDE, SIDE])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _with_images(folder: Path, draw: Callable[[int], Pixels], dtype: str = "fp32") -> Project:
    project = make_project(folder, dtype=dtype)
    for number in range(6):
        Image.fromarray(draw(number)).save(folder / "calib" / f"image_{number}.png")
    return project


def test_calibration_images_are_shown_small(tmp_path: Path, shown: list[Contents]) -> None:
    project = _with_images(tmp_path, lambda number: np.full((300, 150 + number, 3), 40, np.uint8))
    _build(project)
    (contents,) = shown
    assert len(contents.thumbnails) == 4
    names = [one["name"] for one in contents.report["calibration_files"]]  # type: ignore[attr-defined]  # JSON
    assert [one.name for one in contents.thumbnails] == names
    for one in contents.thumbnails:
        assert (one.width, one.height) == _open(one.jpeg).size
        assert one.height == 96
        np.testing.assert_allclose(_pixels(one.jpeg), 40, atol=2)


def test_many_calibration_images_are_shown_in_part(tmp_path: Path, shown: list[Contents]) -> None:
    project = make_project(tmp_path, images=60, dtype="fp32")
    project.document["dataset"]["sampler"]["get_data_num"] = 55
    _build(project)
    names = [one.name for one in shown[0].thumbnails]
    assert len(names) == len(set(names)) == 48


def test_a_jpeg_stands_as_its_camera_was_held(tmp_path: Path, shown: list[Contents]) -> None:
    project = make_project(tmp_path, dtype="fp32")
    project.document["dataset"]["sampler"] |= {"suffix": "jpg", "get_data_num": 1}
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (400, 200), (200, 10, 10)).save(tmp_path / "calib" / "a.jpg", exif=turned)
    _build(project)
    (one,) = shown[0].thumbnails
    assert (one.width, one.height) == (48, 96)


def test_the_image_is_shown_as_the_network_sees_it(tmp_path: Path, shown: list[Contents]) -> None:
    random = np.random.default_rng(0)
    images = {n: random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for n in range(6)}
    project = _with_images(tmp_path, images.__getitem__)
    project.document["dataset"]["process_ops"][1:3] = [
        {"type": "CvtColor", "code": "COLOR_RGB2BGR"},
        {"type": "Resize", "size": [SIDE, SIDE]},
        {"type": "Normalize", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
    ]
    _build(project)
    compared = shown[0].comparisons
    assert len(compared) == 2
    for one in compared:
        expected = np.asarray(Image.open(tmp_path / "calib" / one.name))
        np.testing.assert_array_equal(_pixels(one.image), expected)


def test_classes_have_their_colours_and_equal_networks_do_not_differ(
    tmp_path: Path, shown: list[Contents]
) -> None:
    def stripes(number: int) -> Pixels:
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for column in range(SIDE):
            image[:, column, column % 3] = 200
        return image

    project = _with_images(tmp_path, stripes)
    onnx.save(_classes(4), tmp_path / "net.onnx")
    _build(project)
    one = shown[0].comparisons[0]
    colours = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]  # of PASCAL VOC
    expected = np.array([[colours[column % 3] for column in range(SIDE)]] * SIDE)
    np.testing.assert_array_equal(_pixels(one.fp32), expected)
    np.testing.assert_array_equal(_pixels(one.compiled), expected)
    assert one.note == "0 of 256 pixels differ (0.00 %)"
    assert [colour for _, colour in _open(one.difference).convert("RGB").getcolors() or ()] != []
    assert (255, 64, 64) not in set(map(tuple, _pixels(one.difference).reshape(-1, 3).tolist()))


def test_pixels_that_differ_are_counted_and_marked(tmp_path: Path, shown: list[Contents]) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["calibrate_mode"] = "max"
    _build(project)
    for one in shown[0].comparisons:
        marked = (_pixels(one.difference) == (255, 64, 64)).all(axis=2).sum()
        assert one.note.startswith(f"{marked} of 256 pixels differ")
        certain = [np.asarray(_open(data)) for data in (one.fp32, one.compiled)]
        # A logit above 0 is foreground, and certainty above a half.
        assert (certain[0] != certain[1]).any()
        assert ((certain[0] > 128) != (certain[1] > 128)).sum() <= marked + 2


def test_large_masks_are_shown_small_and_a_single_pixel_stays(
    tmp_path: Path, shown: list[Contents], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.pipeline.pictures._SIDE", 4)
    _build(make_project(tmp_path))
    for one in shown[0].comparisons:
        for data in (one.image, one.fp32, one.compiled, one.difference):
            assert _open(data).size == (4, 4)
        differ = int(one.note.split()[0])
        marked = (_pixels(one.difference) == (255, 64, 64)).all(axis=2).sum()
        assert min(differ, 1) <= marked <= differ


def test_a_network_without_a_map_has_thumbnails_alone(
    tmp_path: Path, shown: list[Contents]
) -> None:
    project = make_project(tmp_path, dtype="fp32")
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[-1].output[0] = "map"
    model.graph.node.append(helper.make_node("GlobalAveragePool", ["map"], ["output"]))
    del model.graph.output[0].type.tensor_type.shape.dim[2:]
    for _ in range(2):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
    onnx.save(model, tmp_path / "net.onnx")
    _build(project)
    assert len(shown[0].thumbnails) == 4
    assert shown[0].comparisons == ()


def test_arrays_are_shown_from_their_smallest_to_their_largest_value(
    tmp_path: Path, shown: list[Contents]
) -> None:
    project = make_project(tmp_path, dtype="fp32")
    ramp = np.linspace(-3, 5, 3 * SIDE * SIDE, dtype=np.float32).reshape(1, 3, SIDE, SIDE)
    for number in range(6):
        np.savez(tmp_path / "calib" / f"{number}.npz", input=ramp)
    project.document["dataset"]["sampler"]["suffix"] = "npz"
    project.document["dataset"]["process_ops"] = []
    _build(project)
    contents = shown[0]
    assert contents.thumbnails == ()
    image = _pixels(contents.comparisons[0].image)
    assert (image.min(), image.max()) == (0, 255)


def test_random_inputs_are_not_shown(tmp_path: Path, shown: list[Contents]) -> None:
    project = make_project(tmp_path, dtype="fp32")
    del project.document["dataset"]
    _build(project)
    assert (shown[0].thumbnails, shown[0].comparisons) == ((), ())
