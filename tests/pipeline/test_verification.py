"""Samples to compare on, what the original network makes of them, and the comparison."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from calibration.dataset import Sample
from compiler.pipeline.cache import StageCache
from compiler.pipeline.clock import Clock
from compiler.pipeline.samples import Feeds, Input, Samples
from compiler.pipeline.stages import Source
from compiler.pipeline.verification import (
    RANDOM_SAMPLES,
    find_reference,
    verification_samples,
    verify_network,
)
from tests.support.models import run
from tests.support.project import two_convolutions

INPUTS = (Input("input", (1, 3, 16, 16), np.dtype(np.float32)),)


def _image(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).random((1, 3, 16, 16), np.float32)


def _samples(*, held_out: int) -> Samples:
    def load(path: Path) -> Feeds:
        return {"input": _image(int(path.stem))}

    files = tuple(Sample(Path(f"{n}.png"), f"{n}.png", "") for n in range(8))
    return Samples(files[: 8 - held_out], files[8 - held_out :], load)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(two_convolutions(), path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(StageCache(tmp_path / "cache"), {"model": "net"}, "net")


def test_files_that_calibration_did_not_see_come_first() -> None:
    found = verification_samples(_samples(held_out=3), None, INPUTS, 2)
    assert (found.origin, found.names) == ("held-out samples", ["5.png", "6.png"])
    np.testing.assert_array_equal(found.feeds[1]["input"], _image(6))
    assert len(found.feeds) == 2


def test_calibration_files_have_to_do_where_there_are_no_others() -> None:
    found = verification_samples(_samples(held_out=0), None, INPUTS, 3)
    assert found.origin == "calibration samples"
    np.testing.assert_array_equal(found.feeds[2]["input"], _image(2))
    assert len(found.feeds) == 3


def test_random_inputs_are_the_same_every_time() -> None:
    found = verification_samples(None, None, INPUTS, 8)
    again = verification_samples(None, None, INPUTS, 8)
    assert (found.origin, found.names) == ("random inputs", ())
    assert len(found.feeds) == RANDOM_SAMPLES
    for one, other in zip(found.feeds, again.feeds, strict=True):
        np.testing.assert_array_equal(one["input"], other["input"])


def test_the_reference_is_what_the_network_computes(original: Path, source: Source) -> None:
    feeds = [{"input": _image(n)} for n in range(2)]
    told: list[tuple[str, int, int]] = []
    clock = Clock(lambda *step: told.append(step))
    first = find_reference(original, feeds, None, source, clock)
    for outputs, one in zip(first.outputs, feeds, strict=True):
        expected = run(two_convolutions(), one)[0]
        np.testing.assert_allclose(outputs["output"], expected, rtol=1e-5, atol=1e-5)
    assert told == [("reference", 0, 2), ("reference", 1, 2), ("reference", 2, 2)]


def test_a_stored_reference_needs_no_network(original: Path, source: Source) -> None:
    feeds = [{"input": _image(n)} for n in range(2)]
    first = find_reference(original, feeds, None, source, Clock(None))
    original.unlink()
    second = find_reference(original, feeds, None, source, Clock(None))
    for one, other in zip(first.outputs, second.outputs, strict=True):
        np.testing.assert_array_equal(one["output"], other["output"])
    assert second.points is first.points is None


def test_other_samples_get_a_reference_of_their_own(original: Path, source: Source) -> None:
    for feeds in ([{"input": _image(0)}], [{"input": _image(1)}], [{"input": _image(0)}] * 2):
        found = find_reference(original, feeds, None, source, Clock(None))
        assert len(found.outputs) == len(feeds)
    assert len(source.cache.entries()) == 3


def test_a_network_agrees_with_itself_and_not_with_another(
    original: Path, source: Source, tmp_path: Path
) -> None:
    feeds = [{"input": _image(n)} for n in range(2)]
    clock = Clock(None)
    reference = find_reference(original, feeds, None, source, clock)
    same = verify_network(reference, original, feeds, "random inputs", None, (), clock)
    assert (same.samples, same.origin, same.task) == (2, "random inputs", None)
    assert same.cosine == 1
    assert same.sqnr_db > 100
    onnx.save(two_convolutions(seed=1), tmp_path / "other.onnx")
    other = verify_network(reference, tmp_path / "other.onnx", feeds, "", None, (), clock)
    assert other.sqnr_db < 10
