"""Tables, goals and kept results of the accuracy benchmark, with figures that were made up."""

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.benchmarks import accuracy_table
from tests.benchmarks.accuracy.columns import COLUMNS, PEERS
from tests.benchmarks.accuracy.goals import drop_of, verdicts_of
from tests.benchmarks.accuracy.networks import BUILD_FILES
from tests.benchmarks.accuracy.results import Cell, Figures, Report, read_times, write_times
from tests.benchmarks.accuracy.tables import goal_table, markdown, metric_table, time_table

POINTS = {
    "ort_fp32": 70.0,
    "openvino_fp32": 70.0,
    "modc_fp16": 69.99,
    "modc_auto": 69.8,
    "modc_kl_divergence": 69.25,
    "ort_minmax": 69.5,
    "ort_percentile": 68.0,
    "ort_entropy": 69.5,
    "nncf": 69.75,
}


def _times(one_thread: float, two_threads: float) -> dict[int, tuple[float, ...]]:
    """Samples with these medians."""
    return {1: (one_thread, 2 * one_thread, 0), 2: (two_threads, 2 * two_threads, 0)}


def _cell(key: str) -> Cell:
    made = "fp32" not in key
    return Cell(f"{key}.onnx", POINTS[key], 31.25, *((2.5, 512.0) if made else (None, None)))


NETWORK = Figures(
    "foreground_iou",
    40,
    {key: _cell(key) for key in POINTS},
    {"ort_fp32": _times(20, 10), "openvino_fp32": _times(18, 11), "modc_auto": _times(18, 10.5)},
)
REPORT = Report(
    machine={"cpu": "A CPU", "flags": ["avx512_vnni"], "cores": 2, "day": "2030-01-31"},
    versions={"modc": "1", "onnxruntime": "2"},
    networks={"small": NETWORK},
    threads=(1, 2),
)
HEADS = (
    "| network | ORT fp32 | OpenVINO fp32 | **modc fp16** | **modc auto** | "
    "**modc kl_divergence** | ORT MinMax | ORT Percentile | ORT Entropy | NNCF |"
)


def _with_points(**points: float) -> Figures:
    cells = {key: replace(NETWORK.cells[key], points=value) for key, value in points.items()}
    return replace(NETWORK, cells={**NETWORK.cells, **cells})


def test_points_stand_above_what_was_lost_against_fp32() -> None:
    heads, _, points, drops = metric_table(REPORT).splitlines()

    assert heads == HEADS
    assert points == (
        "| small: foreground_iou, 40 images | 70.000 | 70.000 | 69.990 | 69.800 | 69.250 | "
        "69.500 | 68.000 | 69.500 | 69.750 |"
    )
    assert drops == (
        "| small: drop against fp32 | 0.000 | 0.000 | 0.010 | 0.200 | 0.750 | "
        "0.500 | 2.000 | 0.500 | 0.250 |"
    )


def test_times_are_medians_and_absent_ones_are_dashes() -> None:
    assert time_table(REPORT, 2).splitlines()[-1] == (
        "| small | 10.00 | 11.00 | – | 10.50 | – | – | – | – | – |"
    )


def test_goals_are_judged_by_the_figures() -> None:
    verdicts = verdicts_of(REPORT)

    assert [(one.goal, one.limit, one.unit, one.holds) for one in verdicts] == [
        ("**modc auto**: drop", 0.3, "points", True),
        ("**modc fp16**: drop", 0.02, "points", True),
        ("**modc kl_divergence**: drop", 0.5, "points", False),
        ("**modc auto**: drop, against the best peer's (NNCF)", 0.25, "points", True),
        (
            "**modc auto**: CPU time, one thread, against the fastest float engine's "
            "(OpenVINO fp32)",
            18,
            "ms",
            True,
        ),
        (
            "**modc auto**: Wall time, 2 threads, against the fastest float engine's (ORT fp32)",
            10,
            "ms",
            False,
        ),
    ]
    assert [one.measured for one in verdicts] == pytest.approx([0.2, 0.01, 0.75, 0.2, 18, 10.5])
    assert [line.split(" | ")[-1] for line in goal_table(verdicts).splitlines()[2:]] == [
        "ok |",
        "ok |",
        "**missed** |",
        "ok |",
        "ok |",
        "**missed** |",
    ]


def test_a_loss_above_the_best_peers_is_missed_even_within_the_allowed_drop() -> None:
    report = replace(REPORT, networks={"small": _with_points(nncf=69.9)})

    assert [one.holds for one in verdicts_of(report)][:4] == [True, True, False, False]


def test_where_the_best_peer_loses_nothing_there_is_nothing_to_compare_with() -> None:
    report = replace(REPORT, networks={"small": _with_points(nncf=70.0)})

    assert not any("peer" in one.goal for one in verdicts_of(report))


@pytest.mark.parametrize("absent", [*PEERS, "modc_auto", "ort_fp32"])
def test_what_was_not_measured_is_not_judged(absent: str) -> None:
    cells = {key: cell for key, cell in NETWORK.cells.items() if key != absent}
    report = replace(REPORT, networks={"small": replace(NETWORK, cells=cells)})
    (against_peers,) = (one for one in verdicts_of(report) if "peer" in one.goal)

    assert against_peers.holds is None
    assert goal_table([against_peers]).endswith("| not measured |")
    assert drop_of(report.networks["small"], absent) is None


def test_all_tables_follow_the_machine_and_versions() -> None:
    text = markdown(REPORT)

    assert text.startswith(
        "Machine: A CPU, 2 cores, avx512_vnni.\nVersions: modc 1, onnxruntime 2.\n2030-01-31.\n\n"
    )
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### Task metric, points",
        "### SQNR of the output against ORT fp32, dB",
        "### CPU time, one thread, ms",
        "### Wall time, 2 threads, ms",
        "### Time to compile or quantize, s",
        "### Peak memory of compiling or quantizing, MiB",
        "### Goals",
    ]
    assert "| small | – | 31.2 | 31.2 |" in text
    assert "| small | – | – | 2.5 | 2.5 |" in text
    assert "| small | – | – | 512 | 512 |" in text


def test_the_report_is_json() -> None:
    facts = json.loads(json.dumps(asdict(REPORT)))

    assert facts["networks"]["small"]["cells"]["modc_auto"] == {
        "path": "modc_auto.onnx",
        "points": 69.8,
        "sqnr_db": 31.25,
        "seconds": 2.5,
        "peak_mb": 512.0,
    }


def test_cells_and_times_are_kept_as_they_are(tmp_path: Path) -> None:
    graph, kept, times = (tmp_path / name for name in ("graph.onnx", "cell.json", "times.json"))
    cell = replace(NETWORK.cells["modc_auto"], path=str(graph))
    cell.write(kept)
    write_times(NETWORK.times, times)

    assert Cell.read(kept) is None  # its graph is gone
    graph.touch()
    assert Cell.read(kept) == cell
    assert Cell.read(tmp_path / "absent.json") is None
    assert read_times(times) == NETWORK.times
    assert read_times(tmp_path / "absent.json") == {}


def test_every_network_with_a_build_file_and_every_column_can_be_chosen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        accuracy_table.main(["--help"])
    text = "".join(capsys.readouterr().out.split())

    assert len(BUILD_FILES) == 4
    assert all(name in text for name in (*BUILD_FILES, *COLUMNS))


def test_without_the_peers_the_table_ends_with_exit_code_7_and_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert accuracy_table.main(["--out", str(tmp_path / "out")]) == 7
    assert "pip install 'modc[bench]'" in caplog.text
    assert not (tmp_path / "out").exists()
