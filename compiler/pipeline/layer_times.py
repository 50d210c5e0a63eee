"""How long each node of a compiled network takes, in a few traced runs."""

import re
import time
from pathlib import Path
from typing import Any, Final

import onnx_graphsurgeon as gs

from compiler.graph.query import producer
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import load_model
from compiler.runner.profile import Kernel

Facts = dict[str, Any]  # Any: a JSON object

RUNS: Final = 5
SECONDS: Final = 0.25
"""Tracing ends after so many runs, or once they have taken so long."""

# What ONNX Runtime puts around names, of a node or of the last tensor that a fused one writes:
# for float16 that it computes in float32, for blocks of channels, for a bias, for channels last.
_ADDED: Final = re.compile(
    r"^InsertedPrecisionFreeCast_|(_nchwc)?(/MatMulAddFusion)?(_token_\d+)?$"
)
_DEEPEST: Final = 4  # nodes that an engine fuses into one: convolution, bias, addition, activation


def time_layers(
    model: Path, graph: gs.Graph, feeds: Feeds, work: Path, *, bfloat16: bool = False
) -> list[Facts]:
    """Mean milliseconds of every node as ONNX Runtime runs it on all CPUs, in order of execution.

    It renames and fuses nodes: a kernel goes by the name of the node that it does the work of, if
    that can be told, and kernels of one node are one entry.

    Args:
        model: Model file.
        graph: What is in it.
        feeds: One sample.
        work: Folder for the trace.
        bfloat16: Whether it multiplies in bfloat16.
    """
    session = load_model(model, trace=work, bfloat16=bfloat16)
    session.run(feeds)  # does not count
    end = time.perf_counter() + SECONDS
    for _ in range(RUNS):
        session.run(feeds)
        if time.perf_counter() > end:
            break
    kernels = session.profile().kernels
    session.close()
    nodes = {node.name: node for node in graph.nodes}
    makers = {tensor.name: node for node in graph.nodes for tensor in node.outputs}
    found: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        stem = _ADDED.sub("", kernel.name)
        node = nodes.get(stem) or makers.get(stem)
        found.setdefault(_worker(node, kernel.op) if node else kernel.name, []).append(kernel)
    return [
        {
            "node": name,
            "op": max(group, key=lambda kernel: kernel.microseconds).op,
            "ms": round(sum(kernel.microseconds for kernel in group) / 1000, 4),
        }
        for name, group in found.items()
    ]


def _worker(node: gs.Node, op: str) -> str:
    """Name of the node that a kernel stands for, which is called after the last one fused in."""
    earlier: gs.Node | None = node
    for _ in range(_DEEPEST):
        if earlier is None or op.endswith(earlier.op):
            break
        earlier = producer(earlier.inputs[0]) if earlier.inputs else None
    return str(earlier.name if earlier is not None and op.endswith(earlier.op) else node.name)
