from collections import Counter
from functools import partial

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from compiler.errors import GraphError
from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import to_graph, to_model
from compiler.graph.query import is_static
from compiler.passes import FLOAT16_PASSES, FLOAT_PASSES, describe, name_of
from compiler.passes.result import PassResult, Skip
from compiler.passes.run import ROUNDS, run_passes
from tests.support.models import SHARED, model_from_text, run

SMALL = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)
{ a = Relu(x) y = Neg(a) }"""


@pytest.fixture
def graph() -> gs.Graph:
    return to_graph(model_from_text(SMALL))


class Countdown:
    """A pass that finds something to do a few times."""

    __name__ = "count_down"

    def __init__(self, times: int) -> None:
        self.left = times
        self.calls = 0

    def __call__(self, graph: gs.Graph) -> PassResult:
        self.calls += 1
        done = min(self.left, 1)
        self.left -= done
        skipped = [Skip("a", f"{self.left} left")]
        return PassResult("count_down", done, skipped, ["same", f"call {min(self.calls, 2)}"])


def test_passes_run_until_nothing_changes(graph: gs.Graph) -> None:
    step = Countdown(3)
    (result,) = run_passes(graph, (step,))
    assert step.calls == 4
    assert result.changed == 3
    assert result.skipped == [Skip("a", "0 left")]
    assert result.warnings == ["same", "call 1", "call 2"]


def test_passes_that_never_settle_end_anyway(graph: gs.Graph) -> None:
    step = Countdown(1000)
    (result,) = run_passes(graph, (step,))
    assert result.changed == step.calls == ROUNDS


def rename(graph: gs.Graph) -> PassResult:
    graph.nodes[0].name = "renamed"
    return PassResult("rename", changed=1)


def look(graph: gs.Graph) -> PassResult:
    return PassResult("look")


def misspell(graph: gs.Graph) -> PassResult:
    graph.nodes[1].op = "Nge"
    return PassResult("misspell", changed=1)


def stumble(graph: gs.Graph) -> PassResult:
    raise IndexError("list index out of range")


def test_the_pass_that_breaks_the_graph_is_named_with_those_before_it(graph: gs.Graph) -> None:
    with pytest.raises(GraphError, match=r"pass misspell failed after rename: .*Nge") as info:
        run_passes(graph, (rename, look, misspell))
    assert info.value.where == "graph 'g'"
    assert isinstance(info.value.__cause__, ValueError)


def test_a_pass_that_raises_is_named(graph: gs.Graph) -> None:
    with pytest.raises(GraphError, match="pass stumble failed after no change by others: list"):
        run_passes(graph, (look, stumble))


def test_passes_that_are_not_repeated_run_once(graph: gs.Graph) -> None:
    step = Countdown(1000)
    (result,) = run_passes(graph, (step,), rounds=1)
    assert result.changed == step.calls == 1


def fail_with(graph: gs.Graph, *, reason: str) -> PassResult:
    """Fail for a reason that the caller gives."""
    raise ValueError(reason)


def test_a_pass_with_bound_options_keeps_its_name_and_sentence(graph: gs.Graph) -> None:
    step = partial(fail_with, reason="because")
    with pytest.raises(GraphError, match=r"pass fail_with failed .*: because"):
        run_passes(graph, (step,))
    assert describe(step) == "Fail for a reason that the caller gives."


def test_every_pass_has_a_name_and_a_sentence() -> None:
    names = [name_of(step) for step in (*FLOAT_PASSES, *FLOAT16_PASSES)]
    assert len(set(names)) == len(names)
    assert all(len(describe(step)) > 20 for step in (*FLOAT_PASSES, *FLOAT16_PASSES))


SHARED_NETWORKS: dict[str, tuple[tuple[str, list[int]], dict[str, int], dict[str, int]]] = {
    "unet3p_human_128": (
        ("input", [1, 3, 128, 128]),
        {"BatchNormalization": 34, "Concat": 14, "MaxPool": 10},
        {"Conv": 35, "Relu": 34, "Resize": 10, "MaxPool": 7, "Concat": 4},
    ),
    "unet_camvid_192x256": (
        ("input", [1, 3, 192, 256]),
        {"BatchNormalization": 18},
        {"Conv": 19, "Relu": 18, "MaxPool": 4, "ConvTranspose": 4, "Concat": 4},
    ),
    "prisma_nchw": (
        ("input_3", [1, 3, 256, 256]),
        {},
        {"Conv": 97, "Relu": 46, "Add": 27, "ConvTranspose": 5, "Sigmoid": 1},
    ),
    "SINet": (
        ("data", [1, 3, 320, 320]),
        {"BatchNormalization": 58},
        {
            "Conv": 58,
            "PRelu": 39,
            "Reshape": 24,
            "BatchNormalization": 20,
            "Transpose": 13,
            "Concat": 13,
            "Add": 9,
            "Resize": 9,
            "AveragePool": 8,
            "Gemm": 3,
            "Mul": 3,
            "Flatten": 2,
            "Softmax": 1,
            "MaxPool": 1,
            "Sub": 1,
            "Expand": 1,
        },
    ),
}


# Largest error of float16 in parts of the output's range; SINet takes other input ranges.
FLOAT16_NETWORKS = {"unet3p_human_128": 1e-3, "unet_camvid_192x256": 1e-3, "prisma_nchw": 1e-2}


@pytest.mark.parametrize("name", FLOAT16_NETWORKS)
def test_shared_networks_in_float16_stay_close(name: str) -> None:
    path = SHARED / "models" / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the shared networks are not beside the repository")
    key, shape = SHARED_NETWORKS[name][0]
    graph = load_onnx(path, {key: shape}).graph
    run_passes(graph, FLOAT_PASSES)
    (result,) = run_passes(graph, FLOAT16_PASSES, rounds=1)

    assert result.changed > 0
    assert [tensor.dtype for tensor in [*graph.inputs, *graph.outputs]] == [np.float32] * 2
    feeds = {key: np.random.default_rng(0).random(shape, dtype=np.float32)}
    (actual,), (expected,) = run(to_model(graph), feeds), run(onnx.load(path), feeds)
    limit = FLOAT16_NETWORKS[name] * np.ptp(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("name", SHARED_NETWORKS)
def test_shared_networks_get_smaller_and_compute_the_same(name: str) -> None:
    path = SHARED / "models" / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the shared networks are not beside the repository")
    (key, shape), before, after = SHARED_NETWORKS[name]
    graph = load_onnx(path, {key: shape}).graph
    counts = Counter(node.op for node in graph.nodes)
    assert {op: counts[op] for op in before} == before

    run_passes(graph, FLOAT_PASSES)

    assert Counter(node.op for node in graph.nodes) == after
    assert all(is_static(tensor) for tensor in graph.tensors().values() if tensor.name)
    feeds = {key: np.random.default_rng(0).random(shape, dtype=np.float32)}
    (actual,), (expected,) = run(to_model(graph), feeds), run(onnx.load(path), feeds)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_passes_are_idempotent_on_a_compiled_network() -> None:
    path = SHARED / "models" / "unet3p_human_128.onnx"
    if not path.exists():
        pytest.skip("the shared networks are not beside the repository")
    graph = load_onnx(path, {"input": [1, 3, 128, 128]}).graph
    run_passes(graph, FLOAT_PASSES)
    assert [result.changed for result in run_passes(graph, FLOAT_PASSES)] == [0] * len(FLOAT_PASSES)
