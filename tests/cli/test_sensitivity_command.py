"""`modc sensitivity` as users type it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.bundle.write import new_bundle
from compiler.cli.app import main
from compiler.verify.sensitivity import LayerSensitivity, to_json
from tests.support.bundles import MANIFEST, write_network

LAYERS = (
    LayerSensitivity("good", "Conv", "g", 40.0, 0.9999, 38.0, 0.9998, 0.01, 3_000_000),
    LayerSensitivity("bad", "Conv", "b", 20.0, 0.995, 19.0, 0.993, 0.99, 1_000_000),
)


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def _bundle(folder: Path, report: str | None, dtype: str = "int8") -> Path:
    with new_bundle(folder, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
        if report is not None:
            (bundle.folder / "mod.report.json").write_text(report)
        bundle.commit(replace(MANIFEST, quantization={"dtype": dtype}))
    return folder / "net" / "mod"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return _bundle(tmp_path, json.dumps({"sensitivity": to_json(LAYERS)}))


def test_layers_are_ranked(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("sensitivity", "-m", bundle) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()][2:]
    assert rows == [
        ["bad", "Conv", "20.00", "0.995000", "99.0%", "19.00", "0.993000", "1.00"],
        ["good", "Conv", "40.00", "0.999900", "1.0%", "38.00", "0.999800", "3.00"],
    ]
    assert err == ""


def test_a_limit_cuts_the_table(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _modc("sensitivity", "-m", bundle.parent, "--limit", "1") == 0
    out = capsys.readouterr().out
    assert "1 more" in out
    assert "good" not in out


def test_json_is_one_object_with_all_layers(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("sensitivity", "-m", bundle, "--json", "--limit", "1") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"name": "net", "layers": to_json(LAYERS[::-1])}


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_float_bundle_has_no_layers_on_integers(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("sensitivity", "-m", _bundle(tmp_path, "{}", dtype)) == 6
    err = capsys.readouterr().err
    assert f"dtype {dtype}" in err
    assert "fix: name an int8 bundle" in err


@pytest.mark.parametrize(
    "report", [None, "{}", "not JSON", "[]", '{"sensitivity": [{"layer": "a"}]}']
)
def test_report_data_of_another_modc_must_be_made_again(
    report: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("sensitivity", "-m", _bundle(tmp_path, report), "--json") == 6
    out, err = capsys.readouterr()
    assert "fix: compile it again" in err
    assert json.loads(out)["error"]["exit_code"] == 6


def test_a_bundle_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("sensitivity", "-m", tmp_path / "nothing") == 6
    assert "bundle not found" in capsys.readouterr().err


def test_an_edited_report_is_not_believed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bundle.with_name("mod.report.json")
    report.write_text(report.read_text().replace("20.0", "60.0"))
    assert _modc("sensitivity", "-m", bundle) == 6
    assert "do not match the hash" in capsys.readouterr().err
