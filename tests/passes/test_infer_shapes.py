import numpy as np
import pytest

from compiler.graph.convert import to_graph
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.result import Skip
from tests.support.models import model_from_text


def test_every_tensor_gets_its_shape_and_type() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 9, 9] x) => (int64[1, 1, 5, 5] y) <float[4, 3, 3, 3] w>
    { c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) r = Relu(c)
      y = ArgMax<axis = 1>(r) }"""
    graph = to_graph(model_from_text(text))

    result = infer_shapes(graph)

    assert (result.name, result.changed, result.skipped) == ("infer_shapes", 2, [])
    tensors = graph.tensors()
    assert [(tensors[name].shape, tensors[name].dtype) for name in "cr"] == [
        ([1, 4, 5, 5], np.float32),
        ([1, 4, 5, 5], np.float32),
    ]
    assert infer_shapes(graph).changed == 0


def test_shapes_that_depend_on_values_are_reported() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[N] y)
    { i = NonZero(x) s = Squeeze(i) y = Gather(x, s) }"""
    graph = to_graph(model_from_text(text))
    result = infer_shapes(graph)
    assert result.skipped[0] == Skip("i", "shape of NonZero depends on values")
    assert [skip.where for skip in result.skipped] == ["i", "s", "y"]


def test_contradicting_shapes_are_an_error() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4] x, float[1, 3] z) => (float[1, 4] y) { y = Add(x, z) }"""
    with pytest.raises(ValueError, match="Add"):
        infer_shapes(to_graph(model_from_text(text)))
