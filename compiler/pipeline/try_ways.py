"""Every way out for the worst layers of an int8 network, built and measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compiler.graph.query import origin_of
from compiler.pipeline.auto import readers_of
from compiler.pipeline.candidates import search_candidates
from compiler.pipeline.clock import Clock
from compiler.pipeline.diagnosis import LayerDiagnosis, Way
from compiler.pipeline.present import Present
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.remedies import Changes, Remedy, apply, layer_remedies, network_remedies
from compiler.verify.sensitivity import LayerSensitivity


def try_ways(
    present: Present, layers: Sequence[LayerSensitivity], clock: Clock
) -> tuple[tuple[LayerDiagnosis, ...], tuple[Way, ...]]:
    """Ways out for each layer, and those for the whole network.

    Args:
        present: The network.
        layers: The worst of it.
        clock: Times the stage.
    """
    bench = present.bench
    local = [_remedies(present, figures) for figures in layers]
    wide = network_remedies(bench.config.backend.quantize)
    with clock.stage("try", len(wide) + sum(map(len, local))) as step:
        trials = _Trials(present, step)
        network = tuple(
            trials.way(remedy, lambda one: bench.build(apply(bench.config, one.changes)))
            for remedy in wide
        )
        found = [
            [trials.way(remedy, lambda one: bench.change(present.opened, one)) for remedy in ways]
            for ways in local
        ]
    return tuple(
        LayerDiagnosis(figures, _best_rule(ways))
        for figures, ways in zip(layers, found, strict=True)
    ), network


def verify_patch(present: Present, changes: Changes) -> Way:
    """The network with all changes, built as it is compiled."""
    bench = present.bench
    quantized = bench.build(apply(bench.config, changes))
    return _measure(present, Remedy("patch", changes), quantized)


@dataclass(slots=True)
class _Trials:
    """Measures ways, each once: two layers may have the same."""

    present: Present
    step: Callable[[int], None]
    done: int = 0
    known: list[Way] = field(default_factory=list)

    def way(self, remedy: Remedy, build: Callable[[Remedy], Quantized]) -> Way:
        same = next((way for way in self.known if _is_same(way.remedy, remedy)), None)
        if same is None:
            same = _measure(self.present, remedy, build(remedy))
            self.known.append(same)
        self.done += 1
        self.step(self.done)
        return Way(remedy, same.priced, same.gain)


def _measure(present: Present, remedy: Remedy, quantized: Quantized) -> Way:
    # Another threshold is another number in the same kernels.
    priced = present.bench.price(quantized.graph, timed=bool(remedy.changes))
    return Way(remedy, priced, priced.points - present.score.points)


def _remedies(present: Present, figures: LayerSensitivity) -> tuple[Remedy, ...]:
    """Ways out for a layer, as far as a build file can name the layers concerned."""
    quantized, names = present.quantized, present.layers
    graph, plan = quantized.source, quantized.plan
    readers = readers_of(graph, plan)
    read = [
        one
        for one in quantized.ranges
        if any(origin_of(node) == figures.layer for node in readers.get(one.name, ()))
    ]
    candidates = search_candidates(graph, plan, [figures], names)
    found = layer_remedies(figures.layer, next(iter(candidates), None), read)
    return tuple(one for one in found if figures.layer in names or one.methods)


def _is_same(one: Remedy, other: Remedy) -> bool:
    return _content(one) == _content(other)


def _content(remedy: Remedy) -> object:
    changes = {
        key: frozenset(value) if isinstance(value, tuple) else value
        for key, value in remedy.changes.items()
    }
    return changes, remedy.methods


def _best_rule(ways: Sequence[Way]) -> tuple[Way, ...]:
    """All ways but those by threshold rules, and of these the best."""
    rules = [way for way in ways if way.remedy.methods]
    best = [max(rules, key=lambda way: way.gain)] if rules else []
    return (*(way for way in ways if not way.remedy.methods), *best)
