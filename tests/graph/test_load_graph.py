"""Graphs that were saved come back as they were, their weights mapped instead of read."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import infer_shapes, load_graph, save_model, to_graph, to_model
from compiler.passes import FLOAT16_PASSES, FLOAT_PASSES
from compiler.passes.run import run_passes
from tests.support.models import SHARED, assert_close, model_from_text, run

TWO_CONVS = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y)
<float[16, 3, 3, 3] w1, float[16] b1, float[8, 16, 5, 5] w2>
{ a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  half = Constant<value_float = 0.5>()
  h = Mul(a, half)
  y = Conv<pads = [2, 2, 2, 2]>(h, w2) }"""

BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
g (bool c, float[1, 300] x) => (float[1, 300] y, float[N, 300] z)
<float[300] w, float[300] only_inside>
{ a = Mul(x, w)
  y = If (c) <
    then_branch = t () => (float[1, 300] u) {
      k = Constant<value_float = 2.0>() m = Mul(a, w) u = Mul(m, k) },
    else_branch = e () => (float[1, 300] v) { v = Sub(a, only_inside) }
  >
  z = Clip(a, , k1)
  s = Constant<value_strings = ["text"]>()
  k1 = Constant<value_float = 1.0>() }"""

ODD_SHAPES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4] x, float s) => (float[N, 4] y, int64[2, M] places, bool e)
{ y = Mul(x, s) places = NonZero(x) zero = Constant<value_float = 0.0>() e = Greater(s, zero) }"""


def _save(graph: gs.Graph, folder: Path) -> Path:
    folder.mkdir()
    save_model(graph, folder / "mod.onnx", folder / "mod.params")
    return folder / "mod.onnx"


def _infos(graph: gs.Graph) -> list[object]:
    return [
        (name, None if one.shape is None else list(one.shape), one.dtype)
        for name, one in graph.tensors().items()
    ]


def assert_comes_back(graph: gs.Graph, folder: Path) -> gs.Graph:
    """The saved graph loads with everything it had, and saves as the same bytes."""
    first = _save(graph, folder / "first")
    loaded = load_graph(first)
    second = _save(loaded, folder / "second")
    for name in ("mod.onnx", "mod.params"):
        assert first.with_name(name).read_bytes() == second.with_name(name).read_bytes()
    assert [node.name for node in loaded.nodes] == [node.name for node in graph.nodes]
    assert _infos(loaded) == _infos(graph)
    return loaded


@pytest.mark.parametrize("text", [TWO_CONVS, BRANCHES, ODD_SHAPES], ids=["convs", "if", "shapes"])
def test_small_graphs_come_back(text: str, tmp_path: Path) -> None:
    graph = to_graph(model_from_text(text)).cleanup().toposort()
    infer_shapes(graph)
    assert_comes_back(graph, tmp_path)


NETWORKS: dict[str, dict[str, tuple[int, ...]]] = {
    "SINet.onnx": {},
    "prisma_nchw.onnx": {"input_3": (1, 3, 256, 256)},
    "unet3p_human_128.onnx": {},
    "unet_camvid_192x256.onnx": {},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks_come_back_before_and_after_passes(name: str, tmp_path: Path) -> None:
    path = SHARED / "models" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    graph = load_onnx(path, NETWORKS[name]).graph
    for stage in ("before", "after"):
        (tmp_path / stage).mkdir()
        if stage == "after":
            run_passes(graph, FLOAT_PASSES)
        assert_comes_back(graph, tmp_path / stage)


def test_passes_do_the_same_to_a_graph_that_was_loaded(tmp_path: Path) -> None:
    graph = to_graph(model_from_text(TWO_CONVS))
    loaded = load_graph(_save(graph, tmp_path / "before"))
    paths = []
    for number, one in enumerate((graph, loaded)):
        run_passes(one, (*FLOAT_PASSES, *FLOAT16_PASSES))
        paths.append(_save(one, tmp_path / str(number)))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    data = [path.with_name("mod.params").read_bytes() for path in paths]
    assert data[0] == data[1]


def test_a_loaded_graph_computes_the_same(tmp_path: Path) -> None:
    graph = to_graph(model_from_text(TWO_CONVS))
    loaded = load_graph(_save(graph, tmp_path / "saved"))
    assert_close(run(to_model(loaded)), run(to_model(graph)), rtol=0, atol=0)


def test_a_model_without_data_file_comes_back(tmp_path: Path) -> None:
    save_model(to_graph(model_from_text(TWO_CONVS)), tmp_path / "one.onnx")
    save_model(load_graph(tmp_path / "one.onnx"), tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def _owner(values: NDArray[Any]) -> object:
    """What holds the memory that an array looks at."""
    owner: object = values
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


def test_weights_are_views_of_the_mapped_file_and_survive_its_deletion(tmp_path: Path) -> None:
    graph = to_graph(model_from_text(TWO_CONVS))
    path = _save(graph, tmp_path / "saved")
    tensors = load_graph(path).tensors()
    for name in ("w1", "w2"):
        values = tensors[name].values
        assert isinstance(_owner(values), mmap.mmap)
        assert type(values) is np.ndarray
        assert not values.flags.writeable
        assert values.flags.aligned
    assert _owner(tensors["w1"].values) is _owner(tensors["w2"].values)
    assert not isinstance(_owner(tensors["b1"].values), mmap.mmap)  # small: in the model
    path.with_name("mod.params").unlink()
    np.testing.assert_array_equal(tensors["w2"].values, graph.tensors()["w2"].values)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "?", "i1", "i4", "i8", "u1", "u2", "u8"])
def test_every_element_type_comes_back(kind: str, tmp_path: Path) -> None:
    values = np.arange(3 * 700).reshape(3, 700).astype(np.dtype(kind))
    constant = gs.Constant("w", values)
    output = gs.Variable("y", values.dtype, values.shape)
    node = gs.Node("Identity", "copy", inputs=[constant], outputs=[output])
    loaded = assert_comes_back(gs.Graph([node], outputs=[output], opset=17), tmp_path)
    found = loaded.tensors()["w"].values
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mod.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=r"mod\.onnx is no ONNX model"):
        load_graph(tmp_path / "mod.onnx")
    with pytest.raises(FileNotFoundError):
        load_graph(tmp_path / "absent.onnx")


def test_a_data_file_that_is_absent_or_cut_off_is_refused(tmp_path: Path) -> None:
    path = _save(to_graph(model_from_text(TWO_CONVS)), tmp_path / "saved")
    data = path.with_name("mod.params")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"'w2' is cut off: mod\.params is too short"):
        load_graph(path)
    data.unlink()
    with pytest.raises(FileNotFoundError):
        load_graph(path)


def test_a_data_file_in_another_folder_is_never_opened(tmp_path: Path) -> None:
    path = _save(to_graph(model_from_text(TWO_CONVS)), tmp_path / "saved")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../mod.params"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"'w1' lies in another folder: \.\./mod\.params"):
        load_graph(path)
