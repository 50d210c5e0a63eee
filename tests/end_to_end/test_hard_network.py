"""The network that benchmarks make hard on purpose computes what the trained one does."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support.hard_network import PRISMA_OUTLIERS, PRISMA_UNEVEN, find_spans, make_hard
from tests.support.models import SHARED, model_from_text, run

PRISMA = SHARED / "models" / "prisma_nchw.onnx"
NETWORK = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] x) => (float[1, 2, 16, 16] y)
<float[4, 3, 3, 3] w, float[4] b, float[4, 1, 3, 3] depthwise, float[4, 4, 1, 1] v,
 float[4, 2, 2, 2] up>
{
    first = Conv<pads = [1, 1, 1, 1]>(x, w, b)
    relu = Relu(first)
    second = Conv<pads = [1, 1, 1, 1], group = 4>(relu, depthwise)
    third = Conv(second, v)
    sum = Add(third, first)
    y = ConvTranspose<strides = [2, 2]>(sum, up)
}"""


def test_tensors_that_additions_connect_are_one_span() -> None:
    spans = find_spans(model_from_text(NETWORK))
    assert [sorted(span.tensors) for span in spans] == [
        ["first", "relu", "sum", "third"],
        ["second"],
    ]
    assert [len(span.writers) for span in spans] == [2, 1]
    assert [[node.op_type for node in span.readers] for span in spans] == [
        ["Conv", "ConvTranspose"],
        ["Conv"],
    ]


@pytest.mark.parametrize("other", ["Sigmoid", "Tanh"])
def test_a_span_that_something_else_reads_is_left_alone(other: str) -> None:
    text = NETWORK.replace("third = Conv(second, v)", f"t = {other}(second) third = Conv(t, v)")
    assert all("second" not in span.tensors for span in find_spans(model_from_text(text)))


def test_weights_change_and_the_output_does_not() -> None:
    model = model_from_text(NETWORK)
    hard = make_hard(model, uneven=["sum"], outliers=["second"])
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    (before,), (after,) = run(model, feeds), run(hard, feeds)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    weights = {one.name: numpy_helper.to_array(one) for one in hard.graph.initializer}
    sizes = np.abs(weights["w"]).max(axis=(1, 2, 3))
    assert sizes.max() / sizes.min() > 8
    original = next(one for one in model.graph.initializer if one.name == "depthwise")
    # `second` takes factor 500 in one channel; the channels of `sum` are taken back.
    assert not np.allclose(weights["depthwise"], numpy_helper.to_array(original))


@pytest.mark.skipif(not PRISMA.is_file(), reason="needs ../shared/models")
def test_the_hard_prisma_computes_what_the_trained_one_does() -> None:
    trained = onnx.load(PRISMA)
    hard = make_hard(trained, uneven=PRISMA_UNEVEN, outliers=PRISMA_OUTLIERS)
    image = np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)
    (before,), (after,) = run(trained, {"input_3": image}), run(hard, {"input_3": image})
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4)
