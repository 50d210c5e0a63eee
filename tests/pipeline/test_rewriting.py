"""When a build rewrites nothing, and what it says of the rest."""

from dataclasses import asdict

import onnx_graphsurgeon as gs

from compiler.config.backend import Backend
from compiler.cost.machine import BUILT_IN
from compiler.passes import FLOAT_PASSES
from compiler.pipeline.optimize import cost_model, optimization_facts, optimize
from tests.support.models import ops
from tests.support.rewrites import graph_of

HEAD = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1, 64, 40, 40] x) => (float[1, 1, ?, ?] y)
    <float[1, 64, 3, 3] w, float[4] s = {1.0, 1.0, 1.4, 1.4}>"""
NETWORK = HEAD + " { y = Conv<pads = [1, 1, 1, 1]>(x, w) }"
MISJUDGED = HEAD + ' { u = Resize<mode = "linear">(x, , s) y = Conv<pads = [1, 1, 1, 1]>(u, w) }'


def rewrite(graph: gs.Graph, **backend: object) -> list[str]:
    section = Backend.model_validate({"dtype": "fp32", **backend})
    results = optimize(graph, section, FLOAT_PASSES, cost_model(section))
    return [warning for result in results for warning in result.warnings]


def test_a_head_is_rewritten_and_the_manifest_counts_it() -> None:
    graph, section = graph_of(NETWORK), Backend(dtype="fp32")
    cost = cost_model(section)
    results = optimize(graph, section, FLOAT_PASSES, cost)
    assert ops(graph) == ["Conv", "Conv"]
    facts = optimization_facts(cost, results)
    assert facts["rewrites"] == {"mix_taps": 1}
    assert facts["machine"] == asdict(BUILT_IN)


def test_nothing_is_rewritten_for_fp16_or_on_request() -> None:
    for backend in ({"dtype": "fp16"}, {"optimize": {"rewrite": False}}):
        graph = graph_of(NETWORK)
        assert rewrite(graph, **backend) == []
        assert ops(graph) == ["Conv"]


def test_nothing_is_rewritten_where_shapes_are_not_those_of_the_engine() -> None:
    graph = graph_of(MISJUDGED)
    (warning,) = rewrite(graph)
    assert ops(graph) == ["Resize", "Conv"]
    assert warning.startswith(
        "nothing was rewritten: by its scales, ONNX and ONNX Runtime disagree"
    )
    assert "'u'" in warning
