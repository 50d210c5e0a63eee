"""An int8 build starts from the fp32 form where integers would make the network slower."""

from pathlib import Path

import pytest

from compiler import Build, compile_model, load_config
from compiler.pipeline import form
from tests.support.project import Project, make_project


def _build(project: Project, **optimize: bool) -> Build:
    project.document["backend"]["optimize"] = {"rewrite": False, **optimize}
    return compile_model(load_config(project.write()))


def test_a_network_too_small_for_integers_stays_float(tmp_path: Path) -> None:
    build = _build(make_project(tmp_path), keep_float=True)
    assert any(note.startswith("the whole network stays float") for note in build.notes)
    assert build.verification.sqnr_db > 100
    fp32 = compile_model(load_config(tmp_path / "build.yaml", dtype="fp32"))
    assert fp32.prefix != build.prefix
    for name in ("mod.onnx", "mod.params"):
        assert (build.prefix.parent / name).read_bytes() == (fp32.prefix.parent / name).read_bytes()


def test_the_user_may_insist_on_integers(tmp_path: Path) -> None:
    build = _build(make_project(tmp_path), keep_float=False)
    assert build.integer_layers is not None
    assert build.integer_layers[1] > 0
    assert not any("stays float" in note for note in build.notes)


def test_reasons_of_the_build_file_come_first(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["exclude_layers"] = ["first"]
    build = _build(project, keep_float=True)
    (line,) = [line for line in build.decisions if line.startswith("Conv first ")]
    assert line.endswith("named by exclude_layers: first")


def test_where_integers_win_clearly_the_fp32_form_is_not_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("prepared for nothing")

    monkeypatch.setattr(form, "CLEARLY", 1e9)
    monkeypatch.setattr(form, "float_form", refused)
    build = _build(make_project(tmp_path), keep_float=True)
    assert build.digest is not None
