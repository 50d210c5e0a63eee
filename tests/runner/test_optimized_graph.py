"""Graphs as ONNX Runtime has optimized them: the same results, kept whole or not at all."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compiler import compile_model, load_config
from compiler.bench.memory import memory_by_file
from compiler.runner import optimized_graph
from compiler.runner.load import Runner
from compiler.runner.onnxruntime import load
from compiler.runner.user_cache import KeptFolders
from tests.support.bundles import SHAPE, make_bundle
from tests.support.project import make_project

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
NETWORKS = ROOT / "tests" / "networks"
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux' /proc")
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which graphs are kept, the small ones of these tests, too."""
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(optimized_graph, "WORTH_KEEPING", 0)
    monkeypatch.setattr(optimized_graph, "cpu_features", lambda: frozenset({"avx2"}))
    return tmp_path / "cache" / "onnxruntime"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened from now on."""
    names: list[str] = []
    real = onnxruntime.InferenceSession

    def spy(path: str, *rest: object, **named: object) -> object:
        names.append(Path(path).name)
        return real(path, *rest, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    return names


def write_convolutions(folder: Path, channels: int = 16, count: int = 3) -> Path:
    """Convolutions of 3×3 on 1×channels×8×8, whose weights ONNX Runtime reorders."""
    random = np.random.default_rng(0)
    names = ["x", *(f"y{index}" for index in range(count))]
    weights = random.standard_normal((count, channels, channels, 3, 3), np.float32) / channels
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [name, f"w{index}"], [names[index + 1]], pads=[1] * 4)
            for index, name in enumerate(names[:-1])
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, 8, 8))],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, (1, channels, 8, 8))],
        [numpy_helper.from_array(values, f"w{index}") for index, values in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model,
        folder / "mod.onnx",
        save_as_external_data=True,
        location="mod.params",
        size_threshold=0,
    )
    return folder / "mod.onnx"


def feeds_of(model: Path) -> dict[str, NDArray[Any]]:  # Any: inputs of all dtypes
    random = np.random.default_rng(1)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return {
        one.name: random.random([n if isinstance(n, int) else 1 for n in one.shape], np.float32)
        for one in session.get_inputs()
    }


def assert_same(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> None:
    assert list(a) == list(b)
    for name, values in a.items():
        assert values.dtype == b[name].dtype
        assert np.array_equal(values, b[name])


def check_results(model: Path, feeds: Mapping[str, NDArray[Any]]) -> None:
    """Without, made for it and found: bit by bit the same, with 1 and 2 threads."""
    for threads in (1, 2):
        expected = load(model, threads=threads).run(feeds)
        for _ in range(2):
            assert_same(load(model, threads=threads, digest="a").run(feeds), expected)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_a_small_bundle_returns_the_same_bits(dtype: str, kept: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", dtype=dtype)
    model = compile_model(load_config(project.write())).prefix.with_suffix(".onnx")
    check_results(model, feeds_of(model))
    assert len(list(kept.iterdir())) == 1  # the number of threads does not matter


@NEEDS_SHARED
@pytest.mark.parametrize(
    "name", ["unet3p_human_128", "unet_camvid_192x256", "prisma_nchw", "SINet"]
)
def test_a_trained_network_returns_the_same_bits(name: str, kept: Path) -> None:
    model = SHARED / "models" / f"{name}.onnx"
    check_results(model, feeds_of(model))
    assert len(list(kept.iterdir())) == 1


@NEEDS_SHARED
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_a_compiled_trained_network_returns_the_same_bits(
    dtype: str, kept: Path, tmp_path: Path
) -> None:
    config = load_config(
        NETWORKS / "unet_camvid_192x256.yaml",
        dtype=dtype,
        overrides=[f"workspace.path={tmp_path}", "dataset.sampler.get_data_num=4"],
    )
    model = compile_model(config).prefix.with_suffix(".onnx")
    check_results(model, feeds_of(model))


def test_a_kept_graph_is_opened_in_place_of_the_bundles(
    kept: Path, opened: list[str], tmp_path: Path
) -> None:
    folder, x = make_bundle(tmp_path), np.ones(SHAPE, np.float32)
    for _ in range(2):
        with Runner(folder, engine="onnxruntime") as runner:
            np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)
    assert opened == ["mod.onnx", "graph.onnx", "graph.onnx"]


def test_a_rebuilt_bundle_does_not_run_what_was_kept_of_the_old_one(
    kept: Path, tmp_path: Path
) -> None:
    x = np.ones(SHAPE, np.float32)
    for weight in (2.0, 3.0, 2.0):
        with Runner(make_bundle(tmp_path, weight)) as runner:
            np.testing.assert_array_equal(runner.run(x)["y"], weight * x)
    assert len(list(kept.iterdir())) == 2


def test_what_shapes_a_graph_is_kept_apart(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_convolutions(tmp_path)
    load(model, digest="a")
    load(model, digest="a", arena=False, in_turns=True, instances=2)
    assert len(list(kept.iterdir())) == 1
    load(model, digest="b")
    load(model, digest="a", bfloat16=True)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "__version__", "0.1")
        load(model, digest="a")
    monkeypatch.setattr(optimized_graph, "cpu_features", lambda: frozenset({"sse2"}))
    load(model, digest="a")
    assert len(list(kept.iterdir())) == 5


def test_nothing_is_kept_where_that_is_off_or_does_not_pay(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_convolutions(tmp_path)
    (tmp_path / "trace").mkdir()
    load(model)
    load(model, digest="a", trace=tmp_path / "trace").close()
    load(model, digest="a", providers=[("CPU", {"use_arena": "0"})])
    Runner(make_bundle(tmp_path / "bundle"), check=False).close()
    with monkeypatch.context() as patch:
        patch.setattr(optimized_graph, "WORTH_KEEPING", 1 << 19)
        load(model, digest="a")
    with monkeypatch.context() as patch:
        patch.setattr(optimized_graph, "cpu_features", frozenset)
        load(model, digest="a")
    with monkeypatch.context() as patch:
        patch.setenv("MODC_CACHE", "off")
        load(model, digest="a")
    assert not kept.exists()


def damage(how: str, folder: Path) -> None:
    weights = folder / "weights"
    data = bytearray(weights.read_bytes())
    match how:
        case "edited weights":
            data[len(data) // 2] ^= 1
            weights.write_bytes(data)
        case "torn weights":
            weights.write_bytes(data[:-5000])
        case "no weights":
            weights.unlink()
        case "edited graph":
            graph = folder / "graph.onnx"
            graph.write_bytes(graph.read_bytes().replace(b"y0", b"y1"))
        case "no sums":
            (folder / "crc32.json").unlink()
        case "torn sums":
            (folder / "crc32.json").write_text("{")
        case "a file in its place":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            folder.write_bytes(b"x")


@pytest.mark.parametrize(
    "how",
    [
        "edited weights",
        "torn weights",
        "no weights",
        "edited graph",
        "no sums",
        "torn sums",
        "a file in its place",
    ],
)
def test_a_spoilt_graph_is_noticed_and_replaced(
    how: str, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_convolutions(tmp_path)
    feeds = feeds_of(model)
    expected = load(model, digest="a").run(feeds)
    (folder,) = kept.iterdir()
    damage(how, folder)
    with caplog.at_level(logging.WARNING):
        assert_same(load(model, digest="a").run(feeds), expected)
        assert_same(load(model, digest="a").run(feeds), expected)
    assert [message.partition(" is ")[2] for message in caplog.messages] == [
        "spoilt, not used and removed"
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["crc32.json", "graph.onnx", "weights"]


@pytest.mark.parametrize("how", ["torn weights", "no weights", "no graph"])
def test_a_graph_that_does_not_open_is_not_used(
    how: str, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sums are right, as if the disk had been full when it was written."""
    model = write_convolutions(tmp_path)
    feeds = feeds_of(model)
    expected = load(model, digest="a").run(feeds)
    (folder,) = kept.iterdir()

    def fill(into: Path) -> None:
        for name in ("graph.onnx", "weights"):
            (into / name).write_bytes((aside / name).read_bytes())
        if how == "no graph":
            (into / "graph.onnx").write_bytes(b"nonsense")
        else:
            damage(how, into)

    aside = folder.rename(tmp_path / "aside")
    KeptFolders(kept, limit=1 << 30).keep(folder.name, fill)
    with caplog.at_level(logging.WARNING):
        assert_same(load(model, digest="a").run(feeds), expected)
    assert ["is not used" in message for message in caplog.messages] == [True]
    assert list(kept.iterdir()) == []


def test_errors_are_those_of_the_graph_itself(
    kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_convolutions(tmp_path)
    wrong = {"x": np.ones((1, 2, 8, 8), np.float32)}
    messages = []
    for digest in (None, "a", "a"):
        with pytest.raises(Exception, match="dimensions") as caught:  # they have no common base
            load(model, digest=digest).run(wrong)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    (tmp_path / "mod.params").unlink()
    messages = []
    with caplog.at_level(logging.WARNING):
        for digest in (None, "b"):
            with pytest.raises(Exception, match=r"mod\.params") as caught:  # as above
                load(model, digest=digest)
            messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert caplog.messages == []
    assert len(list(kept.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_error(
    kept: Path, tmp_path: Path, opened: list[str]
) -> None:
    kept.parent.write_text("in the way")
    model = write_convolutions(tmp_path)
    load(model, digest="a")
    assert opened == ["mod.onnx"]


@ON_LINUX
def test_weights_are_mapped_and_outlive_their_file(kept: Path, tmp_path: Path) -> None:
    model = write_convolutions(tmp_path, channels=128)
    feeds = feeds_of(model)
    session = load(model, threads=1, digest="a")
    expected = session.run(feeds)
    (folder,) = kept.iterdir()
    weights = folder / "weights"
    mapped = memory_by_file(os.getpid())
    assert mapped is not None
    memory = mapped[str(weights)]
    assert memory.rss >= weights.stat().st_size >= 3 * 128 * 128 * 9 * 4
    assert memory.anonymous == 0  # no page is a copy of the process's own
    KeptFolders(kept, limit=1 << 30).remove(folder.name)
    assert list(kept.iterdir()) == []
    assert_same(session.run(feeds), expected)
    assert_same(load(model, threads=1, digest="a").run(feeds), expected)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_nobody_else_can_read_what_is_kept(kept: Path, tmp_path: Path) -> None:
    load(write_convolutions(tmp_path), digest="a")
    (folder,) = kept.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (kept, folder)] == [0o700, 0o700]


CHILD = """
import sys
from pathlib import Path
from compiler.runner import onnxruntime, optimized_graph
optimized_graph.WORTH_KEEPING = 0
import numpy as np
model = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
session = onnxruntime.load(model, threads=1, digest="a")
x = np.ones((1, 64, 8, 8), np.float32)
print(session.run({"x": x})["y2"].tobytes().hex())
"""


@ON_LINUX
def test_processes_that_start_together_keep_one_graph(kept: Path, tmp_path: Path) -> None:
    model = write_convolutions(tmp_path, channels=64)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(model)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda process: process.communicate("go\n"), processes))
    assert [error for _, error in results] == [""] * 3
    assert len({output for output, _ in results}) == 1
    assert len(list(kept.iterdir())) == 1


def test_open_dimensions_stay_open(kept: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}>
    { y = MatMul(x, w) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "mod.onnx")
    for _ in range(2):
        session = load(tmp_path / "mod.onnx", digest="a")
        for count in (1, 4):
            y = session.run({"x": np.ones((count, 3), np.float32)})["y"]
            np.testing.assert_array_equal(y, np.tile([[9.0, 12.0]], (count, 1)))


def test_onnxruntime_writes_nothing_into_the_home(tmp_path: Path) -> None:
    """Its import alone would write an identifier and a database, and report to a server."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from compiler.runner.load import Runner\n"
        f"Runner({str(make_bundle(tmp_path))!r}, engine='onnxruntime').close()"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"HOME": str(home), "MODC_CACHE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
