"""The tables of the benchmark, with figures that were made up."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.zoo.full_size import NETWORKS
from tests.benchmarks import compare_engines
from tests.benchmarks.engines.chinese import in_chinese
from tests.benchmarks.engines.columns import COLUMNS, GOALS, columns_of
from tests.benchmarks.engines.results import (
    CompileTime,
    Measured,
    NetworkResult,
    Report,
    facts_of,
)
from tests.benchmarks.engines.tables import (
    BEGIN,
    END,
    accuracy_table,
    load_table,
    markdown,
    put_between_markers,
    ratio_table,
    seconds_table,
    time_table,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def _measured(one_thread: float, two_threads: float) -> Measured:
    """Samples whose median and minimum differ."""
    samples = {
        threads: (median + 4, median, median - 0.25)
        for threads, median in ((1, one_thread), (2, two_threads))
    }
    return Measured(samples, {1: 0.5, 2: 0.25}, "f32", 2.5e-6, 31.25)


NETWORK = NetworkResult(
    {
        "ort_fp32": _measured(930, 470),
        "openvino_fp32": _measured(914, 466.5),
        "openvino_bf16": _measured(457, 232),
        "ort_int8": _measured(268, 135.75),
        "nncf_int8": _measured(235, 122.5),
        "modc_fp32": _measured(465, 250),
        "modc_fp32_openvino": _measured(450, 240),
        "modc_bf16_openvino": _measured(274, 150),
        "modc_int8": _measured(167.5, 80),
        "modc_int8_openvino": _measured(150, 81),
    },
    {"quantize_static": 8.0, "nncf": 12.5, "fp32": 3.0, "direct": 2.75, "int8": 6.0},
    1.5e-6,
)
REPORT = Report(
    machine={"cpu": "A CPU", "flags": ["avx512_vnni"], "cores": 2, "day": "2030-01-31"},
    versions={"modc": "1", "onnxruntime": "2"},
    settings={"rounds": 3, "threads": [1, 2], "images": 8},
    networks={"unet3p": NETWORK},
    compile_time=CompileTime(
        "unet3p", 50, {"quantize_static": (31, 30, 35), "nncf": (20, 22, 21), "int8": (9, 8, 10)}
    ),
)

RATIOS = """\
| network | figure | modc fp32 vs ORT fp32 | modc int8 vs ORT int8, both on ORT | \
modc int8, best engine, vs NNCF int8 | best engine |
| --- | ---: | ---: | ---: | ---: | ---: |
| UNet3+ 128 | CPU time, one thread | 2.000× (≥ 2.00) | 1.600× (≥ 1.60) | 1.567× (≥ 1.55) | \
OpenVINO |
| UNet3+ 128 | Wall time, 2 threads | **1.880× (≥ 2.00) missed** | 1.697× (≥ 1.60) | \
**1.531× (≥ 1.55) missed** | ORT |"""

COLUMN_HEADS = """\
| network | ORT fp32 | OpenVINO fp32 | OpenVINO bf16 | ORT int8 | NNCF int8 | **modc fp32**, ORT | \
**modc fp32**, OpenVINO | **modc bf16**, OpenVINO | **modc int8**, ORT | **modc int8**, OpenVINO |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""

WALL_TIMES = f"""\
{COLUMN_HEADS}| UNet3+ 128 | 470.0 (469.8) | 466.5 (466.2) | 232.0 (231.8) | 135.8 (135.5) | \
122.5 (122.2) | 250.0 (249.8) | 240.0 (239.8) | 150.0 (149.8) | 80.0 (79.8) | 81.0 (80.8) |"""

SECONDS = """\
| network | images | quantize_static (MinMax) | NNCF | modc int8 | modc fp32 |
| --- | ---: | ---: | ---: | ---: | ---: |
| UNet3+ 128 | 8 | 8.0 | 12.5 | 6.0 | 3.0 |
| UNet3+ 128, in turns | 50 | 31.0 | 21.0 | 9.0 | – |"""

ORIGIN = """\
Machine: A CPU, 2 cores, avx512_vnni.
Versions: modc 1, onnxruntime 2.
3 rounds, 8 images; 2030-01-31."""


def test_ratios_stand_beside_their_goals_and_missed_ones_are_marked() -> None:
    assert ratio_table(REPORT) == RATIOS


def test_times_are_medians_with_minima() -> None:
    assert time_table(REPORT, 2) == WALL_TIMES


def test_compile_times_in_turns_are_medians() -> None:
    assert seconds_table(REPORT) == SECONDS
    assert seconds_table(replace(REPORT, compile_time=None)) == SECONDS.rpartition("\n")[0]


def test_float_contestants_show_their_error_and_int8_ones_their_noise() -> None:
    *_, row = accuracy_table(REPORT).splitlines()

    assert row == "| UNet3+ 128 | 1.5e-06" + (
        " | 2.5e-06 | 2.5e-06 | 31.2 dB | 31.2 dB"
        " | 2.5e-06 | 2.5e-06 | 2.5e-06 | 31.2 dB | 31.2 dB |"
    )


def test_the_shorter_load_time_is_shown() -> None:
    assert load_table(REPORT).splitlines()[-1] == "| UNet3+ 128" + 10 * " | 0.25" + " |"


def test_all_tables_follow_the_machine_and_versions() -> None:
    text = markdown(REPORT)

    assert text.startswith(f"{ORIGIN}\n\n### Ratios\n\n{RATIOS}\n\n")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### Ratios",
        "### CPU time, one thread, ms",
        "### Wall time, 2 threads, ms",
        "### Accuracy",
        "### Time to load, s",
        "### Time to compile or quantize, s",
    ]


def test_without_bf16_its_columns_are_absent() -> None:
    columns = columns_of(bf16=False)
    kept = {key: one for key, one in NETWORK.columns.items() if key in columns}
    report = replace(REPORT, networks={"unet3p": replace(NETWORK, columns=kept)})

    assert len(columns) == len(COLUMNS) - 2
    assert "bf16" not in markdown(report)


def test_the_facts_hold_samples_medians_and_minima() -> None:
    facts = json.loads(json.dumps(facts_of(REPORT)))

    assert facts["networks"]["unet3p"]["columns"]["modc_int8"] == {
        "milliseconds": {"1": [171.5, 167.5, 167.25], "2": [84, 80, 79.75]},
        "load_seconds": {"1": 0.5, "2": 0.25},
        "precision": "f32",
        "error": 2.5e-6,
        "sqnr_db": 31.25,
        "median_ms": {"1": 167.5, "2": 80},
        "minimum_ms": {"1": 167.25, "2": 79.75},
    }
    assert facts["compile_time"]["seconds"]["int8"] == [9, 8, 10]


def test_only_the_text_between_the_markers_of_a_page_changes() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert put_between_markers(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no lines"):
        put_between_markers("before\nafter\n", "new")


def test_the_page_has_the_markers_and_names_every_network() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert put_between_markers(page, "new") != page
    for name, goal in GOALS.items():
        size = NETWORKS[name].size
        assert f"| `{name}` | {goal.title} | 1×3×{size}×{size} |" in page


def test_the_page_in_chinese_has_the_same_tables() -> None:
    english, chinese = (
        page.read_text(encoding="utf-8").partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]
        for page in (PAGE, PAGE.with_suffix(".zh.md"))
    )

    assert in_chinese(english) == chinese


def test_without_the_peers_the_command_ends_with_exit_code_7_and_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert compare_engines.main(["--out", str(tmp_path / "out")]) == 7
    assert "pip install 'modc[bench]'" in caplog.text
    assert not (tmp_path / "out").exists()
