"""Engine `auto`: measured once, remembered, and never in the way."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.runner import choose_engine
from compiler.runner.choose_engine import choose
from compiler.runner.engine import EngineName
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec
from compiler.runner.read import Bundle, read_bundle
from tests.support.bundles import MANIFEST, SHAPE, make_bundle

pytestmark = pytest.mark.usefixtures("openvino_is_installed")


@pytest.fixture
def openvino_is_installed() -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")


class Fake:
    """A session that takes as long as it is told."""

    on_cpu = True

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert [array.dtype.name for array in feeds.values()] == ["float32"]
        time.sleep(self.seconds)
        return {}

    def close(self) -> None:
        self.seconds = 0


Speeds = dict[EngineName, float | Exception]
Opened = list[EngineName]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speeds], Opened]:
    """Replaces the engines by some of given speed; the list says which were opened."""

    def install(speeds: Speeds) -> Opened:
        opened: Opened = []

        def open_(name: EngineName, *_: object, **__: object) -> Fake:
            opened.append(name)
            speed = speeds[name]
            if isinstance(speed, Exception):
                raise speed
            return Fake(speed)

        monkeypatch.setattr(choose_engine, "open_session", open_)
        return opened

    return install


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(make_bundle(tmp_path))


def choose_for(bundle: Bundle, *, threads: int = 1, instances: int = 1) -> EngineName:
    return choose(bundle, threads=threads, instances=instances, bfloat16=False)


@pytest.mark.parametrize("best", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("instances", [1, 2])
def test_the_faster_engine_is_chosen_and_remembered(
    best: EngineName,
    instances: int,
    engines: Callable[[Speeds], Opened],
    cache: Path,
    bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened = engines({"onnxruntime": 0.02, "openvino": 0.02, best: 0.002})
    with caplog.at_level(logging.INFO):
        assert choose_for(bundle, instances=instances) == best
    assert f"engine auto is {best}: onnxruntime " in caplog.text
    assert opened == ["onnxruntime", "openvino"]
    assert choose_for(bundle, instances=instances) == best
    assert len(opened) == 2
    assert len(list(cache.iterdir())) == 1


def test_another_bundle_thread_count_or_instance_count_is_measured_anew(
    engines: Callable[[Speeds], Opened], cache: Path, bundle: Bundle, tmp_path: Path
) -> None:
    opened = engines({"onnxruntime": 0.001, "openvino": 0.01})
    other = read_bundle(make_bundle(tmp_path, 3.0))
    for one, threads, instances in ((bundle, 1, 1), (bundle, 2, 1), (bundle, 1, 2), (other, 1, 1)):
        choose_for(one, threads=threads, instances=instances)
    assert len(opened) == 8


def test_a_spoilt_memory_is_measured_anew(
    engines: Callable[[Speeds], Opened], cache: Path, bundle: Bundle
) -> None:
    opened = engines({"onnxruntime": 0.001, "openvino": 0.01})
    choose_for(bundle)
    (path,) = cache.iterdir()
    for spoilt in (b"", b"{", path.read_bytes()[:-1]):
        path.write_bytes(spoilt)
        assert choose_for(bundle) == "onnxruntime"
    assert len(opened) == 8


def test_without_a_cache_every_load_measures(
    engines: Callable[[Speeds], Opened], bundle: Bundle
) -> None:
    opened = engines({"onnxruntime": 0.001, "openvino": 0.01})
    for _ in range(2):
        assert choose_for(bundle) == "onnxruntime"
    assert len(opened) == 4


def test_an_engine_that_cannot_run_the_bundle_is_not_chosen(
    engines: Callable[[Speeds], Opened], cache: Path, bundle: Bundle
) -> None:
    engines({"onnxruntime": 0.01, "openvino": RuntimeError("no kernel")})
    assert choose_for(bundle) == "onnxruntime"


def test_a_bundle_that_none_can_run_is_left_to_onnxruntime_and_its_error(
    engines: Callable[[Speeds], Opened], cache: Path, bundle: Bundle
) -> None:
    engines({"onnxruntime": RuntimeError("torn"), "openvino": RuntimeError("torn")})
    assert choose_for(bundle) == "onnxruntime"
    assert not cache.exists()


def test_without_openvino_auto_is_onnxruntime_and_the_log_says_so(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    folder = make_bundle(tmp_path)
    with caplog.at_level(logging.INFO), Runner(folder, engine="auto") as runner:
        assert runner.engine == "onnxruntime"
    assert "engine auto is onnxruntime: no openvino" in caplog.text
    assert not cache.exists()


def test_a_bundle_that_names_auto_runs_on_either(cache: Path, tmp_path: Path) -> None:
    x = np.ones(SHAPE, np.float32)
    with Runner(make_bundle(tmp_path, manifest=replace(MANIFEST, engine="auto"))) as runner:
        np.testing.assert_array_equal(runner.run(x)["y"], 2 * x)
        chosen = runner.engine
    with Runner(tmp_path / "net") as runner:
        assert runner.engine == chosen


def test_open_sizes_are_measured_at_their_largest_for_one_sample(
    cache: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TensorSpec("x", (-1, 3, -1, -1), "float32", ((1, 9), (3, 3), (32, 64), (48, 64)))
    shapes = []

    class Recording(Fake):
        def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            shapes.append(feeds["x"].shape)
            return super().run(feeds)

    monkeypatch.setattr(choose_engine, "open_session", lambda *_, **__: Recording(0.01))
    choose_for(replace(bundle, manifest=replace(MANIFEST, inputs=(spec,))))
    assert set(shapes) == {(1, 3, 64, 64)}


def test_providers_leave_nothing_to_choose(
    tmp_path: Path, engines: Callable[[Speeds], Opened]
) -> None:
    opened = engines({"onnxruntime": 0.01, "openvino": 0.001})
    with Runner(make_bundle(tmp_path), engine="auto", providers=["CPU"], threads=1) as runner:
        assert runner.engine == "onnxruntime"
    assert opened == []
