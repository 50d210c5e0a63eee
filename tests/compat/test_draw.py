"""`modc decode-npz`: what the results of `vamp` look like."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.cli.app import main
from compiler.cli.vamp import main as vamp_main
from compiler.compat.draw import Reading, draw_outputs, guess_rule
from compiler.compat.pairs import pair_outputs
from compiler.compat.vamp.datalist import list_entries
from compiler.errors import BundleError, CalibrationError
from compiler.preprocess.ops import Border, Crop, PadTo, Resize
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing, TensorSpec
from compiler.runner.masks import Window, seen_window
from tests.support.bundles import MANIFEST, make_bundle

RED, GREEN = (128, 0, 0), (0, 128, 0)  # classes 1 and 2


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two images of 40×60, their npz, `list.txt` and `out/`."""
    monkeypatch.chdir(tmp_path)
    lines = []
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", input_0=np.full((3, 40, 60), 100, np.uint8))
        lines.append(f"{name}.npz\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    (tmp_path / "out").mkdir()
    return tmp_path


def write_outputs(folder: Path, *samples: list[Tensor]) -> None:
    """Results as `vamp` names them."""
    for index, arrays in enumerate(samples):
        named = {f"output_{i}": array.astype(np.float16) for i, array in enumerate(arrays)}
        np.savez(folder / f"output_{index:06}.npz", **named)  # type: ignore[arg-type]  # stub: mistakes keys for options


def decode(line: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["decode-npz", *shlex.split(line)])
    return int(exit_.value.code or 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def colours_of(path: Path) -> Tensor:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def half(low: float, high: float) -> Tensor:
    """(1, 1, 4, 6): `low` on the left half, `high` on the right."""
    return np.repeat([low, high], 3)[None, None, None].repeat(4, axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high", "rule"),
    [
        (-3, 2, "logits: class 1 above 0"),
        (0.25, 0.75, "probabilities: class 1 above 0.5"),
        (0, 1, "probabilities: class 1 above 0.5"),
        (0, 2, "they are the classes"),
    ],
)
def test_without_a_bundle_the_values_tell_the_rule(
    low: float, high: float, rule: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(workspace / "out", [half(low, high)], [half(low, low)])
    assert decode("out --datalist list.txt -o drawn") == 0
    out = capsys.readouterr().out
    assert rule in out
    assert "(guessed; -m gives the bundle's)" in out
    assert "2 output(s): 4 files in drawn" in out
    assert names(workspace / "drawn") == [
        "one_mask.png",
        "one_overlay.png",
        "two_mask.png",
        "two_overlay.png",
    ]
    mask = colours_of(workspace / "drawn" / "one_mask.png")
    colour = GREEN if high == 2 and low == 0 else RED
    assert mask.shape == (40, 60, 3)
    assert (mask[:, :30] == 0).all()
    assert (mask[:, 30:] == colour).all()
    overlay = colours_of(workspace / "drawn" / "one_overlay.png")
    assert (overlay[:, :30] == 100).all()
    assert (overlay[:, 30:] == (np.array(colour) + 101) // 2).all()


def test_several_channels_are_classes_by_their_largest_value(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = np.concatenate([half(1, 0), half(0, 0), half(0, 1)], axis=1)
    write_outputs(workspace / "out", [scores], [scores])
    assert decode("out --datalist list.txt -o drawn") == 0
    assert "several channels: the class is the largest" in capsys.readouterr().out
    assert (colours_of(workspace / "drawn" / "two_mask.png")[:, 30:] == GREEN).all()


def test_one_image_within_0_and_1_does_not_turn_logits_into_probabilities(
    workspace: Path,
) -> None:
    write_outputs(workspace / "out", [half(0.25, 0.75)], [half(-4, 4)])
    files = sorted((workspace / "out").iterdir())
    assert guess_rule(files) == Postprocessing("binary", 0.0)
    assert guess_rule(files[:1]) == Postprocessing("binary", 0.5)


def test_the_bundle_gives_rule_and_window(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = replace(MANIFEST, postprocessing=Postprocessing("argmax"))
    make_bundle(workspace / "deploy", manifest=manifest)
    (workspace / "p.json").write_text(
        json.dumps(
            {
                "OpType": "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR",
                "OpConfig": {
                    "OimageWidth": 6,
                    "OimageHeight": 4,
                    "IimageFormat": "RGB_PLANAR",
                    "ColorCvtCode": "NO_CHANGE",
                    "ResizeType": "BILINEAR_CV",
                    "NormaType": "DIV255",
                },
            }
        )
    )
    np.savez(workspace / "one.npz", input_0=np.full((3, 40, 20), 100, np.uint8))
    scores = np.concatenate([half(1, 0), half(0, 1)], axis=1)
    write_outputs(workspace / "out", [scores], [scores])
    line = "out --datalist list.txt -m deploy/net/mod --vdsp_params p.json -o drawn"
    assert decode(line) == 0
    assert "guessed" not in capsys.readouterr().out
    # 40×20 became 4×2 in the middle of 4×6: the boundary of the halves is the image's middle
    tall = colours_of(workspace / "drawn" / "one_mask.png")
    assert (tall[:, :10] == 0).all()
    assert (tall[:, 10:] == RED).all()
    assert decode(line.replace("--vdsp_params p.json", "--quiet")) == 0
    assert capsys.readouterr().out == ""


def test_original_images_are_found_by_name(workspace: Path) -> None:
    (workspace / "images").mkdir()
    pixels = np.full((20, 30, 3), 7, np.uint8)
    for name in ("one.png", "two.jpg"):
        Image.fromarray(pixels).save(workspace / "images" / name)
    write_outputs(workspace / "out", [half(-1, 1)], [half(-1, 1)])
    assert decode("out --datalist list.txt --images images -o drawn") == 0
    assert colours_of(workspace / "drawn" / "two_mask.png").shape == (20, 30, 3)
    assert (colours_of(workspace / "drawn" / "one_overlay.png")[:, :15] == 7).all()
    (workspace / "images" / "two.jpg").unlink()
    assert decode("out --datalist list.txt --images images -o drawn") == 4


def test_scores_become_the_five_likeliest_classes(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names_ = ("cat", "dog", "cow", "hen", "pig", "ant")
    make_bundle(workspace / "deploy", manifest=replace(MANIFEST, classes=names_))
    write_outputs(
        workspace / "out",
        [np.array([[0, 5, 1, 3, 2, 4]])],
        [np.array([[2, 2, 2, 2, 2, 2]])],
    )
    assert decode("out --datalist list.txt -m deploy/net -o drawn") == 0
    lines = ["one: dog 5, ant 4, hen 3, pig 2, cow 1", "two: cat 2, dog 2, cow 2, hen 2, pig 2"]
    assert (workspace / "drawn" / "classes.txt").read_text().splitlines() == lines
    assert "\n".join(lines) in capsys.readouterr().out


def test_boxes_stop_at_the_first_unused_row(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(workspace / "deploy")
    classes = np.array([0, -1, 0])[None, :, None]
    scores = np.array([0.9, -1, 0.8])[None, :, None]
    boxes = np.array([[1, 1, 4, 3], [-1, -1, -1, -1], [4.5, 0, 6, 4]])[None]
    write_outputs(workspace / "out", [classes, scores, boxes], [classes, scores, boxes])
    assert decode("out --datalist list.txt -o drawn") == 4
    assert "name the bundle with -m" in capsys.readouterr().err
    assert decode("out --datalist list.txt -m deploy/net -o drawn") == 0
    image = colours_of(workspace / "drawn" / "one_boxes.png")
    # 4×6 covers 40×60: a pixel of the network is 10 of the image
    assert (image[10, 10:41] == RED).all()
    assert (image[10:31, 40] == RED).all()
    assert (image[32:] == 100).all()
    assert (image[:, 42:] == 100).all()


def test_what_masks_are_made_from_does_not_change_the_boxes(workspace: Path) -> None:
    make_bundle(workspace / "deploy")
    classes, scores = np.array([0, -1])[None, :, None], np.array([0.9, -1])[None, :, None]
    boxes = np.array([[1, 1, 4, 3], [-1, -1, -1, -1]])[None]
    five = [classes, scores, boxes, np.ones((1, 2, 3)), np.ones((1, 3, 8, 8))]
    write_outputs(workspace / "out", five, five[:3])
    assert decode("out --datalist list.txt -m deploy/net -o drawn") == 0
    masked, plain = (colours_of(workspace / "drawn" / f"{one}_boxes.png") for one in ("one", "two"))
    assert (masked[10, 10:41] == RED).all()
    np.testing.assert_array_equal(masked, plain)


def test_rows_without_finite_numbers_are_not_drawn(workspace: Path) -> None:
    make_bundle(workspace / "deploy")
    classes, scores = np.array([0, 0, np.nan])[None, :, None], np.full((1, 3, 1), 0.9)
    boxes = np.array([[np.nan, 1, 4, 3], [1, 1, np.inf, 3], [1, 1, 4, 3]])[None]
    write_outputs(workspace / "out", *[[classes, scores, boxes]] * 2)
    assert decode("out --datalist list.txt -m deploy/net -o drawn") == 0
    assert (colours_of(workspace / "drawn" / "one_boxes.png") == 100).all()


def test_infinite_logits_are_no_classes(workspace: Path) -> None:
    np.savez(workspace / "out" / "output_000000.npz", np.array([[[[np.inf, -np.inf]]]]))
    rule = guess_rule([workspace / "out" / "output_000000.npz"])
    assert (rule.kind, rule.threshold) == ("binary", 0.0)


def test_single_files_belong_to_the_line_of_their_number(workspace: Path) -> None:
    write_outputs(workspace / "out", [half(-1, 1)], [half(1, -1)])
    assert decode("out/output_000001.npz --datalist list.txt -o drawn") == 0
    assert names(workspace / "drawn") == ["two_mask.png", "two_overlay.png"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("out --datalist three.txt -o drawn", "2 npz files, 3 lines in three.txt"),
        ("one.npz --datalist list.txt -o drawn", "no line of list.txt belongs to it"),
        ("out/output_000007.npz --datalist list.txt -o drawn", "no line of list.txt"),
        ("out/output_000001.npz --datalist one.txt -o drawn", "no line of one.txt"),
        ("out --datalist absent.txt -o drawn", "datalist cannot be read"),
        ("wrong --datalist list.txt -o drawn", "is no mask [1, C, H, W], no scores"),
        ("empty --datalist list.txt -o drawn", "no values in it"),
        ("matrix --datalist list.txt -o drawn", "is no mask [1, C, H, W], no scores"),
        ("single --datalist list.txt -o drawn", "not a readable npz: a single array"),
        ("several --datalist list.txt -m deploy/net -o drawn", "expected [1, 1, H, W]"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    line: str, text: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(workspace / "out", [half(-1, 1)], [half(-1, 1)])
    (workspace / "three.txt").write_text("one.npz\ntwo.npz\nthree.npz\n")
    (workspace / "one.txt").write_text("one.npz\n")
    make_bundle(
        workspace / "deploy", manifest=replace(MANIFEST, postprocessing=Postprocessing("binary"))
    )
    shapes = {"wrong": (4, 4, 4), "matrix": (7, 21), "empty": (1, 0), "several": (1, 2, 4, 6)}
    for folder, shape in shapes.items():
        (workspace / folder).mkdir()
        write_outputs(workspace / folder, [np.zeros(shape)], [np.zeros(shape)])
    (workspace / "single").mkdir()
    for number in range(2):
        with (workspace / "single" / f"output_{number:06}.npz").open("wb") as file:
            np.save(file, np.zeros((1, 1, 4, 6)))
    assert decode(line) == 4
    assert text in capsys.readouterr().err


def test_a_mask_needs_an_image_and_a_class_that_can_be_drawn(workspace: Path) -> None:
    write_outputs(workspace / "out", [half(0, 300)], [half(0, 300)])
    pairs = pair_outputs([Path("out")], list_entries(Path("list.txt")))
    with pytest.raises(CalibrationError, match="classes 0 to 300; 0 to 255 can be drawn"):
        draw_outputs(pairs, Path("drawn"), Reading(), echo=lambda _: None)
    write_outputs(workspace / "out", [half(0, 2)], [half(0, 2)])
    np.savez(workspace / "one.npz", input_ids=np.zeros((1, 8), np.int32))
    with pytest.raises(CalibrationError, match=r"list\.txt line 1: one\.npz: .*int32"):
        draw_outputs(pairs, Path("drawn"), Reading(), echo=lambda _: None)
    (workspace / "blocked").write_text("a file")
    with pytest.raises(BundleError, match="drawings cannot be written"):
        draw_outputs(pairs, Path("blocked"), Reading(), echo=lambda _: None)


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (
            [Resize(size=(8, 8)), Crop(crop_size=(4, 4), top=1, left=3)],
            Window(5.0, 30.0, 25.0, 70.0),
        ),
        (
            [Resize(size=8, adaptive_side="long"), PadTo(size=8)],
            Window(-20.0, 0.0, 60.0, 80.0),
        ),
        (
            [Resize(size=(4, 8)), Border(top=0, bottom=2, left=1, right=3)],
            Window(0.0, -10.0, 60.0, 110.0),
        ),
    ],
    ids=["resize_crop", "letterbox", "letterbox_ext"],
)
def test_the_window_of_vdsp_operators_on_an_image_of_40_by_80(
    ops: list[Resize | Crop | PadTo | Border], expected: Window
) -> None:
    assert seen_window(ops, None, 40, 80) == expected


def test_from_vamp_to_a_drawing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = replace(
        MANIFEST,
        outputs=(TensorSpec("y", (1, 3, 4, 6), "float32"),),
        postprocessing=Postprocessing("argmax"),
    )
    make_bundle(workspace / "deploy", manifest=manifest)
    blue = np.zeros((3, 40, 60), np.uint8)
    blue[2] = 255
    np.savez(workspace / "two.npz", input_0=blue)
    with pytest.raises(SystemExit) as exit_:
        vamp_main(shlex.split("-m deploy/net --datalist list.txt --path_output npz_output"))
    assert not exit_.value.code
    assert decode("npz_output --datalist list.txt -m deploy/net -o drawn") == 0
    assert (colours_of(workspace / "drawn" / "one_mask.png") == 0).all()
    assert (colours_of(workspace / "drawn" / "two_mask.png") == GREEN).all()
    assert "2 output(s)" in capsys.readouterr().out
