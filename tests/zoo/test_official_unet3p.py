"""The committed network of build_configs/official_unet3p.yaml and its pictures."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from compiler.zoo.portraits import portrait
from compiler.zoo.train import CALIB_SEEDS, EVAL_SEEDS, example, foreground_iou, read_rgb

CONFIGS = Path(__file__).resolve().parents[2] / "build_configs"
DATA = CONFIGS / "official_unet3p"


def _stems(folder: Path, suffix: str) -> list[str]:
    return sorted(file.stem for file in folder.iterdir() if file.suffix == suffix)


def _stems_of(seeds: Iterable[int]) -> list[str]:
    return [f"portrait_{seed:06d}" for seed in seeds]


def test_there_are_50_calibration_and_50_evaluation_pictures_with_masks() -> None:
    assert _stems(DATA / "calib", ".jpg") == _stems_of(CALIB_SEEDS)
    assert _stems(DATA / "eval" / "images", ".jpg") == _stems_of(EVAL_SEEDS)
    assert _stems(DATA / "eval" / "masks", ".png") == _stems_of(EVAL_SEEDS)
    assert len(CALIB_SEEDS) == len(EVAL_SEEDS) == 50


@pytest.mark.parametrize(
    ("folder", "seeds"), [(DATA / "calib", CALIB_SEEDS), (DATA / "eval" / "images", EVAL_SEEDS)]
)
def test_committed_pictures_are_those_of_their_seeds(folder: Path, seeds: range) -> None:
    for seed in seeds[::5]:
        made, _ = example(seed)
        stored = read_rgb(folder / f"portrait_{seed:06d}.jpg")
        # Another JPEG library, or another sine, may differ by a few levels in a few pixels.
        assert stored.shape == (128, 128, 3)
        assert np.abs(stored.astype(np.int16) - made).mean() < 1


def test_committed_masks_are_exactly_those_of_their_seeds() -> None:
    for seed in EVAL_SEEDS[::5]:
        with Image.open(DATA / "eval" / "masks" / f"portrait_{seed:06d}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), portrait(seed)[1])


def test_the_network_is_the_graph_of_unet3p_and_keeps_its_batch_norm() -> None:
    model = onnx.load(DATA / "official_unet3p.onnx")

    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 35,
        "BatchNormalization": 34,
        "Relu": 34,
        "MaxPool": 10,
        "Resize": 10,
        "Constant": 10,  # the scales of the Resizes
        "Concat": 4,
    }
    ports = [*model.graph.input, *model.graph.output]
    shapes = {p.name: [d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}
    assert shapes == {"input": [1, 3, 128, 128], "output": [1, 1, 128, 128]}


def test_every_resize_is_bilinear_with_half_pixel_centres() -> None:
    model = onnx.load(DATA / "official_unet3p.onnx")

    for node in (node for node in model.graph.node if node.op_type == "Resize"):
        fields = {attribute.name: attribute.s for attribute in node.attribute}
        assert fields["mode"] == b"linear"
        assert fields["coordinate_transformation_mode"] == b"half_pixel"


def test_the_committed_files_stay_small() -> None:
    pictures = [file for file in DATA.rglob("*") if file.suffix in {".jpg", ".png"}]

    assert (DATA / "official_unet3p.onnx").stat().st_size <= 4_000_000
    assert sum(file.stat().st_size for file in pictures) < 3_000_000


def test_the_network_has_learned_its_task_and_the_task_is_not_trivial() -> None:
    score = foreground_iou(
        DATA / "official_unet3p.onnx", DATA / "eval" / "images", DATA / "eval" / "masks"
    )

    assert 0.85 < score < 0.97


def test_the_build_file_starts_with_its_command_and_names_files_that_exist() -> None:
    text = (CONFIGS / "official_unet3p.yaml").read_text(encoding="utf-8")
    build = yaml.safe_load(text)

    assert text.splitlines()[0] == "# compile build_configs/official_unet3p.yaml"
    assert build["frontend"]["shape"] == {"input": [1, 3, 128, 128]}
    assert (CONFIGS / build["frontend"]["checkpoint"]).is_file()
    assert (CONFIGS / build["dataset"]["path"]).is_dir()
    assert (CONFIGS / build["verify"]["images"]).is_dir()
    assert (CONFIGS / build["verify"]["masks"]).is_dir()
