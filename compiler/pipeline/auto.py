"""`calibrate_mode: auto`: the threshold rule of every tensor, and whether the head stays float.

Which clipping is best depends on who reads the tensor, and on how errors add up on the way to the
output. Both are measured on a few samples:

1. The float network runs beside layers that are quantized alone, under one rule after the other;
   each tensor takes the rule under which its readers err least.
2. That choice competes with every single rule by the error of the network's output, because errors
   that are small one by one may all point the same way.
3. The head, the last layer with weights before an output, is different in that nothing averages
   its noise any more: it stays float where that lowers the output's error clearly and costs little.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx_graphsurgeon as gs

from calibration.rules import THRESHOLD_RULES
from compiler.graph.convert import save_model
from compiler.graph.query import origin_of, producer
from compiler.pipeline.quantizer import Quantized, Quantizer
from compiler.pipeline.samples import Feeds
from compiler.pipeline.sessions import open_model
from compiler.quantize.comparison import compared_layers, comparison_graph, isolated_name
from compiler.quantize.op_rules import ScaleFrom
from compiler.quantize.plan import Int8Plan
from compiler.verify.compare import Tensors
from compiler.verify.metrics import Agreement

AUTO_SAMPLES: Final = 8
"""Samples behind each decision; layers alone are judged by half of them, which takes longer."""

CLEARLY: Final = 0.98
"""A rule replaces an earlier candidate if it leaves less than this share of its noise."""

HEAD_NOISE: Final = 0.85
"""A head stays float if less than this share of the output's noise remains."""

HEAD_TIME: Final = 1.15
"""And if the network is predicted to take less than this multiple of its time."""

_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` decided.

    Args:
        floats: Layer -> why it stays float.
        notes: What it chose, in words.
    """

    floats: Mapping[str, str]
    notes: tuple[str, ...]


def choose(quantizer: Quantizer, feeds: Sequence[Feeds], work: Path) -> Choice:
    """Choose rules and float heads by running the network.

    Args:
        quantizer: With the histograms of its plan; its `methods` are set. With a table, the heads
            are all that is left to choose.
        feeds: AUTO_SAMPLES samples.
        work: Folder for the graphs that are run.
    """
    if floats := heads_without_lines(quantizer):
        return Choice(floats, ())
    plan, _ = quantizer.plan()
    expected = _outputs(quantizer.graph, feeds, work)
    notes: tuple[str, ...] = ()
    if quantizer.given is None:
        least, note = _choose_rules(quantizer, plan, expected, feeds, work)
        notes = (note,)
    else:
        least = _output_noise(quantizer.quantize(), expected, feeds, work)
    return Choice(_float_heads(quantizer, plan, least, expected, feeds, work), notes)


def heads_without_lines(quantizer: Quantizer) -> dict[str, str]:
    """Heads that were in float when the table was made, so that it lacks their tensors -> why.

    Args:
        quantizer: With or without a table.
    """
    plan, _ = quantizer.plan()
    given = quantizer.given
    return {} if given is None or given.covers(plan) else _kept_float(_heads(quantizer, plan))


def _choose_rules(
    quantizer: Quantizer,
    plan: Int8Plan,
    expected: Sequence[Tensors],
    feeds: Sequence[Feeds],
    work: Path,
) -> tuple[float, str]:
    """Set `methods` to the best candidate; returns its noise at the output, and what it is."""
    candidates = {rule: dict.fromkeys(plan.observed, rule) for rule in THRESHOLD_RULES}
    candidates["a rule per tensor"] = _per_tensor(quantizer, plan, feeds[::2], work)
    name, least = "", float("inf")
    for candidate, methods in candidates.items():
        quantizer.methods = methods
        noise = _output_noise(quantizer.quantize(), expected, feeds, work)
        if noise < CLEARLY * least or not name:
            name, least = candidate, noise
    quantizer.methods = candidates[name]
    counts = Counter(quantizer.methods.values())
    told = ", ".join(f"{count} {rule}" for rule, count in sorted(counts.items()))
    return least, f"calibrate_mode auto chose {name}: {told}"


def _per_tensor(
    quantizer: Quantizer, plan: Int8Plan, feeds: Sequence[Feeds], work: Path
) -> dict[str, str]:
    noise = {rule: _noise(quantizer, plan, rule, feeds, work) for rule in THRESHOLD_RULES}
    readers = readers_of(quantizer.graph, plan)
    return {
        name: _least([(rule, _sum(noise[rule], nodes)) for rule in THRESHOLD_RULES])
        for name, nodes in readers.items()
    }


def _noise(
    quantizer: Quantizer, plan: Int8Plan, rule: str, feeds: Sequence[Feeds], work: Path
) -> dict[str, float]:
    """Node -> noise-to-signal ratio of its output if it alone runs on integers."""
    quantized = quantizer.insert(plan, quantizer.ranges(plan, rule))
    model = work / "auto.onnx"
    compared = comparison_graph(quantizer.graph, quantized, plan, accumulated=False)
    save_model(compared, model, work / "auto.params")
    nodes = [layer.node for layer in compared_layers(quantizer.graph, plan)]
    signal, error = dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0.0)
    with open_model(model) as run:
        for one in feeds:
            outputs = run(one)
            for node in nodes:
                reference, _, wrong = outputs[isolated_name(node)].tolist()
                signal[node] += reference
                error[node] += wrong
    return {node: error[node] / signal[node] if signal[node] else 0.0 for node in nodes}


def readers_of(graph: gs.Graph, plan: Int8Plan) -> dict[str, list[str]]:
    """Observed tensor -> nodes that read it, also through what only moves its values."""
    found: dict[str, list[str]] = {}
    for layer in compared_layers(graph, plan):
        for name in layer.inputs:
            for root in _roots(plan, name):
                found.setdefault(root, []).append(layer.node)
    return found


def _roots(plan: Int8Plan, name: str) -> Iterable[str]:
    tensor = plan.tensors[name]
    if tensor.source in (ScaleFrom.INPUT, ScaleFrom.UNION):
        for member in tensor.of:
            yield from _roots(plan, member)
    elif tensor.source is ScaleFrom.OWN:
        yield name


def _sum(noise: Mapping[str, float], nodes: Iterable[str]) -> float:
    return sum(noise[node] for node in nodes)


def _least(candidates: Sequence[tuple[str, float]]) -> str:
    """The rule with the least noise; an earlier one where the difference is small."""
    best, least = candidates[0]
    for rule, noise in candidates[1:]:
        if noise < CLEARLY * least:
            best, least = rule, noise
    return best


def _outputs(graph: gs.Graph, feeds: Sequence[Feeds], work: Path) -> list[Tensors]:
    model = work / "auto.onnx"
    save_model(graph, model, work / "auto.params")
    with open_model(model) as run:
        return [run(one) for one in feeds]


def _output_noise(
    quantized: Quantized, expected: Sequence[Tensors], feeds: Sequence[Feeds], work: Path
) -> float:
    """Noise-to-signal ratio of the outputs; of the worst, where there are several."""
    found: dict[str, Agreement] = {}
    for reference, outputs in zip(expected, _outputs(quantized.graph, feeds, work), strict=True):
        for name, values in reference.items():
            found.setdefault(name, Agreement()).add(values, outputs[name])
    return max(10 ** (-agreement.sqnr_db / 10) for agreement in found.values())


def _float_heads(
    quantizer: Quantizer,
    plan: Int8Plan,
    noise: float,
    expected: Sequence[Tensors],
    feeds: Sequence[Feeds],
    work: Path,
) -> dict[str, str]:
    floats = _kept_float(_heads(quantizer, plan))
    if not floats:
        return {}
    given = quantizer.given
    if given is not None and not given.covers(quantizer.plan(floats)[0]):
        return {}  # nor was it so when the table was made
    found = quantizer.quantize(floats)
    slower = quantizer.milliseconds(found.plan) / quantizer.milliseconds(plan)
    if slower >= HEAD_TIME or _output_noise(found, expected, feeds, work) >= HEAD_NOISE * noise:
        return {}
    return floats


def _heads(quantizer: Quantizer, plan: Int8Plan) -> list[str]:
    layers = {origin_of(node.node) for node in plan.integer_nodes}
    return sorted(heads_of(quantizer) & layers)


def _kept_float(heads: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(heads, "the output's noise would be its own, for little time")


def heads_of(quantizer: Quantizer) -> set[str]:
    """Layers with weights that no other follows on some way to an output."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [producer(tensor) for tensor in quantizer.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        layer = origin_of(node.name)
        if node.op in _WEIGHTED and layer not in quantizer.kept_float.light:
            found.add(layer)
        else:
            waiting += [producer(tensor) for tensor in node.inputs]
    return found
