"""`vamp` as the published instructions type it, and the text that their parsers read."""

import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from compiler import __version__
from compiler.cli.vamp import app, main
from compiler.compat.vamp import command
from compiler.compat.vamp.command import Options
from tests.support.bundles import make_bundle

BASE = "-m deploy_weights/net/mod --vdsp_params ../build_in/vdsp_params/p.json"
PLAIN = Options(
    prefix=Path("deploy_weights/net/mod"), vdsp_params=Path("../build_in/vdsp_params/p.json")
)
VAMP = (sys.executable, "-c", "from compiler.cli.vamp import main; main()")
LIST = "--datalist npz_datalist.txt --path_output npz_output"
LISTED: dict[str, Any] = {  # Any: options of all types
    "datalist": Path("npz_datalist.txt"),
    "output": Path("npz_output"),
}
SIX = "[" + ",".join(["[1,128]"] * 6) + "]"

BLOCK = """\
Dump model info: deploy_weights/net/mod
[max_batch_size_]: 1
[input_count]: 1
input[0]: [3,4,6], dtype:u1
[output_count]: 1
output[0]: [1,3,4,6], dtype:f2

*** number of instances in each device:2 ****
Inference start time: [T]
Inference end time: [T]
number of samples in each process: 32
number of process:2

- number of instances in each device: 2
  devices: [0]
  batch size: 1
  samples: 64
  forwad time (s): F
  throughput (qps): F
  ai utilize (%): F
  die memory used (MB): F
  e2e latency (us):
    avg latency: N
    min latency: N
    max latency: N
    p50 latency: N
    p90 latency: N
    p95 latency: N
    p99 latency: N
  model latency (us):
    avg latency: N
    min latency: N
    max latency: N
    p50 latency: N
    p90 latency: N
    p95 latency: N
    p99 latency: N
"""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What `vamp` would have run."""
    seen: list[Options] = []
    monkeypatch.setattr(command, "run_vamp", lambda options, echo: seen.append(options))
    return seen


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the bundle `deploy_weights/net`."""
    make_bundle(tmp_path / "deploy_weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _vamp(line: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(shlex.split(line))
    return int(exit_.value.code or 0)


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        # performance runs
        ("-i 1 p 1 -b 1 -s [3,128,128]", {"shapes": ((3, 128, 128),)}),
        ("-i 1 p 1 -b 1", {}),
        ("-i 2 p 2 -b 1", {"instances": (2,)}),
        ("-p 1 -b 1 -i 1", {}),
        (
            "-p 1 -b 2 -i 8 -s [3,224,224]",
            {"batch": 2, "instances": (8,), "shapes": ((3, 224, 224),)},
        ),
        (
            "-p 1 -b 1 -i 1 -d 6 --forward_mode 1 --iterations 64",
            {"devices": (6,), "synchronous": True, "iterations": 64},
        ),
        ("--batch_size 1 --instance 6 --processes 2", {"instances": (6,), "processes": 2}),
        (f"--batch_size 1 --instance 1 --processes 1 --shape {SIX}", {"shapes": ((1, 128),) * 6}),
        ("-i 1 -b 1 -s 3,704,1280", {"shapes": ((3, 704, 1280),)}),
        ("-t 10 -b 1 -i 1", {"seconds": 10.0}),
        ("-i 1:4 -d 0:3", {"instances": (1, 2, 3, 4), "devices": (0, 1, 2, 3)}),
        ("-d [0,2] --iterations 1024", {"devices": (0, 2)}),
        ("--percentiles [50,99.9]", {"percentiles": (50.0, 99.9)}),
        ("--verbose 1 -f report.yaml", {"verbose": True, "report": Path("report.yaml")}),
        ("--file_report=report.yaml", {"report": Path("report.yaml")}),
        # what does nothing on a CPU
        ("--hwconfig hw.json --backend vastpipe -g g.pbtxt --none_vaml 1 --producer_mode 1", {}),
        ("--freqlist [835,835,1000,750,830] --dtype uint32 --force_batch_size 1", {}),
        ("--cache_input 8 --cache_input_host 8 --cache_output 1", {}),
        # runs on a datalist
        (f"-i 1 p 1 -b 1 {LIST}", LISTED),
        (
            f"-p 1 -b 22 -i 8 -s [3,224,224] {LIST}",
            {**LISTED, "batch": 22, "instances": (8,), "shapes": ((3, 224, 224),)},
        ),
        (
            f"--processes 2 --instance 6 --batch_size 1 {LIST}",
            {**LISTED, "processes": 2, "instances": (6,)},
        ),
        (LIST, LISTED),
        ("--path_output npz_output --datalist npz_datalist.txt", LISTED),
        (
            "--datalist npz_datalist.txt ms1m_example_npz.txt --path_output npz_output",
            LISTED,
        ),
        (
            "-i 2 p 2 -b 1 -t 10 --path_output ./npz_output",
            {"instances": (2,), "seconds": 10.0, "output": Path("npz_output")},
        ),
    ],
)
def test_published_lines(line: str, changes: dict[str, Any], parsed: list[Options]) -> None:
    assert _vamp(f"{BASE} {line}") == 0
    assert parsed == [replace(PLAIN, **changes)]


@pytest.mark.parametrize(
    "line",
    [
        "-mdeploy_weights/net/mod --vdsp_params ../build_in/vdsp_params/p.json",
        "--model_prefix deploy_weights/net/mod --vdsp_params ../build_in/vdsp_params/p.json",
        "--vdsp_params ../build_in/vdsp_params/p.json --model_json deploy_weights/net/mod.json "
        "--model_param deploy_weights/net/mod.params --model_lib deploy_weights/net/mod.so",
        "--vdsp_params=../build_in/vdsp_params/p.json --model_lib deploy_weights/net/mod.so",
    ],
)
def test_every_way_to_name_the_bundle(line: str, parsed: list[Options]) -> None:
    assert _vamp(line) == 0
    assert parsed == [PLAIN]


def test_words_without_a_dash_are_ignored_with_one_warning(
    parsed: list[Options], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _vamp(f"{BASE} -i 2 p 2 -b 1") == 0
    assert parsed[0].processes == 1
    assert capsys.readouterr().err == "vamp: ignored: p 2\n"


def test_options_come_from_yaml_and_the_command_line_goes_first(
    tmp_path: Path, parsed: list[Options]
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(
        "model_prefix: deploy_weights/net/mod\n"
        "--vdsp-params: ../build_in/vdsp_params/p.json\n"
        "b: 4\ninstance: 1:2\ndevice_id: [0, 2]\npercentiles: [50]\nnone_vaml: true\n"
        "forward_time: 1.5\nhwconfig: null\n"
    )
    assert _vamp(f"-b 3 -c {config}") == 0
    assert parsed == [
        replace(PLAIN, batch=3, instances=(1, 2), devices=(0, 2), percentiles=(50.0,), seconds=1.5)
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [("batch: 4", "no option 'batch'"), ("- a", "expected a mapping"), ("a: [", "not YAML")],
)
def test_a_yaml_file_that_holds_no_options_is_refused(
    content: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "options.yaml").write_text(content)
    assert _vamp(f"-c {tmp_path / 'options.yaml'}") == 2
    assert text in capsys.readouterr().err
    assert _vamp(f"-c {tmp_path / 'absent.yaml'}") == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "no bundle given"),
        ("--model_json a/mod.json --model_lib b/mod.so", "different bundles: a/mod, b/mod"),
        (f"{BASE} -s 3x224x224", "--shape: '3x224x224': expected a shape"),
        (f"{BASE} -d cpu", "--device_id: 'cpu': expected a number"),
        (f"{BASE} -i 0", "--instance: '0': expected 1 or more"),
        (f"{BASE} --percentiles 200", "--percentiles: '200': expected percentages"),
        (f"{BASE} -b 0", "--batch_size"),
        (f"{BASE} --batchsize 1", "No such option"),
    ],
)
def test_mistakes_are_named(line: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _vamp(line) == 2
    words = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert text in words


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _vamp("'-?'") == 0
    text = " ".join(re.sub("[│\n]", " ", capsys.readouterr().out).split())
    assert "share of time in which the instances ran the network" in text
    assert "resident memory of this process" in text
    assert _vamp("--help") == 0
    assert _vamp("-v") == 0
    assert f"vamp of modc {__version__}" in capsys.readouterr().out
    assert app.info.name == "vamp"


def test_the_printed_block(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _vamp("-m deploy_weights/net/mod -p 2 -b 1 -i 2 --iterations 64 -f report.yaml") == 0
    out, err = capsys.readouterr()
    assert err == ""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "T", out)
    text = re.sub(r"(?<=: )\d+\.\d+$", "F", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=latency: )\d+$", "N", text, flags=re.MULTILINE)
    assert text == BLOCK
    assert re.search(r"\(qps\): \d+.\d+", out)
    assert out.endswith((workspace / "report.yaml").read_text())


def test_the_report_is_yaml_with_one_result_per_number_of_instances(workspace: Path) -> None:
    assert _vamp("-m deploy_weights/net/mod -i 1:3 --iterations 8 -f report.yaml") == 0
    results = yaml.safe_load((workspace / "report.yaml").read_text())
    assert [result["number of instances in each device"] for result in results] == [1, 2, 3]
    for result in results:
        assert result["samples"] == 8
        assert result["throughput (qps)"] == pytest.approx(8 / result["forwad time (s)"], rel=0.05)
        assert 0 < result["ai utilize (%)"] <= 100
        assert result["die memory used (MB)"] > 10


def test_a_report_that_cannot_be_written(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _vamp("-m deploy_weights/net/mod --iterations 1 -f absent/report.yaml") == 2
    assert "the report cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_printed(workspace: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*VAMP, *shlex.split("-m deploy_weights/net/mod --iterations 1")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "vamp: the result cannot be printed: No space left on device\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_no_results(number: int, code: int, workspace: Path) -> None:
    np.savez(workspace / "image.npz", np.zeros((3, 4, 6), np.uint8))
    (workspace / "list.txt").write_text("image.npz\n" * 20_000)
    with subprocess.Popen(
        [*VAMP, *shlex.split("-m deploy_weights/net/mod --datalist list.txt --path_output out")],
        stdout=subprocess.DEVNULL,
    ) as process:
        end = time.monotonic() + 60
        while not list(workspace.glob("out/*")) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait() == code
    assert list((workspace / "out").iterdir()) == []


def test_verbose_tells_of_the_process(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _vamp("-m deploy_weights/net/mod --iterations 3 --verbose 1") == 0
    assert "process 0: 3 samples in " in capsys.readouterr().out


def test_a_stale_prefix_names_the_one_that_is_there(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _vamp("-m deploy_weights/net/unetpp -i 1 p 1 -b 1") == 6
    err = capsys.readouterr().err
    assert "deploy_weights/net/unetpp: bundle not found" in err
    assert "deploy_weights/net/mod\n" in err


def test_a_missing_json_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _vamp("-m deploy_weights/net/mod --vdsp_params absent.json") == 2
    assert "absent.json" in capsys.readouterr().err
