from pathlib import Path

import numpy as np
import pytest

from compiler.verify.compare import Recording, compare
from compiler.verify.result import TaskFigures, TensorFigures, VerifyResult, broken_gates


def test_tensors_are_compared_over_all_samples() -> None:
    figures = compare(
        [
            ({"a": np.array([1.0, 2.0]), "only": np.zeros(1)}, {"a": np.array([1.0, 2.0])}),
            ({"a": np.array([2.0, 4.0])}, {"a": np.array([2.0, 4.5])}),
        ]
    )
    assert [figure.name for figure in figures] == ["a"]
    assert figures[0].sqnr_db == pytest.approx(20.0)
    assert figures[0].max_error == 0.5


def test_no_sample_gives_no_figures() -> None:
    assert compare([]) == ()


def test_a_recording_gives_back_what_it_was_given(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    samples: list[dict[str, np.ndarray]] = [
        {"x/y:0": np.arange(3.0), "z": np.ones((2, 2))},
        {"x/y:0": np.zeros(3)},
    ]
    for sample in samples:
        recording.add(sample)
    for stored, sample in zip(recording, samples, strict=True):
        assert list(stored) == list(sample)
        for name, values in sample.items():
            np.testing.assert_array_equal(stored[name], values)


def _result(task: TaskFigures | None = None) -> VerifyResult:
    outputs = (TensorFigures("a", 0.99, 30.0, 0.1), TensorFigures("b", 0.95, 20.0, 0.2))
    return VerifyResult(8, "held-out samples", outputs, task=task)


def test_a_result_is_as_good_as_its_worst_output() -> None:
    assert (_result().cosine, _result().sqnr_db) == (0.95, 20.0)
    assert broken_gates(_result(), min_cosine=0.95, min_sqnr_db=20.0) == []


def test_every_missed_gate_is_told() -> None:
    task = TaskFigures("foreground_iou", 40, 76.0, 75.0, max_drop=0.5)
    assert broken_gates(_result(task), min_cosine=0.96, min_sqnr_db=21) == [
        "cosine similarity 0.950000 is below 0.96",
        "SQNR 20.00 dB is below 21 dB",
        "foreground_iou fell by 1.00 points (76.00 to 75.00); 0.5 are allowed",
    ]


def test_a_metric_that_is_not_a_number_misses_its_gate() -> None:
    task = TaskFigures("foreground_iou", 0, float("nan"), float("nan"), max_drop=0.5)
    assert len(broken_gates(_result(task), min_cosine=None, min_sqnr_db=None)) == 1
