"""The page in a bundle."""

import json
import logging
from pathlib import Path

import pytest

from compiler import Build, compile_model, load_config
from compiler.page import render
from compiler.pipeline.page import read_contents
from compiler.runner.read import read_bundle
from tests.support.project import make_project


def _compile(folder: Path) -> Build:
    return compile_model(load_config(make_project(folder).write()))


def test_every_bundle_has_a_page_that_no_hash_covers(tmp_path: Path) -> None:
    build = _compile(tmp_path)
    page = build.prefix.parent / "mod.report.html"
    assert build.page == page
    text = page.read_text(encoding="utf-8")
    assert "<title>net_int8</title>" in text
    assert text.count("data:image/jpeg;base64,") == 4
    bundle = read_bundle(build.prefix)
    assert page.name not in bundle.manifest.files
    assert bundle.manifest.files["mod.onnx"].sha256 in text or "mod.onnx" in text
    page.write_text("edited")
    assert read_bundle(build.prefix).digest == build.digest


def test_the_same_build_gives_the_same_page_but_for_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.pipeline.compile.run_facts", lambda *facts: {})
    first = _compile(tmp_path)
    assert first.page is not None
    text = first.page.read_text(encoding="utf-8")
    second = compile_model(load_config(tmp_path / "build.yaml"))
    assert second.page is not None
    assert second.page.read_text(encoding="utf-8") == text


def test_a_page_that_cannot_be_made_costs_no_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(contents: object) -> str:
        raise ZeroDivisionError("no room for the plot")

    monkeypatch.setattr(render, "render_bundle", fail)
    with caplog.at_level(logging.CRITICAL):
        build = _compile(tmp_path)
    assert build.digest == read_bundle(build.prefix).digest
    assert build.page is None
    assert build.warnings[-1] == (
        "mod.report.html could not be made: ZeroDivisionError: no room for the plot"
    )
    assert not (build.prefix.parent / "mod.report.html").exists()


def test_a_page_can_be_made_again_from_the_files(tmp_path: Path) -> None:
    build = _compile(tmp_path)
    contents = read_contents(build.prefix)
    folder = build.prefix.parent
    for found, name in (
        (contents.manifest, "mod.json"),
        (contents.report, "mod.report.json"),
        (contents.run, "mod.build.json"),
    ):
        written = json.loads((folder / name).read_text())
        assert {key: found[key] for key in found if key != "checksum"} == {
            key: written[key] for key in written if key != "checksum"
        }
    assert (contents.thumbnails, contents.comparisons) == ((), ())
    (folder / "mod.build.json").unlink()
    assert read_contents(build.prefix).run == {}


def test_a_build_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    build = _compile(tmp_path)
    text = build._repr_html_()
    assert "<caption" in text
    assert "net_int8 (int8)" in text
    for fact in (f"{build.verification.sqnr_db:.2f} dB", str(build.prefix), str(build.page)):
        assert fact in text
