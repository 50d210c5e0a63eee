"""Graphs whose inputs have a range of sizes: numbers in memory, names in the file."""

import copy

import onnx
import onnx_graphsurgeon as gs

from compiler.graph.convert import check_graph, infer_shapes, to_graph, to_model
from compiler.graph.open_sizes import OpenSize, bounds_of, has_open_sizes, is_open
from tests.support.models import model_from_text

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, H, W] x) => (float[N, C, P, Q] y)
<float[4, 3, 3, 3] w>
{ c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w)  y = Relu(c) }"""


def test_a_range_counts_as_its_largest_size() -> None:
    size = OpenSize(640, 416, "H")
    assert (size, size // 2, isinstance(size, int)) == (640, 320, True)
    assert (size.smallest, size.name) == (416, "H")
    assert size.named("W").name == "W"
    assert copy.deepcopy(size).smallest == 416
    assert bounds_of([1, size]) == ((1, 1), (416, 640))
    assert is_open([1, size])
    assert not is_open([1, 640])


def test_shapes_are_those_of_the_largest_input_and_the_file_has_none_of_them() -> None:
    graph = _open_graph()
    assert infer_shapes(graph) > 0
    assert graph.tensors()["c"].shape == [1, 4, 12, 16]
    model = to_model(graph)
    assert not model.graph.value_info
    assert _sizes(model.graph.input[0]) == [1, 3, "H", "W"]
    output = _sizes(model.graph.output[0])
    assert output[:2] == [1, 4]
    assert not any(isinstance(size, int) for size in output[2:])
    check_graph(graph)


def test_ranges_survive_a_copy_of_the_graph() -> None:
    assert has_open_sizes(_open_graph().copy())
    assert not has_open_sizes(to_graph(model_from_text(NETWORK)))


def _open_graph() -> gs.Graph:
    graph = to_graph(model_from_text(NETWORK))
    graph.inputs[0].shape = [1, 3, OpenSize(24, 8, "H"), OpenSize(32, 8, "W")]
    return graph


def _sizes(info: onnx.ValueInfoProto) -> list[int | str]:
    return [size.dim_value or size.dim_param for size in info.type.tensor_type.shape.dim]
