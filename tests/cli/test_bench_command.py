"""`modc bench` as users type it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.cli.app import main
from tests.support.bundles import make_bundle

FEW = ("--iterations", "4", "--rounds", "2", "--starts", "0")


def _modc(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("deploy")) / "mod"


def test_tables_name_what_was_measured(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = _modc(
        *("bench", "-m", bundle, "--instances", "1,2", *FEW[:4], "--starts", "1"),
        *("--compare", bundle, "--processes", "2"),
    )

    out, err = capsys.readouterr()
    assert code == 0
    for words in (
        "samples/s",
        "p99",
        "nothing kept",
        "peak RSS",
        "throughput",
        "Pss of all 2",
        "2 rounds",
        "CPUs, ",
    ):
        assert words in out
    assert "time 8/8" in err


def test_brackets_in_a_path_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "[red]") / "mod"

    assert _modc("bench", "-m", bundle, *FEW, "--compare", bundle) == 0

    out = capsys.readouterr().out
    assert out.count("/[red]/") >= 3  # title of the ratios, and both rows


def test_json_is_one_object_with_every_figure(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 12, 3), 128, np.uint8)).save(image)
    sweep = ("--threads", "1", "--batch", "1,2", "--image", image, "--preprocess")

    assert _modc("bench", "-m", bundle, *sweep, *FEW[:4], "--starts", "1", "--json") == 0

    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert err == ""
    assert facts["plan"]["image"] == str(image)
    assert [(row["course"], row["batch"], row["samples"]) for row in facts["rows"]] == [
        ("network", 1, 4),
        ("image file", 1, 4),
        ("network", 2, 8),
        ("image file", 2, 4),
    ]
    assert [one["start"] for one in facts["loadings"]] == ["cold", "warm", "nothing kept"]
    assert {"p50", "p90", "p95", "p99", "mean", "minimum", "maximum", "count"} == set(
        facts["rows"][0]["milliseconds"]
    )
    assert (facts["no_energy"] is None) == all(row["joules"] is not None for row in facts["rows"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--threads", "1,x"), "--threads: '1,x' given"),
        (("--instances", "0"), "--instances: '0' given"),
        (("--batch", ""), "--batch: '' given"),
        (("--engine", "tvm"), "no engine 'tvm'"),
        (("--preprocess",), "--image"),
        (("--seconds", "0"), "--seconds"),
        (("--rounds", "0"), "--rounds"),
        (("--compare", "nowhere.onnx"), "no such file"),
    ],
)
def test_mistakes_are_usage_errors(
    bundle: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("bench", "-m", bundle, "--starts", "0", *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_bundle_that_is_not_there_is_a_bundle_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _modc("bench", "-m", tmp_path / "nothing", "--json") == 6
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 6
