"""`modc run`: the bundle of a build file on its data set, and a bundle on images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler import Runner
from compiler.cli.app import main
from tests.support.bundles import make_bundle
from tests.support.project import Project, make_project


def test_a_build_file_runs_on_all_of_its_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _compiled(tmp_path)  # samples 4 of 6 for calibration
    assert _modc("run", project.build_file) == 0
    results = tmp_path / "deploy" / "net_int8-result"
    assert f"6 image(s) on onnxruntime: results in {results}" in capsys.readouterr().out
    assert sorted(path.name for path in results.iterdir()) == [
        f"image_{index}.npz" for index in range(6)
    ]
    with Runner(results.with_name("net_int8")) as runner:
        expected = runner.run(tmp_path / "calib" / "image_3.png")["output"]
    with np.load(results / "image_3.npz") as arrays:
        assert arrays.files == ["output_0"]
        assert (arrays["output_0"].dtype, arrays["output_0"].shape) == (np.float32, (1, 1, 16, 16))
        np.testing.assert_allclose(arrays["output_0"], expected, atol=1e-6)


def test_results_of_an_earlier_run_go_and_other_files_stay(tmp_path: Path) -> None:
    project = _compiled(tmp_path)
    results = tmp_path / "deploy" / "net_int8-result"
    results.mkdir()
    for name in ("gone.npz", "notes.txt"):
        (results / name).write_text("earlier")
    assert _modc("run", project.build_file, "--quiet") == 0
    assert {path.name for path in results.iterdir()} == {
        "notes.txt",
        *(f"image_{index}.npz" for index in range(6)),
    }


def test_images_of_one_name_in_several_folders_are_numbered(tmp_path: Path) -> None:
    project = _compiled(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / "calib" / folder).mkdir()
        Image.new("RGB", (8, 8), "red" if folder == "a" else "blue").save(
            tmp_path / "calib" / folder / "image_0.png"
        )
    assert _modc("run", project.build_file, "--quiet") == 0
    results = tmp_path / "deploy" / "net_int8-result"
    with Runner(results.with_name("net_int8")) as runner:
        for name, image in {
            "image_0": "a/image_0.png",
            "image_0_2": "b/image_0.png",
            "image_0_3": "image_0.png",
        }.items():
            expected = runner.run(tmp_path / "calib" / image)["output"]
            with np.load(results / f"{name}.npz") as arrays:
                np.testing.assert_allclose(arrays["output_0"], expected, atol=1e-6)


def test_a_bad_image_is_named_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _compiled(tmp_path)
    (tmp_path / "calib" / "image_2.png").write_bytes(b"no image")
    assert _modc("run", project.build_file) == 4
    out, err = capsys.readouterr()
    assert "image_2.png" in err
    assert "5 of 6 image(s)" in out
    written = {path.name for path in (tmp_path / "deploy" / "net_int8-result").iterdir()}
    assert written == {f"image_{index}.npz" for index in (0, 1, 3, 4, 5)}


def test_a_bundle_goes_on_after_a_bad_image_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _compiled(tmp_path)
    (tmp_path / "calib" / "image_0.png").write_bytes(b"no image")
    prefix, out = tmp_path / "deploy" / "net_int8" / "mod", tmp_path / "out"
    options = ("--instances", "2", "--threads", "1", "--engine", "onnxruntime")
    assert _modc("run", "-m", prefix, tmp_path / "calib", "-o", out, *options) == 4
    assert "image_0.png" in capsys.readouterr().err
    assert {path.name for path in out.glob("*.npz")} == {
        f"image_{index}.npz" for index in range(1, 6)
    }
    assert (out / "image_1_overlay.png").exists()


def test_a_build_file_without_bundle_says_how_to_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_file = make_project(tmp_path).write()
    assert _modc("run", build_file) == 6
    assert f"modc compile {build_file}" in capsys.readouterr().err
    assert not (tmp_path / "deploy").exists()


def test_a_bundle_of_another_version_of_the_build_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _compiled(tmp_path)
    project.document["dataset"]["process_ops"][1]["size"] = [16, 8]
    assert _modc("run", project.write()) == 0
    assert "process_ops[1].size" in capsys.readouterr().err


def test_another_data_set_is_no_other_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _compiled(tmp_path)
    (tmp_path / "other").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "black.png")
    project.document["dataset"]["path"] = str(tmp_path / "other")
    assert _modc("run", project.write()) == 0
    assert "another version" not in capsys.readouterr().err


def test_arrays_are_run_too_and_a_wrong_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path)
    dataset = project.document["dataset"]
    del dataset["process_ops"]
    dataset["sampler"] = {"get_data_num": 2}
    for index, size in enumerate((16, 16, 16)):
        array = np.full((1, 3, size, size), index, np.float32)
        np.savez(tmp_path / "calib" / f"{index}.npz", input=array)
    assert _modc("compile", project.write(), "--quiet") == 0
    np.savez(tmp_path / "calib" / "0.npz", input=np.zeros((1, 3, 8, 8), np.float32))
    capsys.readouterr()
    assert _modc("run", project.build_file) == 4
    assert "0.npz" in capsys.readouterr().err
    results = tmp_path / "deploy" / "net_int8-result"
    assert {path.name for path in results.iterdir()} == {"1.npz", "2.npz"}


def test_overrides_find_the_bundle_that_they_built(tmp_path: Path) -> None:
    project = _compiled(tmp_path)
    assert _modc("compile", project.build_file, "--dtype", "fp16", "--quiet") == 0
    assert _modc("run", project.build_file, "--dtype", "fp16", "--quiet") == 0
    assert len(list((tmp_path / "deploy" / "net_fp16-result").iterdir())) == 6


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.yaml", "-m", "bundle"], "both a bundle (-m bundle) and a build file (a.yaml)"),
        (["a.yaml", "-o", "out"], "go beside its bundle"),
        (["a.yaml", "b.yml"], "2 files given in place of one build file"),
        (["a.yaml", "b.png"], "2 files given in place of one build file"),
        (["a.png", "-o", "out"], "no bundle (-m) and no build file (.yaml) given"),
        (["a.png", "-m", "bundle"], "-o"),
        (["a.png", "-m", "bundle", "-o", "out", "--dtype", "fp16"], "for build files"),
    ],
)
def test_mixtures_of_the_two_forms_are_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("run", *arguments) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert "modc run BUILD.yaml" in err


def _compiled(folder: Path) -> Project:
    project = make_project(folder)
    assert _modc("compile", project.write(), "--quiet") == 0
    return project


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def test_a_provider_takes_options_and_a_wrong_one_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_bundle(tmp_path)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    arguments = ["run", "-m", str(folder), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    assert _modc(*arguments, "--provider", "CPU") == 0
    assert _modc(*arguments, "--provider", "CPU:device_id") == 2
    assert "write NAME, or NAME:key=value" in capsys.readouterr().err
    assert _modc(*arguments, "--provider", "Abacus:beads=10") == 7
