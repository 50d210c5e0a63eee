"""`modc report` as users type it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.bundle.write import new_bundle
from compiler.cli.app import main
from tests.support.bundles import MANIFEST, write_network

REPORT = {
    "passes": [],
    "warnings": [],
    "layers": [
        {
            "node": "mul",
            "op": "Mul",
            "dtype": "float32",
            "reason": "",
            "shape": [1, 3, 4, 6],
            "macs": 7,
            "parameter_bytes": 12,
            "tensor": "y",
            "sqnr_db": 33.0,
            "cosine": 0.999,
        }
    ],
    "verification": {
        "samples": 2,
        "origin": "held-out samples",
        "outputs": [{"name": "y", "cosine": 0.999, "sqnr_db": 33.0, "max_error": 0.1}],
        "layers": [],
        "task": None,
    },
}
RUN = {
    "latency_ms": {"fp32": 2.0, "compiled": 1.0, "threads": 2},
    "nodes": [{"node": "mul", "op": "Mul", "ms": 0.25}],
    "host": "here",
    "cpus": 2,
}


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _bundle(workspace: Path, name: str = "net", report: str | None = None) -> Path:
    with new_bundle(workspace, name, build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
        text = json.dumps(REPORT) if report is None else report
        (bundle.folder / "mod.report.json").write_text(text)
        (bundle.folder / "mod.build.json").write_text(json.dumps(RUN))
        bundle.commit(replace(MANIFEST, name=name, quantization={"dtype": "fp32"}))
    return workspace / name / "mod"


def test_the_page_of_a_bundle_is_made_again_beside_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = _bundle(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _modc("report", prefix) == 0
    assert capsys.readouterr().out == "wrote report.html\n"
    page = (tmp_path / "report.html").read_text()
    assert "<title>net</title>" in page
    assert "33.0" in page
    assert not (prefix.parent / "mod.report.html").exists()


def test_several_bundles_get_one_page(tmp_path: Path) -> None:
    one, other = _bundle(tmp_path, "one"), _bundle(tmp_path, "other")
    page = tmp_path / "new" / "both.html"
    assert _modc("report", one, other, "-o", page) == 0
    assert "<title>one and other</title>" in page.read_text()


def test_markdown_sets_bundles_off_against_those_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    known, fresh = _bundle(tmp_path / "new", "known"), _bundle(tmp_path / "new", "fresh")
    _bundle(tmp_path / "old", "known")
    assert _modc("report", known, fresh, "--markdown", "--previous", tmp_path / "old") == 0
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("| known | fp32 |")
    assert "1.00 ms, 2.00× as fast as fp32 (was 2.00×)" in first
    assert second.startswith("| fresh (new) | fp32 |")
    assert not (tmp_path / "report.html").exists()


def test_node_data_is_a_file_for_each_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nodes"
    assert _modc("report", _bundle(tmp_path), "--model-explorer", folder, "--json") == 0
    files = [folder / f"net.{figure}.json" for figure in ("sqnr_db", "ms", "macs")]
    assert json.loads(capsys.readouterr().out) == {"files": list(map(str, files)), "markdown": None}
    found = [json.loads(file.read_text())["results"] for file in files]
    assert found == [{"mul": {"value": 33.0}}, {"mul": {"value": 0.25}}, {"mul": {"value": 7}}]


def test_node_data_of_two_bundles_of_one_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = _bundle(tmp_path / "a"), _bundle(tmp_path / "b")
    assert _modc("report", one, other, "--model-explorer", tmp_path / "nodes") == 6
    assert "two bundles are called net" in capsys.readouterr().err
    assert not (tmp_path / "nodes").exists()


@pytest.mark.parametrize("report", ["[]", "not JSON"])
def test_report_data_that_cannot_be_read_is_an_error(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("report", _bundle(tmp_path, report=report)) == 6
    assert "mod.report.json: cannot be read" in capsys.readouterr().err


def test_a_bundle_without_report_data_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_bundle(tmp_path, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
        bundle.commit(MANIFEST)
    assert _modc("report", tmp_path / "net", "-o", tmp_path / "page.html") == 6
    assert "has no mod.report.json" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert _modc("report", _bundle(tmp_path), "-o", tmp_path / "file" / "page.html") == 6
    assert "cannot be written" in capsys.readouterr().err


def test_facts_of_a_run_that_were_edited_are_an_error_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix, page = _bundle(tmp_path), tmp_path / "page.html"
    (prefix.parent / "mod.build.json").write_text('{"nodes": 3}')
    assert _modc("report", prefix, "-o", page) == 6
    assert "the facts cannot be shown" in capsys.readouterr().err
    assert not page.exists()


def test_a_page_is_replaced_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    prefix, link = _bundle(tmp_path / "bundles"), tmp_path / "link.html"
    page = tmp_path / "page.html"
    page.write_text("old")
    link.symlink_to(page)
    assert _modc("report", prefix, "-o", link) == 0
    assert "<title>net</title>" in page.read_text()
    assert link.is_symlink()
    assert {one.name for one in tmp_path.iterdir()} == {"bundles", "link.html", "page.html"}


def test_earlier_bundles_without_a_table_to_stand_in_are_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("report", _bundle(tmp_path), "--previous", tmp_path) == 2
    assert "--markdown" in capsys.readouterr().err
