"""Engines behind one interface: the same networks give the same outputs on each."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compiler.errors import BundleError, MissingRequirementError
from compiler.runner.cpu import has_bfloat16
from compiler.runner.engine import EngineName, open_session
from compiler.runner.load import Runner
from compiler.runner.user_cache import KeptFiles
from tests.support.bundles import MANIFEST, SHAPE, make_bundle

ROOT = Path(__file__).resolve().parents[2]
Shapes = Mapping[str, tuple[int, ...]]
X = np.array([[1.5, -2.0, 0.0, 0.25]], np.float32)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which OpenVINO's compiled graphs are kept."""
    pytest.importorskip("compiler.runner.openvino")
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def write(folder: Path, text: str, opset: int = 17) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


NETWORKS = {
    "several inputs and outputs": (
        """g (float[1, 2] a, int64[1, 2] b) => (float[1, 2] total, float[1, 2] c)
        { c = Cast<to = 1>(b) total = Add(a, c) }""",
        {"a": np.ones((1, 2), np.float32), "b": np.array([[0, 2]])},
        {"total": np.array([[1, 3]], np.float32), "c": np.array([[0, 2]], np.float32)},
    ),
    "uint8 input": (
        "g (uint8[1, 4] x) => (float[1, 4] y) { y = Cast<to = 1>(x) }",
        {"x": np.array([[0, 1, 128, 255]], np.uint8)},
        {"y": np.array([[0, 1, 128, 255]], np.float32)},
    ),
    "integer and bool outputs": (
        """g (float[1, 4] x) => (uint8[1, 4] u, int8[1, 4] s, bool[1, 4] b, int64[1, 1] a)
        <float zero = {0.0}>
        { p = Abs(x) u = Cast<to = 2>(p) s = Cast<to = 3>(x) b = Greater(x, zero)
          a = ArgMax<axis = 1>(x) }""",
        {"x": X},
        {
            "u": np.array([[1, 2, 0, 0]], np.uint8),
            "s": np.array([[1, -2, 0, 0]], np.int8),
            "b": np.array([[True, False, False, True]]),
            "a": np.array([[0]]),
        },
    ),
    "bool input": (
        "g (bool[2] x) => (bool[2] y) { y = Not(x) }",
        {"x": np.array([True, False])},
        {"y": np.array([False, True])},
    ),
    "float16": (
        "g (float16[1, 4] x) => (float16[1, 4] y) { y = Relu(x) }",
        {"x": X.astype(np.float16)},
        {"y": np.maximum(X, 0).astype(np.float16)},
    ),
    "scalars": (
        "g (float x) => (float y) { y = Neg(x) }",
        {"x": np.array(3, np.float32)},
        {"y": np.array(-3, np.float32)},
    ),
    "output of a size that the values decide": (
        "g (float[1, 4] x) => (int64[2, n] y) { y = NonZero(x) }",
        {"x": X},
        {"y": np.array([[0, 0, 0], [0, 1, 3]])},
    ),
    "empty output": (
        "g (float[1, 4] x) => (int64[2, n] y) { y = NonZero(x) }",
        {"x": np.zeros((1, 4), np.float32)},
        {"y": np.zeros((2, 0), np.int64)},
    ),
    "open sizes": (
        "g (float[n, 3, h, w] x) => (float[n, 3, h, w] y) { y = Neg(x) }",
        {"x": np.ones((2, 3, 5, 7), np.float32)},
        {"y": -np.ones((2, 3, 5, 7), np.float32)},
    ),
    "an output behind nodes that do nothing": (
        """g (float[1, 4] x) => (float[1, 4] z)
        { b = Relu(x) a = Identity(b) z = Cast<to = 1>(a) }""",
        {"x": X},
        {"z": np.maximum(X, 0)},
    ),
    "one tensor under two names, in the graph's order": (
        "g (float[1, 4] x) => (float[1, 4] z, float[1, 4] b) { b = Relu(x) z = Identity(b) }",
        {"x": X},
        {"z": np.maximum(X, 0), "b": np.maximum(X, 0)},
    ),
    "a constant output": (
        "g (float[1, 4] x) => (float[1, 4] y, float[2] z) <float[2] c = {1.0, 2.0}> "
        "{ y = Neg(x) z = Identity(c) }",
        {"x": X},
        {"y": -X, "z": np.array([1, 2], np.float32)},
    ),
    "an input that nothing reads": (
        "g (float[1, 4] x, float[1] q) => (float[1, 4] y) { y = Neg(x) }",
        {"x": X, "q": np.ones(1, np.float32)},
        {"y": -X},
    ),
    "int8 convolution with uint8 activations": (
        """g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
        <float s = {0.5}, uint8 z = {0}, int8[1, 1, 1, 1] w = {3}, float[1] ws = {0.5},
         int8[1] wz = {0}>
        { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
          v = DequantizeLinear<axis = 0>(w, ws, wz) c = Conv(d, v)
          o = QuantizeLinear(c, s, z) y = DequantizeLinear(o, s, z) }""",
        {"x": np.array([[[[1, 2], [3, 4.1]]]], np.float32)},
        {"y": np.array([[[[1.5, 3], [4.5, 6]]]], np.float32)},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_engine_returns_the_graphs_outputs(
    name: str, engine: EngineName, tmp_path: Path
) -> None:
    text, feeds, expected = NETWORKS[name]
    session = open_session(engine, write(tmp_path, text), threads=1)
    outputs = session.run(feeds)
    assert list(outputs) == list(expected)
    for output, values in expected.items():
        assert type(outputs[output]) is np.ndarray
        assert outputs[output].dtype == values.dtype
        np.testing.assert_array_equal(outputs[output], values)
    session.close()


@pytest.mark.parametrize(
    "feeds",
    [{}, {"y": X}, {"x": X, "y": X}, {"x": X.astype(np.float64)}, {"x": X[:, :2]}],
    ids=["none", "another name", "one too many", "another dtype", "another shape"],
)
def test_wrong_feeds_are_refused(
    feeds: Mapping[str, NDArray[Any]], engine: EngineName, tmp_path: Path
) -> None:
    model = write(tmp_path, "g (float[1, 4] x) => (float[1, 4] y) { y = Neg(x) }")
    session = open_session(engine, model, threads=1)
    with pytest.raises(Exception, match=r"."):  # engines' errors have no common base
        session.run(feeds)
    np.testing.assert_array_equal(session.run({"x": X})["y"], -X)


OPEN_SIZES: dict[str, tuple[str, list[Shapes], Shapes]] = {
    "of two inputs": (
        "g (float[1, h] a, float[1, w] b) => (float[1, n] y) { y = Add(a, b) }",
        [{"a": (1, 8), "b": (1, 8)}, {"a": (1, 6), "b": (1, 6)}],
        {"a": (1, 9), "b": (1, 640)},
    ),
    "of a network that halves and doubles them": (
        """g (float[1, 1, h, w] x) => (float[1, 2, p, q] y) <float[4] s = {1, 1, 2, 2}>
        { d = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
          u = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric",
                     nearest_mode = "floor">(d, , s)
          y = Concat<axis = 1>(x, u) }""",
        [{"x": (1, 1, 8, 8)}, {"x": (1, 1, 6, 4)}],
        {"x": (1, 1, 9, 9)},
    ),
    "of a network that counts its elements": (
        "g (float[1, h, w] x) => (float[p, q] y) <int64[2] to = {-1, 16}> { y = Reshape(x, to) }",
        [{"x": (1, 8, 8)}, {"x": (1, 4, 4)}],
        {"x": (1, 9, 7)},
    ),
}


@pytest.mark.parametrize("name", OPEN_SIZES)
def test_open_sizes_that_the_network_cannot_take_are_refused(
    name: str, engine: EngineName, tmp_path: Path
) -> None:
    text, right, wrong = OPEN_SIZES[name]
    session = open_session(engine, write(tmp_path, text), threads=1)
    for shapes in (*right, *right):
        (y,) = session.run(_ones(shapes)).values()
        assert y.size
        assert set(np.unique(y)) <= {1.0, 2.0}
        with pytest.raises(Exception, match=r"(?i)shape|dimension"):  # no common base
            session.run(_ones(wrong))


def _ones(shapes: Shapes) -> dict[str, NDArray[np.float32]]:
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "x",
    [np.asfortranarray(np.tile(X, (3, 1))), np.tile(X, (3, 2))[:, ::2], np.tile(X, (3, 1))],
    ids=["columns first", "strided", "read-only"],
)
def test_memory_layout_of_the_feeds_does_not_matter(
    x: NDArray[np.float32], engine: EngineName, tmp_path: Path
) -> None:
    x.flags.writeable = False
    model = write(tmp_path, "g (float[3, 4] x) => (float[3, 4] y) { y = Neg(x) }")
    np.testing.assert_array_equal(open_session(engine, model, threads=1).run({"x": x})["y"], -x)


@pytest.mark.parametrize("instances", [1, 3])
def test_a_session_runs_samples_of_many_threads(
    instances: int, engine: EngineName, tmp_path: Path
) -> None:
    model = write(tmp_path, "g (float[64, 64] x) => (float[64, 64] y) { y = MatMul(x, x) }")
    session = open_session(engine, model, threads=1, instances=instances)
    samples = [np.full((64, 64), value, np.float32) for value in range(40)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: session.run({"x": x})["y"], samples))
    for sample, result in zip(samples, results, strict=True):  # none was written over
        np.testing.assert_array_equal(result, 64 * sample**2)


def test_a_thread_that_never_stops_leaves_others_their_turn(
    engine: EngineName, tmp_path: Path
) -> None:
    model = write(tmp_path, "g (float[1, 4] x) => (float[1, 4] y) { y = Neg(x) }")
    session, done = open_session(engine, model, threads=1), threading.Event()

    def work() -> None:
        while not done.is_set():
            session.run({"x": X})

    def run_some() -> None:
        for _ in range(50):
            session.run({"x": X})

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(work) for _ in range(3)]
        try:
            pool.submit(run_some).result(timeout=20)
        finally:
            done.set()
    assert all(one.exception() is None for one in busy)


def test_a_bundle_runs_on_the_engine_that_the_caller_or_the_bundle_names(
    engine: EngineName, tmp_path: Path
) -> None:
    x = np.ones(SHAPE, np.float32)
    plain = make_bundle(tmp_path / "a")
    named = make_bundle(tmp_path / "b", manifest=replace(MANIFEST, engine=engine))
    for runner in (Runner(plain, engine=engine, threads=1), Runner(named, instances=2)):
        with runner:
            assert runner.engine == engine
            np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)


def test_a_graph_that_an_engine_cannot_load_is_one_clear_error(
    engine: EngineName, tmp_path: Path
) -> None:
    folder = make_bundle(tmp_path)
    text = """<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
    g (float[1, 4] x) => (float[1, 4] y) { y = com.acme.Foo(x) }"""
    onnx.save(onnx.parser.parse_model(text), folder / "mod.onnx")
    with pytest.raises(Exception, match="Foo") as caught:
        open_session(engine, folder / "mod.onnx", threads=1)
    assert "src/" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_providers_belong_to_onnxruntime(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirementError, match="ONNX Runtime's") as caught:
        Runner(make_bundle(tmp_path), engine="openvino", providers=["CPU"])
    assert "leave the providers out" in caught.value.fix


def test_an_absent_openvino_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingRequirementError, match="openvino cannot be imported") as caught:
        Runner(make_bundle(tmp_path), engine="openvino")
    assert caught.value.fix == "pip install 'modc[openvino]', or choose engine onnxruntime"


def test_openvino_prints_nothing_and_leaves_no_file(kept: Path, tmp_path: Path) -> None:
    """Its import alone would write an identifier into the home, and report to a server."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys\n"
        "from compiler.runner.load import Runner\n"
        f"Runner({str(make_bundle(tmp_path))!r}, engine='openvino').close()\n"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), "MODC_CACHE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("first", [1, 3])
def test_what_openvino_compiled_is_kept_and_used_again(
    first: int, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    folder, x = make_bundle(tmp_path), np.ones(SHAPE, np.float32)
    with Runner(folder, engine="openvino", threads=1, instances=first) as runner:
        expected = runner.run(x)["y"]
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(openvino.Core, "compile_model", None)  # else TypeError
    for instances in (1, 2, 3):
        with Runner(folder, engine="openvino", threads=1, instances=instances) as runner:
            for result in runner.stream([x] * 6):
                assert result.outputs is not None
                np.testing.assert_array_equal(result.outputs["y"], expected)


def test_a_rebuilt_bundle_does_not_run_what_was_kept_of_the_old_one(
    kept: Path, tmp_path: Path
) -> None:
    x = np.ones(SHAPE, np.float32)
    for weight in (2.0, 3.0, 2.0):
        with Runner(make_bundle(tmp_path, weight), engine="openvino") as runner:
            np.testing.assert_array_equal(runner.run(x)["y"], weight * x)
    assert len(list(kept.iterdir())) == 2


def test_nothing_is_kept_of_a_bundle_whose_contents_are_not_checked(
    kept: Path, tmp_path: Path
) -> None:
    with Runner(make_bundle(tmp_path), engine="openvino", check=False) as runner:
        assert runner.run(np.ones(SHAPE, np.float32))["y"].sum() == 144
    assert not kept.exists()


@pytest.mark.parametrize("how", ["torn", "not its own"])
def test_a_spoilt_file_in_the_cache_is_replaced(
    how: str, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, x = make_bundle(tmp_path), np.ones(SHAPE, np.float32)
    Runner(folder, engine="openvino").close()
    (path,) = kept.iterdir()
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        KeptFiles(kept, limit=1 << 20).write(path.name, b"something else")
    with caplog.at_level(logging.WARNING), Runner(folder, engine="openvino") as runner:
        np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)
    assert len(caplog.messages) == 1
    assert "not used" in caplog.messages[0]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Runner(folder, engine="openvino").close()
    assert caplog.messages == []


MATRICES = "g (float[32, 64] x, float[64, 32] w) => (float[32, 32] y) { y = MatMul(x, w) }"


@pytest.mark.parametrize("bfloat16", [False, True])
def test_openvino_multiplies_in_bfloat16_only_when_asked(
    bfloat16: bool, kept: Path, tmp_path: Path
) -> None:
    if not has_bfloat16("openvino"):
        pytest.skip("this CPU has no bfloat16 for OpenVINO")
    random = np.random.default_rng(0)
    x, w = (random.random(shape).astype(np.float32) for shape in ((32, 64), (64, 32)))
    session = open_session("openvino", write(tmp_path, MATRICES), threads=1, bfloat16=bfloat16)
    error = np.abs(session.run({"x": x, "w": w})["y"] - x @ w).max() / (x @ w).max()
    assert (1e-4 < error < 1e-2) if bfloat16 else error < 1e-6


def test_a_bf16_bundle_runs_on_openvino_in_bfloat16(kept: Path, tmp_path: Path) -> None:
    if not has_bfloat16("openvino"):
        pytest.skip("this CPU has no bfloat16 for OpenVINO")
    manifest = replace(MANIFEST, quantization={"dtype": "bf16"}, engine="openvino")
    with Runner(make_bundle(tmp_path, manifest=manifest)) as runner:
        y = runner.run(np.full(SHAPE, 1.001, np.float32))["y"]
    np.testing.assert_allclose(y, 2.002, rtol=2**-7)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux' /proc")
def test_loading_and_closing_leaves_no_thread_and_no_file_open(
    engine: EngineName, tmp_path: Path
) -> None:
    folder = make_bundle(tmp_path)
    counts = []
    for _ in range(30):
        with Runner(folder, engine=engine, threads=2) as runner:
            runner.run(np.ones(SHAPE, np.float32))
        counts.append([len(os.listdir(f"/proc/self/{what}")) for what in ("task", "fd")])  # noqa: PTH208
    assert counts[-1] == counts[1]


def test_a_closed_session_is_a_bundle_error(engine: EngineName, tmp_path: Path) -> None:
    runner = Runner(make_bundle(tmp_path), engine=engine)
    runner.close()
    with pytest.raises(BundleError, match="closed"):
        runner.run(np.ones(SHAPE, np.float32))
