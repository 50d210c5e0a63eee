from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from compiler.graph.convert import (
    ALIGNMENT,
    check_graph,
    check_model,
    infer_shapes,
    save_model,
    to_bytes,
    to_graph,
    to_model,
    to_skeleton,
)
from tests.support.models import assert_close, model_from_text, random_feeds, run

TWO_CONVS = """
<ir_version: 9, opset_import: ["" : 18], producer_name: "other", doc_string: "words">
g (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y)
<float[16, 3, 3, 3] w1, float[16] b1, float[8, 16, 5, 5] w2>
{ a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  half = Constant<value_float = 0.5>()
  h = Mul(a, half)
  y = Conv<pads = [2, 2, 2, 2]>(h, w2) }"""


@pytest.fixture
def graph() -> gs.Graph:
    return to_graph(model_from_text(TWO_CONVS))


def test_a_round_trip_keeps_the_results(graph: gs.Graph) -> None:
    assert_close(run(to_model(graph)), run(model_from_text(TWO_CONVS)), rtol=0, atol=0)


def test_constant_nodes_become_constants(graph: gs.Graph) -> None:
    assert [node.op for node in graph.nodes] == ["Conv", "Mul", "Conv"]
    assert graph.tensors()["half"].values == np.float32(0.5)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value = int64[2] {3, 4}", np.array([3, 4])),
        ("value_int = 3", np.array(3)),
        ("value_ints = [3, 4]", np.array([3, 4])),
        ("value_floats = [0.5, 2.0]", np.array([0.5, 2.0], np.float32)),
    ],
)
def test_every_kind_of_constant_node_is_read(attribute: str, expected: np.ndarray) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)
    {{ c = Constant<{attribute}>() d = Cast<to = 1>(c) y = Mul(x, d) }}"""
    graph = to_graph(model_from_text(text))
    value = graph.tensors()["c"].values
    np.testing.assert_array_equal(value, expected)
    assert value.dtype == expected.dtype


def test_constants_that_are_outputs_or_text_stay_nodes() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1] x) => (float[1] y, float z, bool[1] e)
    { y = Relu(x) z = Constant<value_float = 1.0>()
      s = Constant<value_strings = ["a"]>() e = Equal(s, s) }"""
    graph = to_graph(model_from_text(text.replace('"" : 17', '"" : 19')))
    assert [node.op for node in graph.nodes] == ["Relu", "Constant", "Constant", "Equal"]


def test_unnamed_and_repeated_nodes_get_unique_names() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y)
    { a = Relu(x) b = Abs(a) c = Neg(b) y = Neg(c) }"""
    model = model_from_text(text)
    model.graph.node[1].name = model.graph.node[2].name = "same"
    graph = to_graph(model)
    assert [node.name for node in graph.nodes] == ["Relu_a", "same", "same_1", "Neg_y"]


def test_the_model_states_its_versions_and_no_metadata(graph: gs.Graph) -> None:
    model = to_model(graph)
    assert (model.producer_name, model.producer_version) == ("modc", "")
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)
    assert (model.doc_string, model.graph.doc_string, len(model.metadata_props)) == ("", "", 0)


def test_the_same_network_gives_the_same_bytes(graph: gs.Graph) -> None:
    again = to_graph(onnx.load_from_string(to_bytes(to_model(graph))))
    assert to_bytes(to_model(again)) == to_bytes(to_model(graph))


def test_a_skeleton_declares_weights_as_inputs(graph: gs.Graph) -> None:
    skeleton = to_skeleton(graph)
    assert [info.name for info in skeleton.graph.input] == ["x", "w1", "w2"]
    assert [tensor.name for tensor in skeleton.graph.initializer] == ["b1", "half"]
    assert len(to_bytes(skeleton)) < 1500
    assert isinstance(graph.tensors()["w1"], gs.Constant)  # the graph itself is untouched


def test_weights_lie_aligned_and_in_graph_order(graph: gs.Graph, tmp_path: Path) -> None:
    save_model(graph, tmp_path / "mod.onnx", tmp_path / "mod.params")

    model = onnx.load(tmp_path / "mod.onnx", load_external_data=False)
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
    }
    size = 16 * 3 * 3 * 3 * 4
    assert list(places) == ["w1", "b1", "half", "w2"]
    assert places["w1"] == {"location": "mod.params", "offset": "0", "length": str(size)}
    assert (places["b1"], places["half"]) == ({}, {})
    assert places["w2"]["offset"] == str(ALIGNMENT)
    assert (tmp_path / "mod.params").stat().st_size == ALIGNMENT + 8 * 16 * 5 * 5 * 4


def test_a_saved_model_runs_and_passes_the_checker(graph: gs.Graph, tmp_path: Path) -> None:
    path = tmp_path / "mod.onnx"
    save_model(graph, path, tmp_path / "mod.params")
    check_model(path)
    model = to_model(graph)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    actual = session.run(None, random_feeds(model))
    assert_close(list(actual), run(model), rtol=1e-4, atol=1e-4)


def test_two_saves_write_the_same_bytes(graph: gs.Graph, tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        save_model(graph, folder / "mod.onnx", folder / "mod.params")
    for name in ("mod.onnx", "mod.params"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_data_file_the_model_is_whole(graph: gs.Graph, tmp_path: Path) -> None:
    save_model(graph, tmp_path / "mod.onnx")
    assert (tmp_path / "mod.onnx").read_bytes() == to_bytes(to_model(graph))


def test_a_data_file_in_another_folder_is_refused(graph: gs.Graph, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mod\.params must be in the folder of mod\.onnx"):
        save_model(graph, tmp_path / "mod.onnx", tmp_path / "deeper" / "mod.params")


def test_the_checker_names_what_is_wrong(graph: gs.Graph) -> None:
    graph.nodes[1].attrs["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        check_graph(graph)


def test_inference_fills_in_shapes_and_types(graph: gs.Graph) -> None:
    assert infer_shapes(graph) == 2
    tensor = graph.tensors()["h"]
    assert (tensor.shape, tensor.dtype) == ([1, 16, 8, 8], np.float32)
    assert infer_shapes(graph) == 0


def test_inference_corrects_shapes_that_became_wrong(graph: gs.Graph) -> None:
    infer_shapes(graph)
    graph.inputs[0].shape = [1, 3, 4, 4]
    assert infer_shapes(graph) == 3
    assert graph.outputs[0].shape == [1, 8, 4, 4]


def test_contradicting_shapes_name_the_operator() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4] x, float[1, 4] z) => (float[1, 4] y) { y = Add(x, z) }"""
    graph = to_graph(model_from_text(text))
    graph.inputs[0].shape = [1, 3]
    with pytest.raises(ValueError, match="Add"):
        infer_shapes(graph)


def test_shapes_that_depend_on_values_stay_open() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (int64[1, N] y)
    { y = NonZero(x) }"""
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    assert graph.outputs[0].shape == [1, None]


def test_subgraphs_survive_a_round_trip() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y)
    { y = If (c) <
        then_branch = t () => (float[2] u) { k = Constant<value_float = 2.0>() u = Mul(x, k) },
        else_branch = e () => (float[2] v) { v = Neg(x) }
      > }"""
    model = model_from_text(text)
    graph = to_graph(model)
    check_graph(graph)
    for condition in (True, False):
        feeds = {"c": np.array(condition), "x": np.array([1, -2], np.float32)}
        assert_close(run(to_model(graph), feeds), run(model, feeds), rtol=0, atol=0)
