from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration.histogram import Histogram
from compiler.pipeline.stored_arrays import (
    load_arrays,
    load_histograms,
    save_arrays,
    save_histograms,
)

NAMES = ["conv/1:0", "names", "0", "", "ends with NUL\0", "图", "\ud800", "a\nb", "../up"]


def _histograms() -> dict[str, Histogram]:
    random = np.random.default_rng(0)
    made = {}
    for number, name in enumerate(NAMES):
        made[name] = Histogram()
        made[name].add(random.normal(size=1000 * number).astype(np.float32))
    made[NAMES[3]].add(np.array([np.nan, 0.0], np.float32))
    return made


def test_histograms_come_back_bit_for_bit(tmp_path: Path) -> None:
    before = _histograms()
    save_histograms(before, tmp_path / "h.npz")
    after = load_histograms(tmp_path / "h.npz")
    assert list(after) == NAMES
    for name, histogram in after.items():
        for part, values in histogram.to_arrays().items():
            expected = before[name].to_arrays()[part]
            assert values.dtype == expected.dtype
            np.testing.assert_array_equal(values, expected)


def test_histograms_that_came_back_go_on_counting(tmp_path: Path) -> None:
    once = _histograms()
    save_histograms(once, tmp_path / "h.npz")
    values = np.linspace(-100, 100, 777, dtype=np.float32)
    for name, histogram in load_histograms(tmp_path / "h.npz").items():
        histogram.add(values)
        once[name].add(values)
        np.testing.assert_array_equal(histogram.counts, once[name].counts)


def test_histograms_take_little_room(tmp_path: Path) -> None:
    save_histograms(_histograms(), tmp_path / "h")
    assert (tmp_path / "h").stat().st_size < len(NAMES) * 8192 * 8 / 10


@given(
    arrays=st.dictionaries(
        st.text() | st.sampled_from(NAMES),
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0))
        ),
        max_size=5,
    )
)
def test_arrays_come_back_as_they_were(
    arrays: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "any name"
    save_arrays(arrays, path)
    found = load_arrays(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_nothing_is_stored_and_read_as_nothing(tmp_path: Path) -> None:
    save_histograms({}, tmp_path / "h")
    save_arrays({}, tmp_path / "a")
    assert load_histograms(tmp_path / "h") == {}
    assert load_arrays(tmp_path / "a") == {}


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_histograms(_histograms(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_no_number_is_neither_stored_nor_read(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, None], object)
    for values in (objects, np.zeros(2, ml_dtypes.bfloat16), np.array(["text"])):
        with pytest.raises(ValueError, match="'x' has element type"):
            save_arrays({"x": values}, tmp_path / "a")
    names = np.frombuffer(b'["x"]', np.uint8)
    evil: dict[str, Any] = {"names": names, "0": objects}
    np.savez(tmp_path / "evil.npz", **evil)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_arrays(tmp_path / "evil.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(content)
    for load in (load_arrays, load_histograms):
        with pytest.raises(ValueError, match="other"):
            load(tmp_path / "other")


def test_archives_of_something_else_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    for load in (load_arrays, load_histograms):
        with pytest.raises(ValueError, match="no list of names"):
            load(tmp_path / "a.npz")
    save_arrays({"x": np.zeros(3)}, tmp_path / "b")
    with pytest.raises(ValueError, match="histograms than names"):
        load_histograms(tmp_path / "b")
    save_histograms(_histograms(), tmp_path / "c")
    with pytest.raises(ValueError, match="arrays than names"):
        load_arrays(tmp_path / "c")
