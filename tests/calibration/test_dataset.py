"""Which calibration files are chosen, and what may be in them."""

import errno
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike, NDArray

from calibration.dataset import (
    ArraySample,
    DatasetError,
    Sample,
    find_files,
    find_samples,
    first_samples,
    load_arrays,
)

Inputs = Mapping[str, tuple[Sequence[int], DTypeLike]]

IMAGES = [f"{folder}{number:03}.jpg" for folder in ("", "a/", "a/b/") for number in range(20)]
X: Inputs = {"x": ((1, 2), np.float32)}
XY: Inputs = {"x": ((1, 2), np.float32), "y": ((2,), np.int64)}


def touch(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def names(samples: Sequence[Sample]) -> list[str]:
    return [sample.name for sample in samples]


def found(root: Path, suffix: str | None = None, count: int = 99, **options: Any) -> list[str]:
    return names(find_samples(root, suffix=suffix, count=count, **options))


# --- the choice -------------------------------------------------------------------------------


def test_the_order_in_which_files_were_made_plays_no_part(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(IMAGES).tolist()
    first = touch(tmp_path / "first", IMAGES)
    second = touch(tmp_path / "second", shuffled)
    assert found(first, count=10) == found(second, count=10)


def test_the_order_in_which_the_file_system_lists_plays_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = found(touch(tmp_path, IMAGES), count=10)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(sorted(listed(self))))
    assert found(tmp_path, count=10) == expected


def test_the_choice_is_the_same_on_every_machine(tmp_path: Path) -> None:
    ranked = sorted(IMAGES, key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest())
    assert found(touch(tmp_path, IMAGES), count=4) == sorted(ranked[:4])
    assert sorted(ranked[:4]) == ["010.jpg", "a/007.jpg", "a/012.jpg", "a/018.jpg"]


def test_another_seed_chooses_others_and_the_same_seed_the_same(tmp_path: Path) -> None:
    touch(tmp_path, IMAGES)
    choices = [found(tmp_path, count=10, seed=seed) for seed in (0, 1, 2, 1)]
    assert choices[1] == choices[3]
    assert len({tuple(choice) for choice in choices}) == 3


@pytest.mark.parametrize("seed", [0, 7])
def test_more_samples_contain_the_fewer(tmp_path: Path, seed: int) -> None:
    touch(tmp_path, IMAGES)
    choices = [set(found(tmp_path, count=count, seed=seed)) for count in range(1, 62)]
    assert [len(choice) for choice in choices] == [*range(1, 61), 60]
    assert all(fewer <= more for fewer, more in itertools.pairwise(choices))


def test_one_more_file_displaces_at_most_one(tmp_path: Path) -> None:
    touch(tmp_path, IMAGES)
    before = set(found(tmp_path, count=10))
    for number in range(20):
        touch(tmp_path, [f"new {number}.jpg"])
        after = set(found(tmp_path, count=10))
        assert len(before - after) <= 1
        before = after


def test_all_files_come_sorted_by_name_when_fewer_exist(tmp_path: Path) -> None:
    assert found(touch(tmp_path, IMAGES), count=1000) == sorted(IMAGES)


def test_a_sample_tells_its_place_and_the_hash_of_its_content(tmp_path: Path) -> None:
    content = b"x" * (3 << 19)  # one block and a half
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    expected = Sample(path=tmp_path / "a" / "b.png", name="a/b.png", sha256=digest)
    assert find_samples(tmp_path, suffix="png", count=1) == (expected,)


# --- what counts as a sample ------------------------------------------------------------------

MIXED = ["a.JPEG", "b.jpeg", "c.jpg", "d.Png", "e.npz", "f.NPY", "g.txt", "h", "i.tiff", "j.gif"]


@pytest.mark.parametrize(
    ("suffix", "arrays", "expected"),
    [
        ("jpeg", False, ["a.JPEG", "b.jpeg"]),
        ("JPEG", False, ["a.JPEG", "b.jpeg"]),
        (".jpeg", False, ["a.JPEG", "b.jpeg"]),
        ("png", False, ["d.Png"]),
        (None, False, ["a.JPEG", "b.jpeg", "c.jpg", "d.Png", "i.tiff"]),
        (None, True, ["e.npz", "f.NPY"]),
        ("NPZ", True, ["e.npz"]),
        ("gif", False, ["j.gif"]),
        ("", False, ["a.JPEG", "b.jpeg", "c.jpg", "d.Png", "i.tiff"]),
    ],
)
def test_suffixes_match_in_either_case_with_or_without_the_dot(
    tmp_path: Path, suffix: str | None, arrays: bool, expected: list[str]
) -> None:
    assert found(touch(tmp_path, MIXED), suffix, arrays=arrays) == expected


def test_all_files_to_choose_from_come_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.npz", "deep/d.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.jpg", "b.png", "deep/d.bmp"]
    assert find_files(tmp_path, suffix=None) == tuple(tmp_path / name for name in names)
    assert find_files(tmp_path, suffix=None, arrays=True) == (tmp_path / "c.npz",)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    assert found(touch(tmp_path, ["a.jpg", "._a.jpg", ".cache/b.jpg", "c/.d.jpg"])) == ["a.jpg"]


def test_a_folder_with_a_suffix_like_an_image_is_a_folder(tmp_path: Path) -> None:
    assert found(touch(tmp_path, ["a.jpg/b.jpg"])) == ["a.jpg/b.jpg"]


def test_links_that_lead_in_a_circle_or_nowhere_end(tmp_path: Path) -> None:
    touch(tmp_path, ["m/a.jpg"])
    (tmp_path / "m" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert found(tmp_path) == ["m/a.jpg"]


def test_a_folder_that_is_linked_twice_is_entered_under_its_first_name(tmp_path: Path) -> None:
    touch(tmp_path, ["m/a.jpg"])
    (tmp_path / "b").symlink_to(tmp_path / "m", target_is_directory=True)
    (tmp_path / "z").symlink_to(tmp_path / "m", target_is_directory=True)
    assert found(tmp_path) == ["b/a.jpg"]


def test_a_linked_file_is_a_sample_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, ["a.jpg"])
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert found(tmp_path) == ["a.jpg", "b.jpg"]


# --- lists ------------------------------------------------------------------------------------


def test_a_list_names_files_relative_to_itself(tmp_path: Path) -> None:
    touch(tmp_path, ["images/b.jpg", "images/a.jpg", "images/c.jpg", "d.png", "e.npz"])
    absolute = tmp_path / "d.png"
    lines = ["\ufeff# chosen", "", "images/b.jpg", "  images/a.jpg \r", "./images/b.jpg"]
    text = "\n".join([*lines, str(absolute), "e.npz"])
    (tmp_path / "list.TXT").write_text(text, encoding="utf-8")
    samples = find_samples(tmp_path / "list.TXT", suffix=None, count=9)
    assert names(samples) == sorted(["images/a.jpg", "images/b.jpg", absolute.as_posix()])
    assert all(sample.path.is_file() for sample in samples)
    assert found(tmp_path / "list.TXT", arrays=True) == ["e.npz"]


def test_a_list_of_all_files_chooses_as_the_folder_does(tmp_path: Path) -> None:
    touch(tmp_path, IMAGES)
    (tmp_path / "list.txt").write_text("\n".join(reversed(IMAGES)))
    assert found(tmp_path / "list.txt", count=10) == found(tmp_path, count=10)


# --- mistakes ---------------------------------------------------------------------------------


def refusal(path: Path, suffix: str | None = None, **options: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        find_samples(path, **{"suffix": suffix, "count": 5, **options})
    error = caught.value
    assert str(error) == f"{error.where}: {error.what}; {error.fix}"
    return error


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_sample_cannot_be_asked_for(tmp_path: Path, count: int) -> None:
    error = refusal(touch(tmp_path, IMAGES), count=count)
    assert error.what == f"{count} samples asked; must be 1 or more"
    assert error.where == str(tmp_path)
    assert "dataset.sampler.get_data_num" in error.fix


def test_a_suffix_that_nothing_has_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    error = refusal(touch(tmp_path, ["a.JPEG", "b/c.jpeg", "d.png", "README"]), "jpg")
    assert error.what == "no file ends in jpg; found: (no suffix) (1), .jpeg (2), .png (1)"
    assert error.where == str(tmp_path)
    assert "dataset.sampler.suffix" in error.fix


def test_a_folder_without_any_images_says_what_was_looked_for(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.what == (
        "no file ends in .jpg or .jpeg or .png or .bmp or .tif or .tiff or .webp or .pgm; "
        "found: no files at all"
    )
    assert "no file ends in .npz or .npy;" in refusal(tmp_path, arrays=True).what


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none")
    assert error.what == "cannot be read: no such file or folder"
    assert error.where == str(tmp_path / "none")
    assert error.fix == "set dataset.path to the calibration data"


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.txt")
    assert error.what == "cannot be read: No such file or directory"
    assert error.where == str(tmp_path / "none.txt")


def test_one_file_is_not_a_folder(tmp_path: Path) -> None:
    error = refusal(touch(tmp_path, ["a.jpg"]) / "a.jpg")
    assert error.what == "is one file, not a folder"
    assert ".txt file with one path per line" in error.fix


def test_a_line_that_is_no_file_is_refused_with_its_number(tmp_path: Path) -> None:
    touch(tmp_path, ["a.jpg"])
    (tmp_path / "list.txt").write_text("# head\na.jpg\nb.jpg\n")
    error = refusal(tmp_path / "list.txt")
    assert error.what == "'b.jpg' is not a file"
    assert error.where == f"{tmp_path / 'list.txt'}:3"
    assert "relative to the list's folder" in error.fix


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00a")
    error = refusal(tmp_path / "list.txt")
    assert error.what == "list is not text: invalid start byte"
    assert error.fix == "write one path per line, in UTF-8"


def denied(self: Path, *_: Any) -> Any:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))


@pytest.mark.parametrize(
    ("method", "name"), [("iterdir", "."), ("open", "a.jpg")], ids=["folder", "file"]
)
def test_a_file_or_folder_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, name: str
) -> None:
    touch(tmp_path, ["a.jpg"])
    monkeypatch.setattr(Path, method, denied)
    error = refusal(tmp_path)
    assert error.what == "cannot be read: Permission denied"
    assert error.where == str(tmp_path / name)


# --- arrays -----------------------------------------------------------------------------------


def saved(path: Path, **arrays: ArrayLike) -> Path:
    named: dict[str, Any] = arrays  # numpy's stub takes any keyword for allow_pickle
    np.savez(path, **named)
    return path


def assert_arrays(sample: ArraySample, expected: Mapping[str, NDArray[Any]]) -> None:
    assert list(sample.arrays) == list(expected)
    for name, array in expected.items():
        assert sample.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(sample.arrays[name], array)


ONES, PAIR = np.ones((1, 2), np.float32), np.array([3, 4], np.int64)


def test_arrays_are_taken_by_name_whatever_else_is_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", y=PAIR, extra=[1], x=ONES)
    sample = load_arrays(path, XY)
    assert_arrays(sample, {"x": ONES, "y": PAIR})
    assert sample.note is None


def test_positional_names_decide_over_the_order_in_the_file(tmp_path: Path) -> None:
    sample = load_arrays(saved(tmp_path / "a.npz", input_1=PAIR, input_0=ONES), XY)
    assert_arrays(sample, {"x": ONES, "y": PAIR})
    assert sample.note == (
        "arrays have other names than the inputs and were matched by order: "
        "x from input_0, y from input_1"
    )


def test_foreign_names_are_matched_by_the_order_in_the_file(tmp_path: Path) -> None:
    sample = load_arrays(saved(tmp_path / "a.npz", q=ONES, b=PAIR), XY)
    assert_arrays(sample, {"x": ONES, "y": PAIR})
    assert sample.note is not None
    assert sample.note.endswith("x from q, y from b")


def test_a_npy_file_is_the_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONES.astype(np.float64))
    sample = load_arrays(tmp_path / "a.npy", X)
    assert_arrays(sample, {"x": ONES})
    assert sample.note is None


def test_an_input_without_dimensions_can_be_fed(tmp_path: Path) -> None:
    sample = load_arrays(saved(tmp_path / "a.npz", n=np.int32(7)), {"n": ((), np.int64)})
    assert_arrays(sample, {"n": np.array(7, np.int64)})


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([1, 2], np.int32), np.int64),
        (np.array([1.0, -2.0], np.float32), np.int64),
        (np.array([True, False]), np.float32),
        (np.array([0, 1], np.uint8), np.bool_),
        (np.array([0, 255]), np.uint8),
        (np.array([1.5, 2.5], ">f8"), np.float32),
        (np.array([np.nan, np.inf]), np.float32),
        (np.array([2**62, 3]), np.float32),
        (np.array([0.1, 65504.0]), np.float16),
    ],
)
def test_values_are_cast_when_the_type_can_hold_them(
    tmp_path: Path, values: NDArray[Any], wanted: DTypeLike
) -> None:
    sample = load_arrays(saved(tmp_path / "a.npz", x=values), {"x": ((2,), wanted)})
    assert_arrays(sample, {"x": values.astype(wanted)})


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        ([1.5, 2.0], np.int64, "'x' holds float64 values that int64 cannot hold"),
        ([np.nan, 2.0], np.int64, "'x' holds float64 values that int64 cannot hold"),
        ([256, 0], np.uint8, "'x' holds int64 values that uint8 cannot hold"),
        ([-1, 0], np.uint64, "'x' holds int64 values that uint64 cannot hold"),
        ([2, 0], np.bool_, "'x' holds int64 values that bool cannot hold"),
        ([1e39, 0.0], np.float32, "'x' holds float64 values that float32 cannot hold"),
        ([1j, 0.0], np.float32, "'x' holds complex128 values that float32 cannot hold"),
        (["a", "b"], np.float32, "'x' holds <U1 values that float32 cannot hold"),
    ],
)
def test_values_that_a_cast_would_change_are_refused(
    tmp_path: Path, values: ArrayLike, wanted: DTypeLike, message: str
) -> None:
    path = saved(tmp_path / "a.npz", x=values)
    with pytest.raises(DatasetError) as caught:
        load_arrays(path, {"x": ((2,), wanted)})
    assert caught.value.what == message
    assert caught.value.where == str(path)
    assert caught.value.fix == f"write it as {np.dtype(wanted)}"


@given(st.lists(st.floats(-300, 300, width=16), min_size=1, max_size=8))
@settings(deadline=None)
def test_a_cast_to_int8_is_allowed_exactly_for_its_integers(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = saved(tmp_path_factory.getbasetemp() / "int8.npz", x=values)
    inputs: Inputs = {"x": ((len(values),), np.int8)}
    if all(value in range(-128, 128) for value in values):
        assert load_arrays(path, inputs).arrays["x"].tolist() == values
    else:
        with pytest.raises(DatasetError, match="int8 cannot hold"):
            load_arrays(path, inputs)


def array_refusal(path: Path, inputs: Inputs) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        load_arrays(path, inputs)
    assert caught.value.where == str(path)
    return caught.value


def test_another_shape_is_refused_and_nothing_is_reshaped(tmp_path: Path) -> None:
    error = array_refusal(saved(tmp_path / "a.npz", x=[1.0, 2.0]), X)
    assert error.what == (
        "'x' has shape [2], the network's input [1, 2]; "
        "as many elements, but nothing is reshaped in silence"
    )
    error = array_refusal(saved(tmp_path / "b.npz", x=[[1.0, 2.0, 3.0]]), X)
    assert error.what == "'x' has shape [1, 3], the network's input [1, 2]"
    assert "batch dimension included" in error.fix


@pytest.mark.parametrize("stored", [{"x": ONES}, {"x": ONES, "z": PAIR}, {"z": PAIR}, {}])
def test_arrays_that_are_no_match_for_the_inputs_are_listed(
    tmp_path: Path, stored: dict[str, NDArray[Any]]
) -> None:
    error = array_refusal(saved(tmp_path / "a.npz", **stored), XY)
    assert error.what == f"holds the arrays {list(stored)}; the network's inputs are ['x', 'y']"
    assert error.fix == "name the arrays as the inputs"


def test_one_npy_array_does_not_feed_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONES)
    assert "holds the arrays ['unnamed']" in array_refusal(tmp_path / "a.npy", XY).what


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """One damaged value: the last byte of the array, in front of the archive's directory."""
    at = data.index(b"PK\x01\x02") - 1
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "File is not a zip file"),
        (flip, "Bad CRC-32"),
        (lambda _: b"", "No data left in file"),
        (lambda _: b"just text", "pickled"),
        (lambda _: b"PK\x03\x04", "File is not a zip file"),
    ],
)
def test_a_damaged_archive_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = saved(tmp_path / "a.npz", x=ONES)
    path.write_bytes(damage(path.read_bytes()))
    error = array_refusal(path, X)
    assert error.what.startswith("not a readable .npz or .npy file: ")
    assert re.search(reason, error.what)
    assert "numpy.savez" in error.fix


def test_a_truncated_npy_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONES)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    assert "Failed to read all data" in array_refusal(tmp_path / "a.npy", X).what


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=np.array([{}], object))
    assert "Object arrays cannot be loaded" in array_refusal(path, X).what


def test_a_missing_array_file_is_refused(tmp_path: Path) -> None:
    error = array_refusal(tmp_path / "none.npz", X)
    assert error.what == "cannot be read: No such file or directory"
    assert error.fix == "check the path and its permissions"


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"broken\xff.jpg")).write_bytes(b"")
    with pytest.raises(DatasetError, match="is not UTF-8"):
        find_samples(tmp_path, suffix="jpg", count=1)


def test_the_first_of_many_samples_are_those_of_a_smaller_choice(tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"{index}.jpg").write_bytes(b"x")
    for seed in range(5):
        many = find_samples(tmp_path, suffix=None, count=9, seed=seed)
        few = find_samples(tmp_path, suffix=None, count=4, seed=seed)
        assert first_samples(many, 4, seed=seed) == few
        assert first_samples(few, 20, seed=seed) == few
