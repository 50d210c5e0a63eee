"""`modc eval`: networks side by side on masks, labels, objects and results of vamp."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compiler import Runner
from compiler.cli.app import main
from compiler.compat.delivery import deliver
from tests.support.project import make_project
from tests.support.task_bundles import (
    BLUE,
    GREEN,
    RED,
    SIDE,
    colour_bundle,
    mean_colour_bundle,
    paint,
    write_mask,
)

Json = dict[str, Any]  # Any: a JSON object

GIVEN = ("-m", "b", "--images", "i", "--masks", "m")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images; `fp32` is right in all pixels of a and c, and in half of those of b.

    `int8` takes every blue pixel for a green one.
    """
    columns = np.broadcast_to(np.arange(SIDE), (SIDE, SIDE))
    halves = np.where(columns < SIDE // 2, RED, GREEN)
    quarters = np.where(columns < SIDE // 4, BLUE, halves)
    for name, shown, truth in (
        ("a", halves, halves),
        ("b", np.full((SIDE, SIDE), GREEN), halves),
        ("c", quarters, quarters),
    ):
        paint(shown, tmp_path / "images" / f"{name}.png")
        write_mask(truth, tmp_path / "masks" / f"{name}_mask.png")
    colour_bundle(tmp_path, "net_fp32")
    colour_bundle(tmp_path, "net_int8", gain=(1, 1, -1))
    return tmp_path


def test_networks_stand_side_by_side_with_figures_that_a_hand_can_check(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, 0, *_networks(data), *_masks(data))
    assert found["base"] == "net_fp32"  # not the first that was named
    fp32, int8 = found["networks"]
    assert [fp32["name"], int8["name"]] == ["net_fp32", "net_int8"]
    assert [fp32["dtype"], int8["dtype"]] == ["fp32", "int8"]
    # Pixels of 768: red 128 + 0 + 64 right of 320 (128 + 128 + 64), predicted 192.
    red, green, blue = 192 / 320, 384 / 512, 1.0
    classes = fp32["metrics"][0]["per_class"]["iou"]
    assert classes == pytest.approx([100 * red, 100 * green, 100 * blue])
    assert fp32["metrics"][0]["value"] == pytest.approx(100 * (red + green + blue) / 3)
    # 64 blue pixels have the largest of (0, 0, -200): red, the first.
    red, green, blue = 192 / 384, 384 / 512, 0.0
    expected = 100 * (red + green + blue) / 3
    assert int8["metrics"][0]["value"] == pytest.approx(expected)
    difference = int8["metrics"][0]["differences"]["mean_iou"]
    assert difference["value"] == pytest.approx(expected - fp32["metrics"][0]["value"])
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert fp32["metrics"][0]["differences"] is None
    assert int8["agreement"]["pixels"] == pytest.approx(100 * (1 - 64 / 768))
    matrix = np.array(int8["metrics"][0]["confusion"])
    assert matrix.sum() == 768
    assert matrix[BLUE].tolist() == [64, 0, 0]
    assert any("several classes" in note for note in found["notes"])


def test_the_figures_are_those_of_running_the_bundle_image_by_image(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, 0, *_networks(data), *_masks(data), "--metric", "pixel_accuracy")
    right = total = 0
    with Runner(data / "net_int8" / "mod") as runner:
        for image in sorted((data / "images").iterdir()):
            predicted = runner.run(image)["y"][0].argmax(0)
            truth = np.asarray(Image.open(data / "masks" / f"{image.stem}_mask.png"))
            right, total = right + int((predicted == truth).sum()), total + truth.size
    assert found["networks"][1]["metrics"][0]["value"] == pytest.approx(100 * right / total)


def test_the_order_is_kept_however_many_run_at_the_same_time(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = np.arange(SIDE)
    for number in range(20):  # image and mask agree on as many columns as its number says
        name = f"n{number:02}"
        paint(np.full((SIDE, SIDE), RED), data / "images" / f"{name}.png")
        truth = np.broadcast_to(np.where(columns < number % SIDE, RED, GREEN), (SIDE, SIDE))
        write_mask(truth, data / "masks" / f"{name}.png")
    arguments = ("eval", *_networks(data), *_masks(data), "--quiet", "--csv", data / "out.csv")
    seen = []
    for instances in ("1", "6"):
        assert _modc(*arguments, "--instances", instances, "--threads", "1") == 0
        seen.append((data / "out.csv").read_text())
    assert seen[0] == seen[1]
    rows = list(csv.DictReader(seen[0].splitlines()))
    accuracy = {row["image"]: float(row["mean_iou.pixel_accuracy"]) for row in rows}
    assert accuracy["n07"] == pytest.approx(100 * 7 / SIDE)
    assert accuracy["n19"] == pytest.approx(100 * 3 / SIDE)


def test_the_table_names_classes_and_tells_what_a_difference_means(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("--classes", "red,green,blue", "--confusion")
    assert _modc("eval", *_networks(data), *_masks(data), *names) == 0
    out = capsys.readouterr().out
    assert "difference" in out
    assert ": may be noise" in out or ": a drop" in out
    assert "2 blue" in out
    assert "confusion, net_int8" in out
    assert "3 of 3 images were evaluated" in out


def test_a_literal_metric_brings_the_corrected_one_beside_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, 0, *_networks(data), *_masks(data), "--metric", "m1", "--classes", "3")
    metrics = found["networks"][0]["metrics"]
    assert [one["name"] for one in metrics] == ["m1", "mean_iou"]
    assert any("m1 is as published; its fault" in note for note in found["notes"])


def test_an_image_that_fails_is_named_and_counts_for_no_network(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "images" / "b.png").write_bytes(b"no image")
    arguments = ("eval", *_networks(data), *_masks(data))
    assert _modc(*arguments) == 4
    out, err = capsys.readouterr()
    assert "b.png" in err
    assert "2 of 3 images were evaluated" in out
    assert _modc(*arguments, "--skip-errors", "--quiet") == 0
    capsys.readouterr()
    found = _json(capsys, 4, *_networks(data), *_masks(data))
    assert found["images"]["counted"] == ["a", "c"]
    assert {(one["network"], one["image"]) for one in found["failures"]} == {
        ("net_fp32", "b"),
        ("net_int8", "b"),
    }
    assert found["networks"][0]["metrics"][0]["value"] == pytest.approx(100)


def test_a_mask_with_values_that_are_no_class_fails_alone(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(np.full((SIDE, SIDE), 7), data / "masks" / "a_mask.png")
    assert _modc("eval", *_networks(data), *_masks(data)) == 4
    err = capsys.readouterr().err
    assert "value 7 of the mask is not a class of 0 … 2" in err
    assert _modc("eval", *_networks(data), *_masks(data), "--ignore", "7") == 0


def test_the_gate_is_the_drop_itself(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("eval", *_networks(data), *_masks(data))
    assert _modc(*arguments, "--max-drop", "50") == 0
    assert _modc(*arguments, "--max-drop", "1.0") == 5
    err = capsys.readouterr().err
    assert "it loses" in err
    assert "at most 1 may go" in err
    (data / "images" / "b.png").write_bytes(b"no image")
    assert _modc(*arguments, "--max-drop", "1.0") == 5  # which says more than the failure


def test_without_masks_networks_are_compared_with_each_other(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, 0, *_networks(data), "--images", data / "images")
    fp32, int8 = found["networks"]
    assert fp32["agreement"] is None
    assert int8["agreement"]["pixels"] == pytest.approx(100 * 704 / 768)
    assert int8["agreement"]["iou"] == pytest.approx(100 * (192 / 256 + 1 + 0) / 3)
    assert int8["metrics"] == []
    assert _modc("eval", *_networks(data), "--images", data / "images") == 0
    assert "which says nothing of who is right" in capsys.readouterr().out


def test_figures_of_every_image_go_into_a_file(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data / "new" / "images.csv"
    assert _modc("eval", *_networks(data), *_masks(data), "--csv", file, "--quiet") == 0
    assert capsys.readouterr().out == ""
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [(row["image"], row["network"]) for row in rows] == [
        (image, network) for network in ("net_fp32", "net_int8") for image in "abc"
    ]
    accuracy = [float(row["mean_iou.pixel_accuracy"]) for row in rows]
    assert accuracy == [100, 50, 100, 100, 50, 75]
    assert [row["agreement"] for row in rows] == ["", "", "", "100.0", "100.0", "75.0"]


def test_class_maps_are_saved_as_they_are_scored(data: Path) -> None:
    arguments = ("--save", data / "seen", "--quiet")
    assert _modc("eval", *_networks(data), *_masks(data), *arguments) == 0
    saved = Image.open(data / "seen" / "net_fp32" / "c.png")
    assert saved.mode == "P"
    truth = np.asarray(Image.open(data / "masks" / "c_mask.png"))
    np.testing.assert_array_equal(np.asarray(saved), truth)
    assert len(list((data / "seen" / "net_int8").iterdir())) == 3


def test_what_has_no_partner_is_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "masks" / "b_mask.png").rename(data / "masks" / "other.png")
    assert _modc("eval", *_networks(data), *_masks(data)) == 0
    out = capsys.readouterr().out
    assert "2 of 2 images were evaluated" in out
    assert "images without mask: 1" in out
    assert "masks without image: 1" in out
    assert _modc("eval", *_networks(data), *_masks(data), "--pair", "{stem}_matte.png") == 4
    assert "--pair" in capsys.readouterr().err


def test_a_list_and_a_limit_choose_images(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "list.txt").write_text("c.png\na.png\n")
    listed = ("--image-list", data / "list.txt")
    found = _json(capsys, 0, *_networks(data), *_masks(data), *listed)
    assert found["images"]["counted"] == ["c", "a"]
    found = _json(capsys, 0, *_networks(data), *_masks(data), "--limit", "2")
    assert found["images"]["counted"] == ["a", "b"]
    (data / "list.txt").write_text("\n")
    assert _modc("eval", *_networks(data), *_masks(data), *listed) == 4


def test_results_of_vamp_give_what_the_bundle_gives(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((data / "images").iterdir())
    (data / "npz").mkdir()
    with Runner(data / "net_int8" / "mod") as runner:
        for number, image in enumerate(images):
            arrays = deliver(runner.run(image), runner.outputs)
            np.savez(data / "npz" / f"output_{number:06}.npz", output_0=arrays[0])
    (data / "list.txt").write_text("".join(f"{image.with_suffix('.npz')}\n" for image in images))
    given = ("--npz", data / "npz", "--datalist", data / "list.txt", "--masks", data / "masks")
    expected = _json(capsys, 0, *_networks(data), *_masks(data))["networks"][1]["metrics"]
    for bundle in ((), ("-m", data / "net_int8" / "mod")):
        classes = () if bundle else ("--classes", "3", "--metric", "mean_iou")
        found = _json(capsys, 0, *given, *bundle, *classes)
        metrics = found["networks"][0]["metrics"]
        assert metrics[0]["figures"] == expected[0]["figures"]
        assert metrics[0]["confusion"] == expected[0]["confusion"]
    (data / "npz" / "output_000002.npz").unlink()
    assert _modc("eval", *given) == 4
    assert "2 npz files, 3 lines" in capsys.readouterr().err
    assert _modc("eval", "--npz", data / "none", *given[2:]) == 4
    assert "no such folder" in capsys.readouterr().err


def test_the_float_network_of_a_bundle_is_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the bundle's network normalizes: the figures do not depend on who does it."""
    values = []
    for folded in (False, True):
        project = make_project(tmp_path / str(folded), images=4)
        project.document["dataset"]["process_ops"][2] = {
            "type": "Normalize",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
        }
        if folded:
            project.document["graph"] = {"fold_normalization": True}
        folder = project.folder
        for image in (folder / "calib").iterdir():
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[:, : SIDE // 2] = 255
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / image.name)
        assert _modc("compile", project.write(), "--quiet") == 0
        prefix = folder / "deploy" / "net_int8" / "mod"
        found = _json(
            capsys,
            0,
            *("-m", prefix, "--onnx", folder / "net.onnx"),
            *("--images", folder / "calib", "--masks", folder / "masks"),
        )
        fp32, int8 = found["networks"]
        assert (fp32["name"], fp32["dtype"], int8["dtype"]) == ("net.onnx", "fp32", "int8")
        assert int8["agreement"]["pixels"] > 80
        values.append(fp32["metrics"][0]["value"])
    assert values[0] == pytest.approx(values[1], abs=0.5)
    assert 0 < values[0] < 100


def test_a_classifier_is_measured_by_its_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefixes = [
        mean_colour_bundle(tmp_path, "c_fp32"),
        mean_colour_bundle(tmp_path, "c_int8", gain=(1, 1, -1)),
    ]
    for name, colour in (("one", RED), ("two", GREEN), ("three", BLUE), ("four", BLUE)):
        paint(np.full((SIDE, SIDE), colour), tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels.txt").write_text("# truth\none.png 0\ntwo,1\nthree\t2\nfour.png 1\n")
    networks = [text for prefix in prefixes for text in ("-m", prefix)]
    given = ("--images", tmp_path / "images", "--labels", tmp_path / "labels.txt")
    fp32, int8 = _json(capsys, 0, *networks, *given)["networks"]
    assert fp32["metrics"][0]["figures"]["top1"]["value"] == 75
    assert fp32["metrics"][0]["figures"]["top5"]["value"] == 100
    assert int8["metrics"][0]["figures"]["top1"]["value"] == 50
    assert int8["agreement"] == {"pixels": 50, "iou": None}

    for number, folder in enumerate("abc"):
        paint(np.full((SIDE, SIDE), number), tmp_path / "sorted" / folder / f"{9 - number}.png")
    found = _json(capsys, 0, *networks, "--images", tmp_path / "sorted", "--metric", "topk")
    assert found["networks"][0]["metrics"][0]["value"] == 100


def test_an_empty_image_makes_a_published_figure_no_number_and_the_gate_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """M6 as published has no value then; the corrected figure leaves the image out."""
    project = make_project(tmp_path, images=2)
    (tmp_path / "masks").mkdir()
    for name, level in (("image_0", 255), ("image_1", 0)):
        Image.new("L", (SIDE, SIDE), level).save(tmp_path / "masks" / f"{name}.png")
    assert _modc("compile", project.write(), "--dtype", "fp32", "--quiet") == 0
    prefix = tmp_path / "deploy" / "net_fp32" / "mod"
    (tmp_path / "npz").mkdir()
    logits = np.full((1, 1, SIDE, SIDE), 5, np.float16)
    for number in range(2):
        values = logits if number == 0 else -logits
        np.savez(tmp_path / "npz" / f"output_{number:06}.npz", output_0=values)
    (tmp_path / "list.txt").write_text("image_0.npz\nimage_1.npz\n")
    given = (
        *("--npz", tmp_path / "npz", "--npz", tmp_path / "npz", "-m", prefix),
        *("--datalist", tmp_path / "list.txt", "--masks", tmp_path / "masks", "--metric", "m6"),
    )
    found = _json(capsys, 0, *given)
    assert [one["name"] for one in found["networks"]] == ["npz", "npz_2"]
    literal, corrected = found["networks"][0]["metrics"]
    assert literal["value"] is None
    assert literal["images"] == {"used": 2, "left_out": 0, "undefined": 1}
    assert corrected["value"] == 100
    assert corrected["images"] == {"used": 1, "left_out": 1, "undefined": 0}
    assert _modc("eval", *given, "--max-drop", "1") == 5
    out, err = capsys.readouterr()
    assert "is not a number" in err
    assert "no foreground in prediction and mask" in out
    assert ": unknown" in out


def test_a_bundle_of_int8_that_stayed_float_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or its figures would be taken for those of integers."""
    for kept, told in (("all", True), ("none", False)):
        project = make_project(tmp_path / kept, images=4)
        if kept == "all":
            project.document["backend"]["optimize"]["keep_float"] = True
        assert _modc("compile", project.write(), "--quiet") == 0
        prefix = project.folder / "deploy" / "net_int8" / "mod"
        networks = ("-m", prefix, "--onnx", project.folder / "net.onnx")
        found = _json(capsys, 0, *networks, "--images", project.folder / "calib")
        assert any("no layer on integers" in note for note in found["notes"]) == told


def test_equal_networks_are_called_equal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = data / "net_fp32" / "mod"
    assert _modc("eval", "-m", prefix, "-m", prefix, *_masks(data)) == 0
    out = capsys.readouterr().out
    assert "+0.000 [+0.000, +0.000]: equal" in out
    assert "net_fp32_2" in out


def test_files_that_cannot_be_written_or_read_are_told(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "file").write_text("")
    arguments = ("eval", *_networks(data), *_masks(data))
    assert _modc(*arguments, "--csv", data / "file" / "new.csv") == 6
    err = capsys.readouterr().err
    assert "--csv" in err
    assert "eval net_fp32" not in err  # told before anything runs
    assert _modc(*arguments, "--save", data / "file") == 6
    assert "masks cannot be written" in capsys.readouterr().err
    assert _modc(*arguments, "--image-list", data / "none.txt") == 4
    assert "the list cannot be read" in capsys.readouterr().err
    (data / "labels.txt").write_text("bird.png 1\n")
    labels = ("--images", data / "images", "--labels", data / "labels.txt")
    assert _modc("eval", *_networks(data), *labels) == 4
    assert "it names none of the images" in capsys.readouterr().err


def test_networks_without_a_common_image_cannot_be_compared(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = np.zeros((1, 3, SIDE, SIDE), np.float16)
    for folder, broken in (("one", (0, 1)), ("two", (2,))):
        (data / folder).mkdir()
        for number in range(3):
            file = data / folder / f"output_{number:06}.npz"
            np.savez(file, output_0=whole)
            if number in broken:
                file.write_bytes(b"no npz")
    (data / "list.txt").write_text("a.npz\nb.npz\nc.npz\n")
    given = (
        *("--npz", data / "one", "--npz", data / "two", "--datalist", data / "list.txt"),
        *("-m", data / "net_fp32", "--masks", data / "masks"),
    )
    assert _modc("eval", *given) == 4
    assert "no image could be evaluated on every network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no bundle (-m) given"),
        (["-m", "b"], "no images (--images) given"),
        (["-m", "b", "--images", "i"], "give --onnx or another -m"),
        (["-m", "b", "--images", "i", "--masks", "m", "--labels", "l"], "give one of"),
        (["-m", "b", "--images", "i", "--metric", "coco"], "needs --annotations"),
        (["-m", "b", "--images", "i", "--metric", "dice"], "needs --masks"),
        (["-m", "b", "--images", "i", "--masks", "m", "--metric", "topk"], "segmentation metric"),
        ([*GIVEN, "--metric", "iuo"], "no metric 'iuo'"),
        ([*GIVEN, "--metric", "foregound_iou"], "did you mean 'foreground_iou'?"),
        (["-m", "b", "--images", "i", "--metric", "m10"], "--metric coco measures what"),
        ([*GIVEN, "--metric", "m11"], "give --metric coco --annotations"),
        ([*GIVEN, "--classes", "0"], "--classes is at least 1"),
        ([*GIVEN, "--classes", "a,,b"], "--classes has an empty name"),
        ([*GIVEN, "-m", "c", "--max-drop", "nan"], "0 or more"),
        ([*GIVEN, "-m", "c", "--max-drop", "-1"], "0 or more"),
        ([*GIVEN, "--max-drop", "1"], "--max-drop compares two networks"),
        (["-m", "b", "-m", "c", "--images", "i", "--max-drop", "1"], "--max-drop compares two"),
        (["--npz", "n", "--masks", "m"], "--npz and --datalist go together"),
        (["--npz", "n", "--datalist", "d", "--onnx", "o", "--masks", "m"], "--onnx is run"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("eval", *arguments) == 2
    assert reason in capsys.readouterr().err


def test_metrics_stand_by_their_names_and_equal_figures_are_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _results_of_one_channel(tmp_path, (5, 5), (5, 5))
    assert _modc("eval", *given, "--metric", "m6", "--metric", "dice") == 0
    out = capsys.readouterr().out
    heading = (
        "m6 (foreground_iou): portrait script; dice: foreground; foreground_iou: foreground; "
        "2 images"
    )
    assert heading in " ".join(out.split())
    assert "foreground_iou is the corrected form of m6" in out
    assert out.count("all figures of") == 1
    assert "all figures of dice, foreground_iou" in out


def test_metrics_of_classes_share_one_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = ("--metric", "mean_iou", "--metric", "f1", "--confusion")
    assert _modc("eval", "-m", data / "net_fp32" / "mod", *_masks(data), *metrics) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "IoU of the classes, mean_iou, f1" in out
    assert out.count("confusion, net_fp32") == 1


def test_errors_of_mattes_keep_their_digits_and_the_sign_of_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks are 1: a logit of 2 is wrong by sigmoid(-2) = 0.119203, one of 2.00586 by 0.118589."""
    given = _results_of_one_channel(tmp_path, (2, 2), (2.005, 2.005))
    assert _modc("eval", *given, "--metric", "matting") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "matting (mad, lower is better): matte" in out
    assert "0.1192 [0.1192, 0.1192]" in out
    assert "-0.000613" in out  # of float16: 2.005 is stored as 2.00586
    assert "a gain" in out


def test_a_lost_error_is_told_with_its_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = _results_of_one_channel(tmp_path, (2.005, 2.005), (2, 2))
    assert _modc("eval", *given, "--metric", "matting", "--max-drop", "0.0001") == 5
    assert "it loses 0.000613" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "metric", "reads"),
    [
        (("--ignore", "0"), "mean_iou", "class numbers"),
        (("--metric", "cityscapes"), "cityscapes", "label ids"),
    ],
)
def test_masks_in_which_nothing_counts_are_an_error(
    arguments: tuple[str, ...],
    metric: str,
    reads: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = (*_networks(data), *_masks(data), *arguments)
    for name in "abc":
        write_mask(np.zeros((SIDE, SIDE), np.int64), data / "masks" / f"{name}_mask.png")
    assert _modc("eval", *given) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert f"nothing could be measured in 3 image(s) ({metric}: no labelled pixel)" in err
    assert f"{metric} reads {reads}" in err


def test_photographs_are_no_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = _results_of_one_channel(tmp_path, (5, 5), (5, 5))
    values = np.random.default_rng(0).integers(0, 256, (SIDE * 2, SIDE * 2, 3), np.uint8)
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(values).save(file)
    assert _modc("eval", *given) == 4
    err = capsys.readouterr().err
    assert "a colour photograph is no mask" in err
    assert "are images and masks swapped?" in err


def test_a_metric_that_reads_other_outputs_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("eval", *_networks(data), *_masks(data), "--metric", "m6") == 2
    err = capsys.readouterr().err
    assert "it reads logit outputs; this network's are argmax" in err
    assert "use foreground_iou" in err


def test_a_network_without_class_map_is_not_compared_with_masks(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = mean_colour_bundle(tmp_path, "c_int8")
    assert _modc("eval", "-m", prefix, *_masks(data)) == 2
    assert "no class map" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ({"type": "CenterCrop", "crop_size": SIDE}, (24, 30)),
        ({"type": "PadTo", "size": [SIDE, SIDE]}, (8, 12)),
        ({"type": "Resize", "size": [SIDE, SIDE], "interpolation": "nearest"}, (32, 32)),
    ],
)
def test_a_mask_is_compared_where_the_network_sees_its_image(
    geometry: Json, size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.random.default_rng(0).integers(0, 3, (size[0] // 2, size[1] // 2))
    truth = truth.repeat(2, axis=0).repeat(2, axis=1)
    paint(truth, tmp_path / "images" / "a.png")
    write_mask(truth, tmp_path / "masks" / "a.png")
    prefix = colour_bundle(tmp_path, "net_fp32", geometry=[geometry])
    (row,) = _json(capsys, 0, "-m", prefix, *_masks(tmp_path))["networks"]
    assert row["metrics"][0]["value"] == 100
    seen = np.array(row["metrics"][0]["confusion"]).sum()
    assert seen == min(size[0], SIDE) * min(size[1], SIDE)


def test_one_image_has_figures_but_no_intervals(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*_networks(data), *_masks(data), "--limit", "1")
    int8 = _json(capsys, 0, *given)["networks"][1]["metrics"][0]
    assert int8["verdict"] == "unknown"
    assert int8["differences"]["mean_iou"] == {"value": 0, "low": None, "high": None}
    assert _modc("eval", *given) == 0
    out = capsys.readouterr().out
    assert "1 image, 95 % intervals" in out
    assert "+0.000: unknown" in out
    assert "one image gives no interval" in out


def test_an_interval_that_ends_at_0_may_be_noise(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "masks" / "b_mask.png").unlink()  # of a and c, only c tells the networks apart
    int8 = _json(capsys, 0, *_networks(data), *_masks(data))["networks"][1]["metrics"][0]
    assert int8["differences"]["mean_iou"]["high"] == 0
    assert int8["verdict"] == "may be noise"
    assert _modc("eval", *_networks(data), *_masks(data), "--max-drop", "1") == 5
    captured = capsys.readouterr()
    assert "fewer than 10 images: their intervals are rough" in captured.out
    assert "though so few images may show that by chance" in captured.err


def test_scores_of_classes_are_not_read_from_a_class_map(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "labels.txt").write_text("a 0\nb 1\n")
    given = ("--images", data / "images", "--labels", data / "labels.txt")
    assert _modc("eval", *_networks(data), *given) == 2
    err = capsys.readouterr().err
    assert "output of shape [1, 3, 16, 16]; expected the scores [1, C]" in err
    assert "give a metric that suits this network" in err


def test_a_missing_float_network_is_a_usage_error(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("eval", *_networks(data), *_masks(data), "--onnx", data / "none.onnx") == 2
    assert "none.onnx" in capsys.readouterr().err


def _results_of_one_channel(folder: Path, *logits: tuple[float, float]) -> tuple[str | Path, ...]:
    """What vamp wrote of networks with one channel, for two images that are all foreground."""
    project = make_project(folder, images=2)
    (folder / "masks").mkdir()
    for number in range(2):
        mask = Image.new("L", (SIDE, SIDE), 255)
        mask.save(folder / "masks" / f"image_{number}.png")
    assert _modc("compile", project.write(), "--dtype", "fp32", "--quiet") == 0
    given: list[str | Path] = []
    for network, values in enumerate(logits):
        results = folder / f"npz_{network}"
        results.mkdir()
        for number, logit in enumerate(values):
            output = np.full((1, 1, SIDE, SIDE), logit, np.float16)
            np.savez(results / f"output_{number:06}.npz", output_0=output)
        given += ["--npz", results]
    (folder / "list.txt").write_text("image_0.npz\nimage_1.npz\n")
    bundle = folder / "deploy" / "net_fp32" / "mod"
    given += ["-m", bundle, "--datalist", folder / "list.txt", "--masks", folder / "masks"]
    return tuple(given)


def _networks(data: Path) -> tuple[str | Path, ...]:
    return "-m", data / "net_int8" / "mod", "-m", data / "net_fp32" / "mod"


def _masks(data: Path) -> tuple[str | Path, ...]:
    return "--images", data / "images", "--masks", data / "masks"


def _json(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> Json:
    capsys.readouterr()
    assert _modc("eval", *arguments, "--json") == code
    found: Json = json.loads(capsys.readouterr().out)
    return found


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)
