"""Measures of accuracy, on networks that are plain functions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError, CalibrationError
from compiler.pipeline import accuracy, loaded_once
from compiler.pipeline.accuracy import Measure, find_measure
from compiler.pipeline.samples import Feeds, Input, Samples, find_build_samples, image_loader
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Postprocessing, TensorSpec
from tests.support.project import Project, make_project

INPUT = Input("input", (1, 3, 16, 16), np.dtype(np.float32))
OUTPUT = TensorSpec("output", (1, 1, 16, 16), "float32")
LOGITS = TensorSpec("output", (1, 3, 16, 16), "float32")
BINARY = Postprocessing("binary", 0.5)
ARGMAX = Postprocessing("argmax")


class Counted:
    """A network that yields a function of its input, and counts its runs."""

    def __init__(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self.function, self.runs = function, 0

    def __call__(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        self.runs += 1
        return {"output": self.function(feeds["input"])}


def first_channel(image: NDArray[Any]) -> NDArray[Any]:
    return image[:, :1]


def inverted(image: NDArray[Any]) -> NDArray[Any]:
    return 1 - image[:, :1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Images whose left half is white, and their masks."""
    project = make_project(tmp_path / "project", images=4)
    pictures, masks = project.folder / "pictures", project.folder / "masks"
    for folder in (pictures, masks):
        folder.mkdir()
    for index in range(4):
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:, : 4 + index] = 255
        Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(pictures / f"{index}.png")
        Image.fromarray(pixels).save(masks / f"{index}.png")
    return project


def configure(project: Project, *, verify: object = None, **section: object) -> BuildConfig:
    project.document["backend"]["quantize"]["accuracy"] = section
    if verify is not None:
        project.document["verify"] = verify
    return load_config(project.write())


def data_of(project: Project, *, masks: bool = True) -> dict[str, str]:
    data = {"images": str(project.folder / "pictures")}
    return {**data, "masks": str(project.folder / "masks")} if masks else data


def samples_of(config: BuildConfig) -> tuple[Samples | None, Chain | None]:
    return find_build_samples(config, [INPUT], held_out=0, needed=True, allow_custom_code=False)


def measure_of(
    config: BuildConfig, output: TensorSpec = OUTPUT, rule: Postprocessing | None = BINARY
) -> Measure:
    section = config.backend.quantize.accuracy
    assert section is not None
    samples, chain = samples_of(config)
    return find_measure(config, section, samples, chain, [INPUT], output, rule)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # The prediction lacks the mask's first 2 columns, of 4, 5, 6 and 7.
        ("fg_iou", 100 * np.mean([2 / 4, 3 / 5, 4 / 6, 5 / 7])),
        ("dice", 100 * np.mean([4 / 6, 6 / 8, 8 / 10, 10 / 12])),
    ],
)
def test_points_of_the_foreground_are_means_over_images(
    metric: str, expected: float, project: Project, tmp_path: Path
) -> None:
    def without_two_columns(image: NDArray[Any]) -> NDArray[Any]:
        seen = image[:, :1].copy()
        seen[..., :2] = 0
        return seen

    measure = measure_of(configure(project, metric=metric, data=data_of(project)))
    assert measure.reference(Counted(first_channel), tmp_path) == 100.0
    assert measure.points(Counted(without_two_columns)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["fg_iou", "miou"])
def test_masks_are_cropped_as_their_images_are(
    metric: str, project: Project, tmp_path: Path
) -> None:
    def two_classes(image: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([1 - image[:, :1], image[:, :1]], axis=1)

    for index in range(4):
        mask = np.random.default_rng(index).integers(0, 2, (24, 28), np.uint8)
        picture = np.stack([mask * np.uint8(255)] * 3, axis=-1)
        Image.fromarray(picture).save(project.folder / "pictures" / f"{index}.png")
        Image.fromarray(mask).save(project.folder / "masks" / f"{index}.png")
    ops = [one for one in project.document["dataset"]["process_ops"] if one["type"] != "Resize"]
    crop = {"type": "CenterCrop", "crop_size": 16}
    project.document["dataset"]["process_ops"] = [ops[0], crop, *ops[1:]]
    config = configure(project, metric=metric, data=data_of(project))
    measure = measure_of(config, TensorSpec("output", (1, 2, 16, 16), "float32"), ARGMAX)
    assert measure.reference(Counted(two_classes), tmp_path) == 100.0


def test_miou_takes_classes_from_the_network_and_ignore_from_verify(
    project: Project, tmp_path: Path
) -> None:
    for path in sorted((project.folder / "masks").iterdir()):
        mask = np.array(Image.open(path)) // 255
        mask[0] = 9
        Image.fromarray(mask.astype(np.uint8)).save(path)

    def two_of_three(image: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([1 - image[:, :1], image[:, :1], np.zeros_like(image[:, :1])], axis=1)

    config = configure(project, metric="miou", data=data_of(project), verify={"ignore": 9})
    measure = measure_of(config, LOGITS, ARGMAX)
    assert measure.reference(Counted(two_of_three), tmp_path) == 100.0
    verify = {"ignore": 9, "classes": 2}
    config = configure(project, metric="miou", data=data_of(project), verify=verify)
    with pytest.raises(BuildFileError, match="the network has 3 classes, the build file says 2"):
        measure_of(config, LOGITS, ARGMAX)


def test_miou_of_a_binary_network_needs_the_number_of_classes(project: Project) -> None:
    config = configure(project, metric="miou", data=data_of(project))
    with pytest.raises(BuildFileError, match="miou needs the number of classes"):
        measure_of(config)


def test_a_mask_that_holds_no_class_is_named(project: Project, tmp_path: Path) -> None:
    config = configure(project, metric="miou", data=data_of(project))
    with pytest.raises(CalibrationError, match=r"value 255 of the mask is not a class") as caught:
        measure_of(config, LOGITS, ARGMAX).reference(Counted(lambda x: x), tmp_path)
    assert caught.value.where.endswith("masks/0.png")


def test_images_and_masks_default_to_those_of_verify(project: Project, tmp_path: Path) -> None:
    verify = {**data_of(project), "metric": "foreground_iou"}
    measure = measure_of(configure(project, metric="dice", verify=verify))
    assert measure.reference(Counted(inverted), tmp_path) == 0.0


def test_at_most_so_many_images_are_taken_spread_over_all(project: Project, tmp_path: Path) -> None:
    network = Counted(first_channel)
    config = configure(project, metric="fg_iou", data=data_of(project), images=3)
    measure_of(config).reference(network, tmp_path)
    assert network.runs == 2  # every second of 4

    agreement = Counted(first_channel)
    config = configure(project, metric="cosine", images=2)
    measure_of(config).reference(agreement, tmp_path)
    assert agreement.runs == 2


def test_no_foreground_anywhere_is_an_error(project: Project, tmp_path: Path) -> None:
    for path in (project.folder / "masks").iterdir():
        Image.new("L", (16, 16)).save(path)
    measure = measure_of(configure(project, metric="dice", data=data_of(project)))
    with pytest.raises(CalibrationError, match=r"dice is undefined: .* no foreground"):
        measure.points(Counted(lambda image: 0 * image[:, :1]))


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize(
    ("metric", "noise", "expected"),
    [
        ("cosine", 0.0, 100.0),
        ("sqnr", 0.0, 100.0),
        # Outputs are 1 + noise on every second pixel and 1 - noise on the others.
        ("cosine", 0.1, 100 / np.sqrt(1.01)),
        ("sqnr", 0.1, 99.0),
        ("sqnr", 2.0, -300.0),
    ],
)
def test_agreement_with_the_float_network_is_on_a_scale_to_100(
    metric: str, noise: float, expected: float, data: bool, project: Project, tmp_path: Path
) -> None:
    section = {"data": data_of(project, masks=False)} if data else {}
    measure = measure_of(configure(project, metric=metric, **section), rule=None)
    signs = np.resize(np.array([1, -1], np.float32), (1, 1, 16, 16))
    assert measure.reference(Counted(lambda x: np.ones_like(signs)), tmp_path) == 100.0
    points = measure.points(Counted(lambda x: 1 + np.float32(noise) * signs))
    assert points == pytest.approx(expected, rel=1e-3)


def test_agreement_is_that_of_the_worst_output(project: Project, tmp_path: Path) -> None:
    def two(feeds: Feeds) -> dict[str, NDArray[Any]]:
        return {"good": feeds["input"], "bad": feeds["input"]}

    def spoiled(feeds: Feeds) -> dict[str, NDArray[Any]]:
        return {"good": feeds["input"], "bad": -feeds["input"]}

    measure = measure_of(configure(project, metric="cosine"))
    measure.reference(two, tmp_path)
    assert measure.points(two) == pytest.approx(100.0)
    assert measure.points(spoiled) == pytest.approx(-100.0)


def test_agreement_needs_the_float_network_first(project: Project) -> None:
    with pytest.raises(ValueError, match="call reference"):
        measure_of(configure(project, metric="sqnr")).points(Counted(first_channel))


@pytest.mark.parametrize("kept", [0, 3 * 16 * 16 * 4 + 1, 2**28])
@pytest.mark.parametrize("metric", ["fg_iou", "sqnr"])
def test_samples_are_loaded_once_as_far_as_memory_allows(
    metric: str, kept: int, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []

    def counting(chain: Chain, image: Input) -> Callable[[Path], Feeds]:
        def load(path: Path) -> Feeds:
            loads.append(path)
            return image_loader(chain, image)(path)

        return load

    monkeypatch.setattr(accuracy, "image_loader", counting)
    monkeypatch.setattr(loaded_once, "KEPT_BYTES", kept)
    measure = measure_of(configure(project, metric=metric, data=data_of(project)))
    measure.reference(Counted(first_channel), tmp_path)
    points = [measure.points(Counted(first_channel)) for _ in range(2)]
    assert points == [100.0, 100.0]
    assert len(loads) == {0: 12, 2**28: 4}.get(kept, 12 if metric == "fg_iou" else 10)


def test_files_that_cannot_be_read_are_left_out_where_the_build_file_says_so(
    project: Project, tmp_path: Path
) -> None:
    (project.folder / "calib" / "image_0.png").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match="image_0"):
        measure_of(configure(project, metric="sqnr")).reference(Counted(first_channel), tmp_path)
    project.document["dataset"]["on_error"] = "skip"
    network = Counted(first_channel)
    measure = measure_of(configure(project, metric="sqnr"))
    measure.reference(network, tmp_path)
    assert measure.points(network) == 100.0
    assert network.runs == 6
    for path in (project.folder / "calib").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match="none of the files can be used"):
        measure_of(configure(project, metric="sqnr")).reference(network, tmp_path)


def test_missing_images_name_the_key(project: Project) -> None:
    config = configure(project, metric="fg_iou")
    with pytest.raises(BuildFileError, match="fg_iou needs images with masks") as caught:
        measure_of(config)
    assert caught.value.where == "net_int8: backend.quantize.accuracy.data"
    config = configure(project, metric="fg_iou", data=data_of(project, masks=False))
    with pytest.raises(BuildFileError, match="fg_iou needs images with masks"):
        measure_of(config)
    config = configure(project, metric="sqnr", data={"images": "nowhere"})
    with pytest.raises(BuildFileError, match="'nowhere' not found") as caught:
        measure_of(config)
    assert caught.value.where == "net_int8: backend.quantize.accuracy.data.images"
    config = configure(project, metric="sqnr", data={"images": str(project.folder / "deploy")})
    (project.folder / "deploy").mkdir()
    with pytest.raises(CalibrationError, match="no "):
        measure_of(config)


def test_the_network_must_suit_the_metric(project: Project) -> None:
    config = configure(project, metric="fg_iou", data=data_of(project))
    with pytest.raises(BuildFileError, match="an output of shape 1×C×H×W"):
        measure_of(config, rule=None)
    section = config.backend.quantize.accuracy
    assert section is not None
    with pytest.raises(BuildFileError, match="fg_iou needs process_ops"):
        find_measure(config, section, None, None, [INPUT], OUTPUT, BINARY)
    against_float = section.model_copy(update={"metric": "sqnr"})
    with pytest.raises(BuildFileError, match="sqnr needs process_ops"):
        find_measure(config, against_float, None, None, [INPUT], OUTPUT, BINARY)
    without_data = against_float.model_copy(update={"data": None})
    with pytest.raises(BuildFileError, match="sqnr needs images"):
        find_measure(config, without_data, None, None, [INPUT], OUTPUT, BINARY)


@pytest.mark.parametrize("metric", ["fg_iou", "sqnr"])
def test_facts_change_with_the_files_and_the_metric(metric: str, project: Project) -> None:
    def facts(metric: str) -> str:
        measure = measure_of(configure(project, metric=metric, data=data_of(project)))
        return json.dumps(measure.facts())

    before = facts(metric)
    assert facts(metric) == before
    assert facts({"fg_iou": "dice", "sqnr": "cosine"}[metric]) != before
    Image.new("RGB", (16, 16)).save(project.folder / "pictures" / "2.png")
    assert facts(metric) != before


@pytest.mark.parametrize("metric", ["fg_iou", "sqnr"])
def test_a_users_own_code_leaves_no_facts(
    metric: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "reads", lambda chain, inputs: None)
    assert measure_of(configure(project, metric=metric, data=data_of(project))).facts() is None
