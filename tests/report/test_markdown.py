"""The Markdown table of a CI job, with figures that were made up."""

from dataclasses import replace
from typing import Any

import pytest

from compiler.page.contents import Contents
from compiler.report.markdown import markdown_summary

Facts = dict[str, Any]  # Any: a JSON object

GATES = "verify:\n  min_sqnr_db: 20\n  min_cosine: 0.99\n"


def _contents(*, size: int, sqnr: float, points: float | None, ms: float = 4.0) -> Contents:
    task = {"metric": "mean_iou", "images": 30, "fp32": 90.0, "compiled": points, "max_drop": 0.5}
    verification: Facts = {
        "outputs": [{"name": "y", "cosine": 0.995, "sqnr_db": sqnr}],
        "task": None if points is None else task,
    }
    return Contents(
        {
            "name": "net_int8",
            "quantization": {"dtype": "int8"},
            "files": {"mod.onnx": {"size": 1024}, "mod.params": {"size": size - 1024}},
            "build": GATES,
            "verification": verification,
        },
        {},
        {"latency_ms": {"fp32": 12.0, "compiled": ms, "threads": 2}},
    )


NEW = _contents(size=2 << 20, sqnr=30.25, points=89.75)
HEAD = """\
| bundle | dtype | size | latency | metric | SQNR | gates |
| --- | --- | ---: | ---: | ---: | ---: | --- |
"""


def test_a_bundle_stands_against_the_one_it_replaces() -> None:
    previous = _contents(size=4 << 20, sqnr=31.0, points=89.5, ms=5.0)
    assert markdown_summary([(NEW, previous)]) == HEAD + (
        "| net\\_int8 | int8 | 2.00 MiB (−50.0 %) | 4.00 ms, 3.00× as fast as fp32 (was 2.40×) | "
        "mean\\_iou 89.75 (+0.25), −0.25 against fp32 | 30.25 dB (−0.75) | held |\n"
    )


def test_a_first_bundle_is_new_and_what_it_lacks_is_left_blank() -> None:
    bare = Contents({"name": "a|b", "quantization": {"dtype": "fp32"}}, {}, {})
    assert markdown_summary([(bare, None), (NEW, None)]) == HEAD + (
        "| a\\|b (new) | fp32 | – | – | – | – | none |\n"
        "| net\\_int8 (new) | int8 | 2.00 MiB | 4.00 ms, 3.00× as fast as fp32 | "
        "mean\\_iou 89.75, −0.25 against fp32 | 30.25 dB | held |\n"
    )


def test_missed_gates_are_told_below_the_table() -> None:
    poor = _contents(size=2 << 20, sqnr=18.5, points=89.25)
    lines = markdown_summary([(poor, None)]).splitlines()
    assert lines[2].endswith("| **2 of 3 missed** |")
    assert lines[3:] == [
        "",
        "- **net\\_int8**: 18.50 dB, but the build file asks for SQNR of 20 dB or more",
        "- **net\\_int8**: −0.75 points, but the build file asks for mean\\_iou at most 0.5 points "
        "below fp32",
    ]


@pytest.mark.parametrize("metric", ["foreground_iou", None])
def test_another_metric_is_not_set_off(metric: str | None) -> None:
    verification: Facts = dict(NEW.manifest["verification"])  # type: ignore[call-overload]  # a mapping
    task = None if metric is None else {**verification["task"], "metric": metric}
    older = replace(NEW, manifest={**NEW.manifest, "verification": {**verification, "task": task}})
    assert "| mean\\_iou 89.75, −0.25 against fp32 |" in markdown_summary([(NEW, older)])


def test_another_precision_is_told() -> None:
    older = replace(NEW, manifest={**NEW.manifest, "quantization": {"dtype": "fp16"}})
    assert "| int8 (was fp16) |" in markdown_summary([(NEW, older)])
