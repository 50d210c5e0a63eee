"""`modc npz`: what image2npz.py does."""

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from compiler.cli.app import main
from compiler.compat.npz import npz_name, write_npz
from compiler.errors import CalibrationError


def write_images(folder: Path, names: list[str]) -> list[Path]:
    """Noise in different sizes."""
    random = np.random.default_rng(0)
    files = []
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (11 + index, 17, 3), np.uint8)).save(path)
        files.append(path)
    return files


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _npz(folder: Path, *more: str) -> int:
    return _modc(
        "npz",
        "--dataset_path",
        folder / "images",
        "--target_path",
        folder / "npz",
        "--text_path",
        folder / "npz_datalist.txt",
        *more,
    )


def test_planes_are_rgb_at_the_images_own_size_and_the_list_is_sorted_and_absolute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_images(tmp_path / "images", ["b.png", "a.jpg", "c.JPEG", "d.bmp"])
    assert _npz(tmp_path) == 0
    assert "4 npz in" in capsys.readouterr().out
    lines = (tmp_path / "npz_datalist.txt").read_text()
    assert lines == "".join(f"{tmp_path}/npz/{name}.npz\n" for name in "abcd")
    for file in files:
        with np.load(tmp_path / "npz" / f"{file.stem}.npz") as arrays:
            assert arrays.files == ["input_0"]
            blue_first = cv2.imread(str(file))
            assert blue_first is not None
            expected = blue_first[:, :, ::-1].transpose(2, 0, 1)
            assert arrays["input_0"].dtype == np.uint8
            assert arrays["input_0"].flags.c_contiguous
            np.testing.assert_array_equal(arrays["input_0"], expected)


def test_relative_paths_as_the_instructions_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", ["a.png"])
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    assert (
        _modc(
            *("npz", "--dataset_path", "../images", "--target_path", "../npz"),
            *("--text_path", "npz_datalist.txt", "--quiet"),
        )
        == 0
    )
    (line,) = Path("npz_datalist.txt").read_text().splitlines()
    assert Path(line).is_absolute()
    assert Path(line).samefile(tmp_path / "npz" / "a.npz")


def test_the_last_folder_level_stays(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["val/ulm/1.png", "val/bonn/1.png", "2.png"])
    assert _npz(tmp_path) == 0
    lines = (tmp_path / "npz_datalist.txt").read_text().splitlines()
    assert [str(Path(line).relative_to(tmp_path / "npz")) for line in lines] == [
        "2.npz",
        "bonn/1.npz",
        "ulm/1.npz",
    ]
    assert npz_name(Path("d/a/b/c.x.png"), Path("d")) == Path("b/c.x.npz")


def test_labels_beside_the_images_can_be_left_out(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["a.png", "a_matte.png", "b.jpg", "b_matte.png"])
    assert _npz(tmp_path, "--skip", "*_matte.png") == 0
    assert [path.name for path in sorted((tmp_path / "npz").iterdir())] == ["a.npz", "b.npz"]
    assert _npz(tmp_path, "--suffix", ".jpg") == 0
    assert (tmp_path / "npz_datalist.txt").read_text() == f"{tmp_path}/npz/b.npz\n"


def test_gray_is_one_plane(tmp_path: Path) -> None:
    (file,) = write_images(tmp_path / "images", ["a.png"])
    assert _npz(tmp_path, "--gray") == 0
    with np.load(tmp_path / "npz" / "a.npz") as arrays:
        expected = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert expected is not None
        np.testing.assert_array_equal(arrays["input_0"], expected[None])


def test_unreadable_images_are_named_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "images", ["a.png", "c.png"])
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    (tmp_path / "images" / "d.jpg").write_bytes(b"")
    assert _npz(tmp_path) == 4
    err = capsys.readouterr().err
    assert "b.png: not an image in a known format" in err
    assert "d.jpg: image file is empty" in err
    assert "2 of 4 images cannot be read" in err
    lines = (tmp_path / "npz_datalist.txt").read_text().splitlines()
    assert [Path(line).stem for line in lines] == ["a", "c"]


def test_two_images_for_one_npz_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ["a.jpg", "a.png"])
    with pytest.raises(CalibrationError, match=r"a\.jpg and .*a\.png would both become a\.npz"):
        write_npz(images, tmp_path / "images", tmp_path / "npz", tmp_path / "list.txt")
    assert not (tmp_path / "npz").exists()


def test_a_list_of_images_may_name_any_folder(tmp_path: Path) -> None:
    (image,) = write_images(tmp_path / "elsewhere", ["cats/a.png"])
    (tmp_path / "lists").mkdir()
    text = tmp_path / "lists" / "images.txt"
    text.write_text(f"{image}\n")
    target, written = tmp_path / "npz", tmp_path / "list.txt"
    paths = ("--dataset_path", text, "--target_path", target, "--text_path", written)
    assert _modc("npz", *paths) == 0
    assert written.read_text() == f"{target}/cats/a.npz\n"


def test_a_name_with_a_line_break_does_not_fit_into_the_list(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", ["a\nb.png"])
    with pytest.raises(CalibrationError, match="does not fit into a line of the list"):
        write_npz(images, tmp_path / "images", tmp_path / "npz", tmp_path / "list.txt")


def test_patterns_that_leave_out_every_image_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "images", ["a.png", "b.png"])
    assert _npz(tmp_path, "--skip", "*.png") == 4
    assert "--skip leaves out all 2 images" in capsys.readouterr().err


def test_a_full_disk_leaves_no_part_of_an_npz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", ["a.png"])

    def full(file: Path, **_: object) -> None:
        file.write_bytes(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CalibrationError, match="No space left on device"):
        write_npz(images, tmp_path / "images", tmp_path / "npz", tmp_path / "list.txt")
    assert list((tmp_path / "npz").iterdir()) == []


def test_no_image_and_no_place_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    assert _npz(tmp_path) == 4
    assert "fix: correct --dataset_path, --suffix" in capsys.readouterr().err
    write_images(tmp_path / "images", ["a.png"])
    (tmp_path / "npz").write_text("a file")
    assert _npz(tmp_path) == 4
    assert "cannot be written" in capsys.readouterr().err
