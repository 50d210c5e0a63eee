import pytest

from compiler.graph.convert import check_model, to_model
from compiler.passes.normalize_resize import normalize_resize
from tests.support.models import assert_close, model_from_text, run
from tests.support.rewrites import graph_of


def network(
    attributes: str = "axes = [2, 3]", inputs: str = "x, , s", x: str = "1, 2, 4, 5"
) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 19]>
    g (float[{x}] x, float[2] given) => (float y)
    <float[2] s = {{2.0, 3.0}}, int64[2] sizes = {{9, 7}}>
    {{ y = Resize<mode = "linear", {attributes}>({inputs}) }}"""


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        (network(), 2, [1, 1, 2, 3]),
        (network("axes = [-1, -2]"), 2, [1, 1, 3, 2]),
        (network("axes = [3, 2]", inputs="x, , , sizes"), 3, [1, 2, 7, 9]),
    ],
)
def test_the_other_axes_keep_their_size(text: str, position: int, expected: list[int]) -> None:
    graph = graph_of(text)
    result = normalize_resize(graph)
    assert (result.changed, result.skipped) == (1, [])
    (node,) = graph.nodes
    assert "axes" not in node.attrs
    assert node.inputs[position].values.tolist() == expected
    after = to_model(graph)
    check_model(after)
    assert_close(run(after), run(model_from_text(text)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (network(inputs="x, , given"), "'given' is not constant"),
        (network(x="N, 2, 4, 5"), "its shape is not static"),
        (
            network('axes = [2, 3], keep_aspect_ratio_policy = "not_larger"', "x, , , sizes"),
            "it keeps the aspect ratio",
        ),
        (
            network('axes = [2, 3], coordinate_transformation_mode = "tf_crop_and_resize"'),
            "it crops",
        ),
    ],
)
def test_what_must_stay_says_why(text: str, reason: str) -> None:
    graph = graph_of(text)
    result = normalize_resize(graph)
    assert [skip.reason for skip in result.skipped] == [reason]
    assert "axes" in graph.nodes[0].attrs


def test_a_resize_of_all_axes_is_not_looked_at() -> None:
    text = network("antialias = 0").replace(
        "float[2] s = {2.0, 3.0}", "float[4] s = {1.0, 1.0, 2.0, 3.0}"
    )
    result = normalize_resize(graph_of(text))
    assert (result.changed, result.skipped) == (0, [])
