"""What a network says of its inputs, and what is guessed where it says nothing."""

from pathlib import Path

import onnx
import pytest

from compiler.errors import GraphError
from compiler.pipeline.guess_inputs import NetworkFacts, read_network
from tests.support.models import model_from_text

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
CONV = "Conv<pads = [1, 1, 1, 1]>"


def _read(folder: Path, text: str) -> NetworkFacts:
    path = folder / "net.onnx"
    onnx.save(model_from_text(f"{HEAD} g {text}"), path)
    return read_network(path)


@pytest.mark.parametrize(
    ("constants", "nodes", "expected"),
    [
        ("float[1] c = {255.0}", "v = Div(x, c)", "0 … 255"),
        ("float[1] c = {0.003921569}", "v = Mul(x, c)", "0 … 255"),
        ("float[1] c = {2.0}", "v = Mul(x, c)", "0 … 1"),
        ("float[1] c = {0.5}", "i = Identity(x) v = Sub(i, c)", "0 … 1"),
        ("float[1] c = {0.5}", "v = Mul(x, x)", ""),
        ("float[1] c = {0.5}", "v = Relu(x)", ""),
        ("float[1] c = {0.5}", "a = Relu(x) v = Add(a, x)", ""),
        (
            "float[3] s = {1,1,1}, float[3] b = {0,0,0}, float[3] m = {120,120,120}, "
            "float[3] c = {9,9,9}",
            "v = BatchNormalization(x, s, b, m, c)",
            "0 … 255",
        ),
    ],
)
def test_a_normalization_in_front_tells_the_scale(
    constants: str, nodes: str, expected: str, tmp_path: Path
) -> None:
    facts = _read(
        tmp_path,
        f"(float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] y) <float[2, 3, 3, 3] w, {constants}>"
        f"{{ {nodes} y = {CONV}(v, w) }}",
    )
    assert facts.scaled == expected


@pytest.mark.parametrize(
    ("shape", "expected", "layout"),
    [
        ("[N, C, H, W]", (1, 3, 256, 256), "NCHW"),
        ("[N, 1, H, W]", (1, 1, 256, 256), "NCHW"),
        ("[N, H, W, 3]", (1, 256, 256, 3), "NHWC"),
        ("[1, 16, 16, C]", (1, 16, 16, 3), "NHWC"),
        ("[N, L]", (1, 128), None),
        ("[]", (1, 3, 256, 256), "NCHW"),
    ],
)
def test_open_sizes_become_usual_ones(
    shape: str, expected: tuple[int, ...], layout: str | None, tmp_path: Path
) -> None:
    facts = _read(tmp_path, f"(float{shape} x) => (float{shape} y) {{ y = Relu(x) }}")
    assert dict(facts.shapes) == {"x": expected}
    assert facts.layout == layout
    [guess] = facts.guesses
    assert guess.key == "frontend.shape.x"
    assert guess.value == list(expected)


def test_sizes_that_the_network_refuses_are_passed_over(tmp_path: Path) -> None:
    facts = _read(
        tmp_path,
        "(float[1, 3, H, H] x) => (float[1, 3, 224, 224] y) <float[1, 3, 224, 224] w>"
        "{ y = Add(x, w) }",
    )
    assert facts.shapes["x"] == (1, 3, 224, 224)
    with pytest.raises(GraphError):
        _read(
            tmp_path,
            "(float[1, 3, H, H] x) => (float[1, 3, 7, 7] y) <float[1, 3, 7, 7] w>{ y = Add(x, w) }",
        )
