"""The network as it is read, and after the float passes: computed, or taken from the cache."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import load_config
from compiler.errors import BuildFileError, ModcError
from compiler.graph.convert import to_bytes, to_model
from compiler.pipeline.cache import StageCache
from compiler.pipeline.clock import Clock
from compiler.pipeline.prepare import Prepared, prepare
from tests.support.models import run
from tests.support.project import Project, make_project


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "cache")


def _prepare(project: Project, cache: StageCache, work: str) -> Prepared:
    folder = project.folder / work
    folder.mkdir()
    return prepare(load_config(project.write()), cache, folder, Clock(None))


def _facts(one: Prepared) -> tuple[object, ...]:
    return (
        one.files,
        one.notes,
        to_bytes(to_model(one.interface)),
        to_bytes(to_model(one.graph)),
        one.original.read_bytes(),
        one.passes,
        one.rewrites,
        one.kept_float,
        one.float_milliseconds,
    )


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_what_is_stored_is_what_was_computed(dtype: str, tmp_path: Path, cache: StageCache) -> None:
    project = make_project(tmp_path, dtype=dtype)
    project.document["backend"]["optimize"]["rewrite"] = True
    first = _prepare(project, cache, "first")
    second = _prepare(project, cache, "second")
    assert [one.stage for one in cache.entries()] == ["passes"]
    assert second.original == tmp_path / "second" / "original.onnx"
    assert _facts(second) == _facts(first)
    assert _facts(second) == _facts(_prepare(project, StageCache(None), "third"))


def test_the_original_stays_as_it_was_read(tmp_path: Path, cache: StageCache) -> None:
    found = _prepare(make_project(tmp_path), cache, "work")
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    expected = run(onnx.load(tmp_path / "net.onnx"), {"input": image})
    actual = run(onnx.load(found.original), {"input": image})
    np.testing.assert_array_equal(actual[0], expected[0])
    assert [node.op for node in found.graph.nodes] == ["Conv", "Relu", "Conv"]
    assert "BatchNormalization" in [node.op for node in found.interface.nodes]


def test_a_graph_outlives_its_entry(tmp_path: Path, cache: StageCache) -> None:
    project = make_project(tmp_path)
    first = _facts(_prepare(project, cache, "first"))
    found = _prepare(project, cache, "second")
    cache.prune(everything=True)
    assert _facts(found) == first


def test_lists_of_layers_are_no_part_of_the_entry(tmp_path: Path, cache: StageCache) -> None:
    project = make_project(tmp_path)
    _prepare(project, cache, "first")
    project.document["backend"]["quantize"]["exclude_layers"] = ["last"]
    found = _prepare(project, cache, "second")
    assert len(cache.entries()) == 1
    assert "last" in found.kept_float.reasons


def test_a_checkpoint_that_is_not_there_is_a_mistake_of_the_build_file(
    tmp_path: Path, cache: StageCache
) -> None:
    project = make_project(tmp_path)
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(BuildFileError, match=r"net\.onnx"):
        _prepare(project, cache, "work")
    assert cache.entries() == ()


def test_a_checkpoint_that_cannot_be_read_leaves_nothing_in_the_cache(
    tmp_path: Path, cache: StageCache
) -> None:
    project = make_project(tmp_path)
    (tmp_path / "net.onnx").unlink()
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(ModcError, match=r"net\.onnx"):
        _prepare(project, cache, "work")
    assert cache.entries() == ()
