"""The commands of the zoo, as far as they go without PyTorch."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from compiler.errors import MissingRequirementError
from compiler.zoo import full_size, train
from compiler.zoo.command import exit_code_of, require_torch
from compiler.zoo.portraits import as_jpeg, portrait

HAS_TORCH = importlib.util.find_spec("torch") is not None
BLUE_IS_BRIGHT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 4, 4] input) => (float[1, 1, 4, 4] output)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] axis = {1}, float half = {0.5}>
{ blue = Slice(input, zero, one, axis)
  output = Sub(blue, half) }
"""


def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_torch_the_error_names_the_command_and_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_torch(monkeypatch)

    with pytest.raises(MissingRequirementError) as caught:
        require_torch("compiler.zoo.train")

    assert caught.value.where == "compiler.zoo.train"
    assert caught.value.fix == "pip install 'modc[train]'"


@pytest.mark.parametrize("command", [train.main, full_size.main])
def test_without_torch_a_command_ends_with_exit_code_7_and_writes_nothing(
    command: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _without_torch(monkeypatch)

    with caplog.at_level(logging.INFO):
        code = command(["--out", str(tmp_path / "out")])

    assert code == 7
    assert "pip install 'modc[train]'" in caplog.text
    assert not (tmp_path / "out").exists()


def test_work_that_succeeds_ends_with_exit_code_0() -> None:
    done: list[str] = []

    assert exit_code_of(lambda: done.append("work")) == 0
    assert done == ["work"]


def test_the_sets_of_training_calibration_and_evaluation_share_no_picture() -> None:
    sets = [set(train.TRAIN_SEEDS), set(train.CALIB_SEEDS), set(train.EVAL_SEEDS)]

    assert sum(len(seeds) for seeds in sets) == len(set().union(*sets))


def test_a_training_example_is_what_the_stored_file_would_show(tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(as_jpeg(portrait(5)[0]))

    picture, mask = train.example(5)

    np.testing.assert_array_equal(picture, train.read_rgb(file))
    np.testing.assert_array_equal(mask, portrait(5)[1])


def test_foreground_iou_is_the_mean_over_images_and_feeds_blue_first(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(BLUE_IS_BRIGHT), tmp_path / "net.onnx")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 125  # the lowest value that counts as foreground
    truth[2:] = 124
    for name, colour in (("all_blue", (0, 0, 255)), ("all_red", (255, 0, 0))):
        Image.new("RGB", (4, 4), colour).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(truth).save(tmp_path / "masks" / f"{name}.png")

    score = train.foreground_iou(tmp_path / "net.onnx", tmp_path / "images", tmp_path / "masks")

    assert score == pytest.approx((0.5 + 0) / 2)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch (pip install 'modc[train]')")
def test_training_writes_network_and_pictures_and_reports_its_iou(tmp_path: Path) -> None:
    score = train.train(tmp_path, seeds=range(32), epochs=1)

    onnx.checker.check_model(onnx.load(tmp_path / "official_unet3p.onnx"), full_check=True)
    assert len(list((tmp_path / "calib").glob("*.jpg"))) == 50
    assert len(list((tmp_path / "eval" / "images").glob("*.jpg"))) == 50
    assert len(list((tmp_path / "eval" / "masks").glob("*.png"))) == 50
    assert 0 <= score <= 1
