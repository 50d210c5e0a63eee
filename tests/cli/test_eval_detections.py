"""`modc eval --metric coco`, against pycocotools run directly on the same boxes."""

import builtins
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from compiler.cli.app import main
from tests.support.task_bundles import SIDE, colour_bundle, detection_image, detector_bundle

Json = dict[str, Any]  # Any: a JSON object

# Class, score / 255, x1, y1, x2, y2. A class of -1 ends the list.
FOUND = {
    "one.png": [
        (0, 250, 1, 1, 9, 9),
        (1, 200, 8, 8, 15, 15),
        (0, 90, 0, 0, 3, 3),
        (-1, 0, 0, 0, 0, 0),
    ],
    "two.png": [
        (1, 240, 2, 2, 8, 12),
        (1, 230, 2, 3, 8, 12),
        (0, 80, 4, 4, 12, 12),
        (0, 60, 5, 5, 9, 9),
    ],
    "three.png": [(-1, 0, 0, 0, 0, 0), (0, 255, 1, 1, 5, 5)],
}
# Category, x, y, width, height.
TRUTH = {
    "one.png": [(3, 1, 1, 8, 8), (90, 7, 7, 8, 8)],
    "two.png": [(90, 2, 2, 6, 10), (3, 4, 3, 8, 9)],
    "three.png": [(3, 1, 1, 4, 4)],
}
CATEGORIES = {3: "cat", 90: "dog"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name, rows in FOUND.items():
        Image.fromarray(detection_image(rows)).save(tmp_path / "images" / name)
    names = list(TRUTH)
    boxes = [(names.index(name) + 1, *one) for name, rows in TRUTH.items() for one in rows]
    instances = {
        "images": [
            {"id": i, "file_name": name, "width": SIDE, "height": SIDE}
            for i, name in enumerate(names, start=1)
        ],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": kind,
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
                "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
            }
            for number, (image, kind, x, y, width, height) in enumerate(boxes, start=1)
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    detector_bundle(tmp_path, "net_fp32")
    detector_bundle(tmp_path, "net_int8", shift=1)
    return tmp_path


def test_average_precision_is_that_of_pycocotools(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, 0, "-m", data / "net_int8", "-m", data / "net_fp32", *_given(data))
    fp32, int8 = found["networks"]
    for network, shift in ((fp32, 0), (int8, 1)):
        expected = _reference(data, shift)
        figures = {name: one["value"] for name, one in network["metrics"][0]["figures"].items()}
        for name, place in (("ap", 0), ("ap50", 1), ("ap75", 2), ("ap_small", 3), ("ar100", 8)):
            assert figures[f"box_{name}"] == pytest.approx(100 * expected[place], abs=1e-9)
        assert figures["box_ap_large"] is None  # there is no such object
    assert 0 < int8["metrics"][0]["value"] < fp32["metrics"][0]["value"] < 100
    difference = int8["metrics"][0]["differences"]["box_ap"]
    assert difference["value"] == pytest.approx(
        int8["metrics"][0]["value"] - fp32["metrics"][0]["value"]
    )
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert any("i-th of 2 categories" in note for note in found["notes"])


def test_masks_have_a_precision_of_their_own(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefixes = [
        detector_bundle(data, "masks_fp32", masks=True),
        detector_bundle(data, "masks_int8", masks=True, shift=1),
    ]
    found = _json(capsys, 0, "-m", prefixes[0], "-m", prefixes[1], *_given(data))
    for network, shift in zip(found["networks"], (0, 1), strict=True):
        boxes, masks = network["metrics"]
        assert [boxes["name"], masks["name"]] == ["coco box", "coco mask"]
        expected = _reference(data, shift, "segm")
        assert masks["value"] == pytest.approx(100 * expected[0], abs=1e-9)
        assert boxes["value"] == pytest.approx(100 * _reference(data, shift)[0], abs=1e-9)
    assert found["networks"][1]["metrics"][1]["differences"]["mask_ap"]["value"] < 0
    assert _modc("eval", "-m", prefixes[0], "-m", prefixes[1], *_given(data)) == 0
    assert "mask_ap" in capsys.readouterr().out


def test_classes_with_names_are_the_categories_of_these_names(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = _json(capsys, 0, "-m", data / "net_fp32", *_given(data), "--classes", "cat,dog")
    wrong = _json(capsys, 0, "-m", data / "net_fp32", *_given(data), "--classes", "dog,cat")
    assert right["networks"][0]["metrics"][0]["value"] > 50
    assert wrong["networks"][0]["metrics"][0]["value"] < 10
    assert _modc("eval", "-m", data / "net_fp32", *_given(data), "--classes", "cat,cow") == 4
    assert "no category is named cow" in capsys.readouterr().err


def test_images_that_are_not_there_are_listed_and_broken_ones_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "images" / "two.png").unlink()
    (data / "images" / "three.png").write_bytes(b"no image")
    found = _json(capsys, 4, "-m", data / "net_fp32", *_given(data))
    assert found["images"]["counted"] == ["one"]
    assert found["images"]["images_that_are_not_there"] == ["two.png"]
    assert [one["image"] for one in found["failures"]] == ["three"]


def test_a_detector_that_finds_nothing_has_no_precision(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FOUND:
        Image.fromarray(detection_image([(-1, 0, 0, 0, 0, 0)])).save(data / "images" / name)
    assert _modc("eval", "-m", data / "net_fp32", *_given(data)) == 0
    assert "box_ap" in capsys.readouterr().out
    found = _json(capsys, 0, "-m", data / "net_fp32", *_given(data))
    assert found["networks"][0]["metrics"][0]["value"] == 0


def test_a_class_beyond_the_categories_is_an_error_of_its_image(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = detection_image([(2, 250, 1, 1, 9, 9)])
    Image.fromarray(image).save(data / "images" / "one.png")
    assert _modc("eval", "-m", data / "net_fp32", *_given(data)) == 4
    assert "class 2 found; the annotations tell of 2" in capsys.readouterr().err


def test_a_network_for_masks_is_no_detector(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = colour_bundle(data, "masks_int8")
    assert _modc("eval", "-m", prefix, *_given(data)) == 2
    assert "are not classes, scores and boxes" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "annotations": []}'])
def test_a_file_without_annotations_is_refused(
    text: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "instances.json").write_text(text)
    assert _modc("eval", "-m", data / "net_fp32", *_given(data)) == 4
    assert "instances.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "key", "says"),
    [
        ("images", "height", "one of its images has no height"),
        ("annotations", "bbox", "one of its annotations has no bbox"),
        ("annotations", "image_id", "an object in it has no image_id"),
        ("categories", "name", "one of its categories has no name"),
    ],
)
def test_an_annotation_that_lacks_something_is_refused(
    part: str, key: str, says: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instances = json.loads((data / "instances.json").read_text())
    del instances[part][0][key]
    (data / "instances.json").write_text(json.dumps(instances))
    assert _modc("eval", "-m", data / "net_fp32", *_given(data)) == 4
    assert says in capsys.readouterr().err


def test_one_image_gives_no_interval(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("eval", "-m", data / "net_fp32", *_given(data), "--limit", "1", "--json") == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["metrics"][0]["figures"]["box_ap"]["value"] > 0
    assert network["metrics"][0]["figures"]["box_ap"]["low"] is None


def test_without_pycocotools_the_command_to_install_it_is_told(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:  # Any: as __import__
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert _modc("eval", "-m", data / "net_fp32", *_given(data)) == 7
    assert "pip install pycocotools" in capsys.readouterr().err


def _reference(data: Path, shift: float, kind: str = "bbox") -> list[float]:
    """What pycocotools says of the boxes in `FOUND`, or of masks that fill them."""
    results: list[Json] = [
        {
            "image_id": image,
            "category_id": list(CATEGORIES)[kind],
            "score": score / 255,
            "bbox": [*low, *(high - low)],
        }
        for image, rows in enumerate(FOUND.values(), start=1)
        for kind, score, *corners in rows[: [row[0] for row in [*rows, (-1,)]].index(-1)]
        for low, high in [np.clip(np.array(corners) + shift, 0, SIDE).reshape(2, 2)]
    ]
    for one in results if kind == "segm" else ():
        x, y, width, height = map(int, one.pop("bbox"))
        mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
        mask[y : y + height, x : x + width] = 1
        one["segmentation"] = encode(mask)
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "instances.json"))
        evaluated = COCOeval(truth, truth.loadRes(results), kind)
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return list(evaluated.stats)


def _given(data: Path) -> tuple[str | Path, ...]:
    return (
        *("--images", data / "images", "--annotations", data / "instances.json"),
        *("--metric", "coco"),
    )


def _json(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> Json:
    capsys.readouterr()
    assert _modc("eval", *arguments, "--json") == code
    found: Json = json.loads(capsys.readouterr().out)
    return found


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)
