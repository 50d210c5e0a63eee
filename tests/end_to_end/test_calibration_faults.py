"""Faults planted in real calibration data are found, each of them, and nothing is found without."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calibration.fingerprint import SAME_PICTURE
from calibration.picture import examine
from compiler.cli.app import main
from compiler.config.load import load_config
from compiler.pipeline.inspect_calibration import inspect_build
from compiler.preprocess.decode import decode_image

NETWORKS = Path(__file__).resolve().parents[1] / "networks"
SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = SHARED / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real images")

HUMAN = NETWORKS / "unet3p_human_128.yaml"
CAMVID = NETWORKS / "unet_camvid_192x256.yaml"
NO_MASKS = "verify={}"  # certainty alone must do, and is quicker
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _ops(*steps: dict[str, Any]) -> str:  # Any: fields of an operation
    """Preprocessing of the human network with other operations in front of ToTensor."""
    ops = [{"type": "DecodeImage"}, {"type": "Resize", "size": [128, 128]}, *steps]
    return "dataset.process_ops=" + json.dumps([*ops, {"type": "ToTensor"}])


def _normalize(mean: list[float], std: list[float], **fields: Any) -> dict[str, Any]:  # Any: above
    return {"type": "Normalize", "mean": mean, "std": std, **fields}


def _pixels(path: Path) -> NDArray[np.uint8]:
    return decode_image(path, 1, None)


class Planted:
    """A copy of the human set with faults: their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(DATA / "human" / "calib", folder)
        images = sorted(folder.iterdir())
        self.corrupt = {"0_noise.jpg", "z_half.jpg", "z_empty.jpg"}
        (folder / "0_noise.jpg").write_bytes(np.random.default_rng(0).bytes(20_000))
        half = images[0].read_bytes()
        (folder / "z_half.jpg").write_bytes(half[: len(half) // 2])
        (folder / "z_empty.jpg").touch()
        self.black = {"black.png", "z_black.jpg"}
        Image.new("RGB", (300, 200)).save(folder / "black.png")
        Image.new("RGB", (640, 480), (2, 1, 0)).save(folder / "z_black.jpg")
        self.duplicates: set[frozenset[str]] = set()
        for number, image in enumerate(images[3:8]):
            if number < 3:
                copy = folder / f"{'0' if number else 'z'}_copy_{number}.jpg"
                shutil.copyfile(image, copy)
            else:
                copy = folder / f"z_copy_{number}.png"
                Image.fromarray(_pixels(image)).save(copy)
            self.duplicates.add(frozenset({image.name, copy.name}))
        self.similar: set[frozenset[str]] = set()
        for kind, image in zip(("jpeg", "small", "bright", "both"), images[10:14], strict=True):
            picture = Image.fromarray(_pixels(image))
            if kind in ("small", "both"):
                picture = picture.resize((picture.width * 3 // 5, picture.height * 3 // 5))
            if kind in ("bright", "both"):
                picture = picture.point(lambda level: min(255, level + 20))
            copy = folder / f"{'0' if kind == 'small' else 'z'}_{kind}.jpg"
            picture.save(copy, quality=30 if kind == "jpeg" else 85)
            self.similar.add(frozenset({image.name, copy.name}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted") / "calib")


def _check_files(facts: dict[str, Any], planted: Planted) -> None:  # Any: a JSON object
    found: dict[str, list[frozenset[str]]] = {}
    for one in facts["findings"]:
        if one["fault"]:
            found.setdefault(one["kind"], []).append(frozenset(one["files"]))
    assert len(found["unreadable"]) == 3
    assert frozenset().union(*found["unreadable"]) == planted.corrupt
    assert len(found["constant"]) == 2
    assert frozenset().union(*found["constant"]) == planted.black
    assert sorted(map(sorted, found["duplicate"])) == sorted(map(sorted, planted.duplicates))
    assert sorted(map(sorted, found["similar"])) == sorted(map(sorted, planted.similar))


def test_every_fault_of_files_is_found_in_a_folder(
    planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", planted.folder, "--json", "--strict") == 4
    facts = json.loads(capsys.readouterr().out)
    _check_files(facts, planted)
    assert facts["faults"] == 3 + 2 + 5 + 4


@pytest.mark.slow
def test_every_fault_of_files_and_a_missing_division_are_found_with_the_network(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    code = _modc(
        *("calib", "inspect", HUMAN, "--json", "--html", page),
        f"--set=dataset.path={planted.folder}",
        "--set=dataset.sampler={get_data_num: 200}",
        f"--set={NO_MASKS}",
        "--set",
        _ops({"type": "Normalize", "norm_type": None, "div255": False}),
    )
    assert code == 0
    facts = json.loads(capsys.readouterr().out)
    _check_files(facts, planted)
    [scale] = [one for one in facts["findings"] if one["fault"] and not one["files"]]
    assert "trained on values from 0 to 1, without mean and std" in scale["text"]
    assert facts["looked_at"] == 50 + 3 + 2 + 5 + 4
    text = page.read_text(encoding="utf-8")
    for name in planted.corrupt | planted.black:
        assert name in text


@pytest.mark.parametrize("data", ["human/calib", "human/test/images", "camvid/calib"])
def test_the_clean_sets_of_photographs_have_no_faults(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", DATA / data, "--json", "--strict") == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_slices_of_one_tissue_are_no_copies(capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("calib", "inspect", DATA / "isbi2012" / "image", "--json", "--strict") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["findings"] == []
    assert facts["modes"] == {"L": 12}


def test_frames_of_a_video_that_follow_each_other_are_near_duplicates(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _modc("calib", "inspect", DATA / "camvid" / "test" / "images", "--json") == 0
    found = json.loads(capsys.readouterr().out)["copies"]
    assert len(found) >= 10
    assert {one["likeness"] for one in found} == {"similar"}


@pytest.mark.slow
@pytest.mark.parametrize("build_file", [HUMAN, CAMVID])
def test_the_clean_sets_have_no_faults_with_their_networks(build_file: Path) -> None:
    found = inspect_build(load_config(build_file, overrides=[NO_MASKS]))
    assert found.faults == ()
    assert found.lint is not None
    assert len(found.lint.trials) > 4
    assert found.watched is not None
    assert found.watched.tensors == len(found.watched.extremes) > 20
    assert {one.kind for one in found.findings} <= {"too_few", "outlier"}


@pytest.mark.parametrize(
    ("mean", "std", "swapped", "order"),
    [
        (*IMAGENET, False, None),
        (*IMAGENET, True, "R, G, B"),
        (IMAGENET[0][::-1], IMAGENET[1][::-1], False, "B, G, R"),
        (IMAGENET[0][::-1], IMAGENET[1][::-1], True, None),
    ],
)
@pytest.mark.parametrize("build_file", [HUMAN, CAMVID])
def test_a_swapped_channel_order_is_found(
    build_file: Path, mean: list[float], std: list[float], swapped: bool, order: str | None
) -> None:
    swap = [{"type": "CvtColor", "code": "COLOR_RGB2BGR"}] if swapped else []
    overrides = [_ops(*swap, _normalize(mean, std)), "frontend.shape.input=[1, 3, 128, 128]"]
    found = inspect_build(load_config(build_file, overrides=overrides), network=False)
    texts = [one.text for one in found.faults]
    if order is None:
        assert texts == []
    else:
        [text] = texts
        assert f"is that of photographs in the order {order}" in text


@pytest.mark.slow
def test_the_network_finds_a_swap_that_no_statistics_can_tell() -> None:
    """Without mean and std in the build file only the network knows its order."""
    swap = {"type": "CvtColor", "code": "COLOR_RGB2BGR"}
    ops = _ops(swap, {"type": "Normalize", "norm_type": None})
    found = inspect_build(load_config(HUMAN, overrides=[ops, NO_MASKS]))
    [fault] = found.faults
    assert fault.kind == "preprocessing"
    assert "trained on RGB images" in fault.text
    assert fault.fix.startswith("remove {type: CvtColor, code: COLOR_RGB2BGR}")


def test_a_mean_of_these_very_images_in_the_other_order_is_found() -> None:
    mean, std = [0.3988, 0.4165, 0.4441], [0.27, 0.27, 0.27]  # B, G, R of the human set
    found = inspect_build(
        load_config(HUMAN, overrides=[_ops(_normalize(mean, std))]), network=False
    )
    assert [one.kind for one in found.faults] == ["channel_order"]
    found = inspect_build(
        load_config(HUMAN, overrides=[_ops(_normalize(mean[::-1], std))]), network=False
    )
    assert found.faults == ()


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([_normalize(*IMAGENET, div255=False)], "were not divided by 255"),
        ([_normalize([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])], "were divided by 255"),
        ([{"type": "Normalize", "norm_type": None}] * 2, "divided by 255 twice"),
        ([{"type": "Normalize", "norm_type": None}, _normalize(*IMAGENET)], "far from zero mean"),
    ],
)
def test_a_slip_of_the_scale_is_found(steps: list[dict[str, Any]], text: str) -> None:  # Any: above
    found = inspect_build(load_config(HUMAN, overrides=[_ops(*steps)]), network=False)
    assert [one.kind for one in found.faults] == ["scale"]
    assert text in found.faults[0].text


def _changed(picture: Image.Image) -> dict[str, Image.Image]:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=20)
    width, height = picture.size
    return {
        "compressed": Image.open(file),
        "a third": picture.resize((width // 3, height // 3)),
        "half larger": picture.resize((width * 3 // 2, height * 3 // 2)),
        "brighter": picture.point(lambda level: min(255, level + 30)),
        "more contrast": picture.point(lambda level: min(255, level * 1.1)),
        "gamma": picture.point(lambda level: 255 * (level / 255) ** 0.8),
        "grey": picture.convert("L").convert("RGB"),
    }


@pytest.mark.parametrize(
    ("data", "most", "least"),
    [("human/calib", 18, 94), ("camvid/calib", 18, 44), ("isbi2012/image", 12, 60)],
)
def test_copies_and_other_pictures_lie_far_apart(data: str, most: int, least: int) -> None:
    """The measurement behind SAME_PICTURE: bits apart, at most for copies, at least for others."""
    pictures = [Image.fromarray(_pixels(path)) for path in sorted((DATA / data).iterdir())]
    prints = np.array([examine(np.asarray(picture)).bits for picture in pictures])
    apart = (prints[:, None] != prints[None]).sum(axis=2)
    others = apart[np.triu_indices(len(prints), 1)]
    copies = [
        int((examine(np.asarray(changed)).bits != bits).sum())
        for picture, bits in zip(pictures, prints, strict=True)
        for changed in _changed(picture).values()
    ]
    # Other versions of the decoders and scalers may move a few bits.
    assert max(copies) <= most + 4 <= SAME_PICTURE < least - 4 <= others.min()
