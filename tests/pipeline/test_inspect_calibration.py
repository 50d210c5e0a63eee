"""What an inspection sees of a build file's calibration data, without and with its network."""

import shutil
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from PIL import Image

from calibration.channels import Doubt
from calibration.growth import Extreme, Leader, Settling
from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError, CalibrationError
from compiler.pipeline.calibration_set import Watched, doubt_findings, network_findings
from compiler.pipeline.inspect_calibration import (
    THUMBNAILS,
    inspect_build,
    inspect_folder,
    make_thumbnails,
)
from compiler.pipeline.lint_preprocessing import Finding as Better
from compiler.pipeline.lint_preprocessing import Lint, Tried
from compiler.pipeline.watch_growth import reads_levels
from tests.support.models import model_from_text
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def _config(project: Project) -> BuildConfig:
    return load_config(project.write())


def _array_project(folder: Path) -> Project:
    project = make_project(folder)
    random = np.random.default_rng(0)
    calib = folder / "calib"
    shutil.rmtree(calib)
    calib.mkdir()
    for number in range(4):
        np.savez(calib / f"{number}.npz", input=random.random((1, 3, 16, 16), np.float32))
    np.save(calib / "same.npy", np.load(calib / "0.npz")["input"])
    np.savez(calib / "zeros.npz", input=np.zeros((1, 3, 16, 16), np.float32))
    (calib / "torn.npz").write_bytes(b"PK")
    np.savez(calib / "broken.npz", input=np.full((1, 3, 16, 16), np.nan, np.float32))
    project.document["dataset"] = {"path": str(calib), "sampler": {"get_data_num": 10}}
    return project


# --- what is looked at --------------------------------------------------------------------------


def test_exactly_the_files_of_a_build_are_looked_at(project: Project) -> None:
    found = inspect_build(_config(project), network=False)
    assert (found.found, found.looked_at, len(found.entries)) == (6, 4, 4)
    assert found.formats == {"PNG": 4}
    assert found.modes == {"RGB": 4}
    assert sum(found.sizes.values()) == 4
    assert found.watched is None
    assert found.faults == ()


def test_means_are_those_of_the_pixels_and_of_the_tensors(project: Project) -> None:
    found = inspect_build(_config(project), network=False)
    images = [
        np.asarray(Image.open(project.folder / "calib" / entry.name)) for entry in found.entries
    ]
    assert found.pixels is not None
    assert found.received is not None
    expected = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
    np.testing.assert_allclose(found.pixels.mean, expected, rtol=1e-12)
    np.testing.assert_allclose(found.received.mean, expected / 255, rtol=0.02)  # after Resize
    assert found.channels == "RGB"


def test_a_folder_of_any_depth_or_a_list_needs_no_build_file(project: Project) -> None:
    calib = project.folder / "calib"
    (calib / "deep").mkdir()
    shutil.copyfile(calib / "image_0.png", calib / "deep" / "z.png")
    found = inspect_folder(calib)
    assert found.name == "calib"
    assert found.received is None
    assert [(one.name, one.of) for one in found.copies] == [("image_0.png", "deep/z.png")]
    (project.folder / "list.txt").write_text("calib/image_1.png\ncalib/image_2.png\n")
    listed = inspect_folder(project.folder / "list.txt")
    assert [entry.name for entry in listed.entries] == ["calib/image_1.png", "calib/image_2.png"]
    assert len(make_thumbnails(listed)) == 2


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no file ends in"):
        inspect_folder(tmp_path)


def test_a_build_without_data_is_an_error(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    del project.document["dataset"]
    with pytest.raises(CalibrationError, match="there is no calibration data"):
        inspect_build(_config(project), network=False)


def test_without_the_network_its_file_may_be_absent(project: Project) -> None:
    (project.folder / "net.onnx").unlink()
    assert inspect_build(_config(project), network=False).faults == ()
    with pytest.raises(BuildFileError, match="not found"):
        inspect_build(_config(project))


@pytest.mark.parametrize("code", ["COLOR_RGB2BGR", "COLOR_RGB2HSV"])
def test_the_order_of_channels_is_known_while_they_are_only_swapped(
    project: Project, code: str
) -> None:
    ops = project.document["dataset"]["process_ops"]
    ops.insert(1, {"type": "CvtColor", "code": code})
    found = inspect_build(_config(project), network=False)
    assert found.channels == ("BGR" if code == "COLOR_RGB2BGR" else "")


def test_a_normalization_that_the_network_takes_over_counts_as_received(project: Project) -> None:
    project.document["graph"] = {"fold_normalization": True}
    found = inspect_build(_config(project))
    assert found.received is not None
    assert max(found.received.mean) < 1
    assert "scale" not in {one.kind for one in found.findings}


def test_custom_code_prepares_what_the_network_receives(project: Project, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def load(path):\n"
        "    return np.full((1, 3, 16, 16), 0.25, np.float32)\n"
    )
    project.document["dataset"]["process_ops"] = [
        {"type": "CustomFunc", "module_path": str(tmp_path / "own.py"), "func_name": "load"}
    ]
    with pytest.raises(CalibrationError, match="allow-custom-code"):
        inspect_build(_config(project), network=False)
    found = inspect_build(_config(project), network=False, allow_custom_code=True)
    assert found.received is not None
    assert found.received.mean == (0.25, 0.25, 0.25)
    assert found.channels == ""


def test_arrays_are_read_compared_and_observed(tmp_path: Path) -> None:
    found = inspect_build(_config(_array_project(tmp_path)))
    assert found.formats == {"npz": 5, "npy": 1}
    assert found.modes == {"float32": 6}
    assert found.sizes == {"1×3×16×16": 6}
    assert found.pixels is found.received is None
    assert [(one.kind, one.files[0]) for one in found.faults] == [
        ("unreadable", "broken.npz"),
        ("unreadable", "torn.npz"),
        ("duplicate", "same.npy"),
        ("constant", "zeros.npz"),
    ]
    assert "NaN" in found.faults[0].text
    assert found.faults[3].text == "zeros.npz holds one value alone"
    assert found.watched is not None
    assert found.watched.settling[0].counts == (1, 2, 4, 6)
    assert make_thumbnails(found) == ()


# --- what the network says ----------------------------------------------------------------------


def test_what_the_network_would_rather_be_given_is_a_fault(project: Project) -> None:
    found = inspect_build(_config(project))  # larger values make random weights more certain
    assert found.lint is not None
    assert found.lint.trials[0].alternative == "as it is"
    [wanted] = found.lint.findings
    [fault] = [one for one in found.faults if one.kind == "preprocessing"]
    assert (fault.text, fault.fix) == (wanted.what, wanted.advice)


def test_a_missing_division_by_255_is_one_finding_that_fits_the_file(project: Project) -> None:
    del project.document["dataset"]["process_ops"][2]
    advice = "add {type: Normalize, norm_type: null}, which divides by 255, "
    alone = inspect_build(_config(project), network=False)
    [doubt] = alone.faults
    assert doubt.kind == "scale"
    assert doubt.fix.startswith(advice)


def test_of_statistics_and_network_that_doubt_the_scale_the_network_has_the_word(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    del project.document["dataset"]["process_ops"][2]
    better = Better("0 … 1", "trained on 0 to 1", 0.5, 0.1, None, None, "add it")
    tried = Tried("0 … 1", "values", 0.5, 5.0, None, 4)
    lint = Lint((better,), (tried,), "bits", "", 0, ())
    monkeypatch.setattr(
        "compiler.pipeline.inspect_calibration.lint_preprocessing", lambda *_, **__: lint
    )
    [fault] = inspect_build(_config(project)).faults
    assert (fault.kind, fault.fix) == ("preprocessing", "add it")


def test_the_image_with_the_largest_values_is_named(project: Project) -> None:
    calib = project.folder / "calib"
    for image in calib.iterdir():
        pixels = np.asarray(Image.open(image)) // 4
        Image.fromarray(pixels.astype(np.uint8)).save(image)
    project.document["dataset"]["sampler"]["get_data_num"] = 9
    for number in range(3):
        shutil.copyfile(calib / "image_1.png", calib / f"more_{number}.png")
    Image.fromarray(np.asarray(Image.open(calib / "image_3.png")) * 4).save(calib / "image_3.png")
    found = inspect_build(_config(project))
    assert found.watched is not None
    assert found.watched.leaders[0].sample == "image_3.png"
    [outlier] = [one for one in found.findings if one.kind == "outlier"]
    assert outlier.files == ("image_3.png",)
    assert not outlier.fault
    assert found.watched.method == "kl_divergence"


@pytest.mark.parametrize(
    ("change", "method"),
    [
        ({"calibrate_mode": "auto"}, "mse"),
        ({"calibrate_mode": "max", "equalize": False}, "max"),
        ({"calibrate_mode": "percentile", "quantize_per_channel": False}, "percentile"),
    ],
)
def test_the_rule_of_the_build_file_is_the_one_that_is_judged(
    project: Project, change: dict[str, object], method: str
) -> None:
    project.document["backend"]["quantize"].update(change)
    found = inspect_build(_config(project))
    assert found.watched is not None
    assert found.watched.method == method


def test_the_network_of_a_float_build_is_observed_as_for_int8(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    found = inspect_build(_config(project))
    assert found.watched is not None
    assert found.watched.tensors > 0


def test_where_nothing_would_run_on_integers_a_note_says_so(project: Project) -> None:
    project.document["backend"]["optimize"]["keep_float"] = True  # all of so small a network
    found = inspect_build(_config(project))
    assert found.watched is not None
    assert found.watched.tensors == 0
    assert any("no tensor is observed" in note for note in found.notes)


def test_without_a_usable_file_nothing_is_observed(project: Project) -> None:
    for image in (project.folder / "calib").iterdir():
        image.write_bytes(b"torn")
    found = inspect_build(_config(project))
    assert found.watched is None
    assert len(found.faults) == 4
    assert {one.kind for one in found.faults} == {"unreadable"}


def test_files_that_cannot_be_used_are_not_observed(project: Project) -> None:
    first = inspect_build(_config(project), network=False).entries[0].name
    (project.folder / "calib" / first).write_bytes(b"torn")
    found = inspect_build(_config(project))
    assert found.watched is not None
    assert found.watched.settling[0].counts == (1, 2, 3)
    assert [one.files for one in found.faults] == [(first,)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }", False),
        ("g (uint8[1,3,8,8] x) => (float[1,3,8,8] y) { y = Cast<to = 1>(x) }", True),
        (
            "g (float[1,8,8,3] x) => (float[1,3,8,8] y) <float mean = {128.0}>"
            "{ t = Transpose<perm = [0, 3, 1, 2]>(x) y = Sub(t, mean) }",
            True,
        ),
    ],
)
def test_a_network_that_begins_with_scaling_reads_levels(text: str, expected: bool) -> None:
    model = model_from_text('<ir_version: 9, opset_import: ["" : 17]> ' + text)
    assert reads_levels(gs.import_onnx(model)) is expected


def _watched(gaps: tuple[float, ...], settled: int | None, leader: Leader) -> Watched:
    settling = Settling("max", (1, 2, 4, 8)[: len(gaps)], gaps, settled)
    extremes = (Extreme("a", "x", 2.0, 1.0),)
    return Watched("max", 10, (settling,), extremes, (leader,))


def test_settled_scales_and_shared_extremes_are_not_told_of() -> None:
    calm = Leader("x", 2, 5.0)
    assert list(network_findings(_watched((0.2, 0.01, 0.01, 0.0), 2, calm), 8)) == []
    [one] = network_findings(_watched((0.2, 0.1, 0.08, 0.0), None, calm), 8)
    assert "from 4 to 8 samples the max scales of a tenth of the tensors moved by" in one.text
    assert "8%" in one.text
    [one] = network_findings(_watched((0.0,), None, calm), 1)
    assert "one sample does not tell" in one.text


@pytest.mark.parametrize(("samples", "tensors", "excess"), [(7, 9, 2.0), (8, 2, 2.0), (8, 9, 1.1)])
def test_an_outlier_needs_enough_samples_many_tensors_and_a_distance(
    samples: int, tensors: int, excess: float
) -> None:
    settled = ((0.0, 0.0, 0.0, 0.0), 1)
    found = network_findings(_watched(*settled, Leader("x", tensors, excess)), samples)
    assert list(found) == []
    [one] = network_findings(_watched(*settled, Leader("x", 9, 2.0)), 8)
    assert one.text == (
        "x sets the extremes of 9 of 10 tensors, 2.00 times those of any other sample"
    )


def test_a_doubtful_scale_that_the_network_confirms_is_a_remark() -> None:
    doubts = [Doubt("scale", "far from zero", "set x"), Doubt("channel_order", "swapped", "swap")]
    assert [one.fault for one in doubt_findings(doubts, confirmed=False)] == [True, True]
    scale, order = doubt_findings(doubts, confirmed=True)
    assert (scale.fault, order.fault) == (False, True)
    assert scale.text.endswith("the network itself is at ease with it")


# --- pictures -----------------------------------------------------------------------------------


def test_a_large_set_has_few_thumbnails_and_those_with_findings_come_first(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    for number in range(150):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:03}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "101.png")
    found = inspect_folder(tmp_path)
    names = [one.name for one in make_thumbnails(found)]
    assert names[0] == "101.png"
    assert THUMBNAILS // 2 < len(names) <= THUMBNAILS
    assert names[1:] == sorted(names[1:])
    (tmp_path / "101.png").unlink()
    assert "101.png" not in [one.name for one in make_thumbnails(found)]


def test_more_findings_than_room_leave_no_room_for_others(tmp_path: Path) -> None:
    for number in range(THUMBNAILS + 5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number:03}.png")
    assert len(make_thumbnails(inspect_folder(tmp_path))) == THUMBNAILS
