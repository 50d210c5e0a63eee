"""What an output means, by its shape, its type and the operators before it."""

import onnx_graphsurgeon as gs
import pytest

from compiler.graph.convert import infer_shapes, to_graph
from compiler.graph.head import mask_rule
from tests.support.models import model_from_text


def graph_of(body: str, output: str, shape: str = "1, 3, 4, 5") -> gs.Graph:
    text = (
        f'<ir_version: 9, opset_import: ["" : 17]> g (float[{shape}] x) => ({output}) {{ {body} }}'
    )
    graph = to_graph(model_from_text(text))
    infer_shapes(graph)
    return graph


@pytest.mark.parametrize(
    ("body", "output", "shape", "rule"),
    [
        ("y = Relu(x)", "float[1, 3, 4, 5] y", "1, 3, 4, 5", ("argmax", 0.0)),
        ("y = Relu(x)", "float[1, 1, 4, 5] y", "1, 1, 4, 5", ("binary", 0.0)),
        ("y = Sigmoid(x)", "float[1, 1, 4, 5] y", "1, 1, 4, 5", ("binary", 0.5)),
        (
            "s = Sigmoid(x) y = Transpose<perm = [0, 1, 3, 2]>(s)",
            "float[1, 1, 5, 4] y",
            "1, 1, 4, 5",
            ("binary", 0.5),
        ),
        ("y = ArgMax<axis = 1>(x)", "int64[1, 1, 4, 5] y", "1, 3, 4, 5", ("classes", 0.0)),
        (
            "a = ArgMax<axis = 1>(x) y = Cast<to = 2>(a)",
            "uint8[1, 1, 4, 5] y",
            "1, 3, 4, 5",
            ("classes", 0.0),
        ),
        ("y = Cast<to = 2>(x)", "uint8[1, 3, 4, 5] y", "1, 3, 4, 5", None),
        ("y = ArgMax<axis = 1, keepdims = 0>(x)", "int64[1, 4, 5] y", "1, 3, 4, 5", None),
        ("y = Relu(x)", "float[2, 3, 4, 5] y", "2, 3, 4, 5", None),
        ("y = GlobalAveragePool(x)", "float[1, 3, 1, 1] y", "1, 3, 4, 5", None),
    ],
)
def test_the_first_output_decides_how_a_mask_is_read(
    body: str, output: str, shape: str, rule: tuple[str, float] | None
) -> None:
    assert mask_rule(graph_of(body, output, shape)) == rule
