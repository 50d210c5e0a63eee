"""`modc calib` as users type it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.cli.app import main
from tests.support.project import Project, make_project


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    project.write()
    return project


@pytest.fixture
def spoilt(project: Project) -> Project:
    calib = project.folder / "calib"
    for image in calib.iterdir():
        image.write_bytes(b"torn")
    Image.new("RGB", (20, 20)).save(calib / "image_0.png")
    Image.fromarray(np.full((20, 20, 3), 252, np.uint8)).save(calib / "image_1.png")
    pixels = np.random.default_rng(0).integers(0, 40, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(calib / "[b]dark.png")
    return project


def test_tables_and_a_verdict_are_printed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", project.build_file, "--limit", "2") == 0
    out, err = capsys.readouterr()
    for words in (
        *("files that can be used", "2 more", "received by the network, RGB"),
        *("kl_divergence (chosen)", "times the next", "in another sample"),
        "net_int8: 4 of 6 files, 4 can be used; ",
    ):
        assert words in out
    assert "observe 4/4" in err.splitlines()


def test_faults_are_listed_and_fail_only_if_asked(
    spoilt: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    calib = spoilt.folder / "calib"
    assert _modc("calib", "inspect", calib) == 0
    out = capsys.readouterr().out
    for words in (
        *("image_2.png: not an image in a known format", "image_0.png is of one colour"),
        *("[b]dark.png is under-exposed", "remark"),
        "calib: 7 of 7 files, 3 can be used; 6 faults, 1 remark",
    ):
        assert words in out
    assert _modc("calib", "inspect", calib, "--limit", "2", "--strict") == 4
    assert "5 more; --limit 0 lists all" in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(
    spoilt: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", spoilt.build_file, "--json", "--no-network", "--strict") == 4
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert err == ""
    assert facts["faults"] == sum(one["fault"] for one in facts["findings"])
    assert facts["looked_at"] == facts["usable"] + len(facts["unusable"]) == 4
    assert facts["watched"] is None


def test_quiet_prints_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("calib", "inspect", project.build_file, "--no-network", "--quiet") == 0
    assert _modc("calib", "dump", project.build_file, "-o", project.folder / "x", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_notes_go_to_standard_error(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    del project.document["dataset"]["process_ops"][-1]
    assert _modc("calib", "inspect", project.write(), "--no-network") == 0
    assert "note: process_ops has no ToTensor" in capsys.readouterr().err


def test_a_page_holds_everything_that_it_shows(spoilt: Project, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert _modc("calib", "inspect", spoilt.folder / "calib", "--html", page, "--quiet") == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 3
    assert "<code>" in text
    assert "https://" not in text
    assert "No content" in text


@pytest.mark.parametrize("target", ["folder", "calib/image_0.png/page.html"])
def test_a_page_that_cannot_be_written_is_a_mistake(
    project: Project, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "folder").mkdir()
    arguments = ("calib", "inspect", project.folder / "calib", "--html", project.folder / target)
    assert _modc(*arguments) == 2
    err = capsys.readouterr().err
    assert "cannot be written" in err
    assert "files" not in err, "it is noticed before the work"


def test_a_page_in_a_locked_folder_is_refused_before_the_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = project.folder / "locked"  # as it is to anybody but root
    monkeypatch.setattr("compiler.cli.calib.os.access", lambda path, mode: path != locked)
    assert _modc("calib", "inspect", project.folder / "calib", "--html", locked / "page.html") == 2
    assert "cannot be written: Permission denied" in capsys.readouterr().err


def test_the_folder_of_a_page_is_made_and_the_page_is_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project.folder / "new" / "page.html"
    assert _modc("calib", "inspect", project.folder / "calib", "--html", page) == 0
    assert page.is_file()
    assert f"wrote {page}" in capsys.readouterr().out.splitlines()


def test_what_is_neither_build_file_nor_folder_is_told_as_such(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", project.folder / "nowhere") == 2
    assert "neither a build file nor a folder" in capsys.readouterr().err
    assert _modc("calib", "inspect", project.folder / "biuld.yaml") == 2
    assert "file not found" in capsys.readouterr().err


def test_overrides_are_for_build_files(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    one = "--set=dataset.sampler.get_data_num=1"
    assert _modc("calib", "inspect", project.build_file, "--no-network", "--json", one) == 0
    assert json.loads(capsys.readouterr().out)["looked_at"] == 1
    assert _modc("calib", "inspect", project.folder / "calib", one) == 2
    assert "--set needs a build file" in capsys.readouterr().err


def test_a_folder_without_images_has_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("calib", "inspect", tmp_path) == 4
    assert "no file ends in" in capsys.readouterr().err


def test_a_dump_says_what_it_wrote(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    seen = project.folder / "seen"
    assert _modc("calib", "dump", project.build_file, "-o", seen, "--npz") == 0
    assert f"{seen}: 4 pictures, 4 files of arrays" in capsys.readouterr().out
    assert len([*seen.glob("*.png"), *seen.glob("*.npz")]) == 8
    assert _modc("calib", "dump", project.build_file, "-o", seen) == 4
    assert "the folder is not empty" in capsys.readouterr().err


def test_a_dump_tells_of_skipped_files_and_stretched_pictures(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    own = project.folder / "own.py"
    own.write_text(
        "import numpy as np\n"
        "def load(path):\n"
        "    if path.endswith('0.png'):\n"
        "        raise ValueError('no zero')\n"
        "    return np.random.default_rng(0).random((1, 3, 16, 16), np.float32)\n"
    )
    project.document["dataset"] |= {
        "process_ops": [{"type": "CustomFunc", "module_path": str(own), "func_name": "load"}],
        "on_error": "skip",
        "sampler": {"get_data_num": 6},
    }
    arguments = ("calib", "dump", project.write(), "--allow-custom-code")
    assert _modc(*arguments, "-o", project.folder / "a") == 0
    err = capsys.readouterr().err
    assert "warning: image_0.png cannot be used and was left out" in err
    assert "note: 5 pictures are stretched" in err
    assert _modc(*arguments, "-o", project.folder / "b", "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    facts = json.loads(out)
    assert (facts["pictures"], facts["stretched"], facts["arrays"]) == (5, 5, 0)
    assert facts["skipped"] == ["image_0.png"]
