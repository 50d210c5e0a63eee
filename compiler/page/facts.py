"""What a bundle's JSON files say, in the forms that a page shows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import yaml

from compiler.page import words
from compiler.page.contents import Contents

Facts: TypeAlias = Mapping[str, Any]  # Any: a JSON object

LOW_SQNR_DB: Final = 20.0  # the noise is a tenth of the signal
POOR_SQNR_DB: Final = 10.0  # a third

_CONVERSIONS: Final = ("QuantizeLinear", "DequantizeLinear")
_QUOTED: Final = re.compile("'[^']*'")


@dataclass(frozen=True, slots=True)
class Layer:
    """A node of the compiled network that computes.

    Args:
        position: In graph order, from 1.
        facts: As the report data has them.
        ms: What it takes; None where that was not measured, or is part of another's time.
    """

    position: int
    facts: Facts
    ms: float | None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a pass did.

    Args:
        name: The pass.
        changed: Number of sites.
        declined: Reason -> the sites that it left alone for it, with what it said of each.
        warnings: One sentence each.
    """

    name: str
    changed: int
    declined: Mapping[str, Sequence[tuple[str, str]]]
    warnings: Sequence[str]

    @property
    def busy(self) -> bool:
        """Whether there is anything to tell of it."""
        return bool(self.changed or self.declined or self.warnings)


@dataclass(frozen=True, slots=True)
class Gate:
    """An accuracy gate of the build file.

    Args:
        asks: What of.
        found: What came out.
        held: Whether that is enough.
    """

    asks: str
    found: str
    held: bool


@dataclass(frozen=True, slots=True)
class Headline:
    """One of the few figures that say how a build turned out.

    Args:
        title: What it measures.
        value: Of the compiled network.
        before: Of the original network; empty where it has none.
        change: Between them, in words; empty where there is nothing to say.
    """

    title: str
    value: str
    before: str
    change: str


def layers_of(contents: Contents) -> tuple[Layer, ...]:
    """The layers in graph order, with their times."""
    report: Facts = contents.report
    times = {node["node"]: node["ms"] for node in nodes_of(contents)}
    return tuple(
        Layer(position, facts, times.get(facts["node"]))
        for position, facts in enumerate(report.get("layers", ()), 1)
    )


def nodes_of(contents: Contents) -> Sequence[Facts]:
    """The measured nodes; empty where none were."""
    run: Facts = contents.run
    return tuple(run.get("nodes", ()))


def rewrites_of(report: Facts) -> tuple[Rewrite, ...]:
    """The passes in their order; a reason that many sites share but for names is told once."""
    rewrites = []
    for result in report.get("passes", ()):
        kinds: dict[str, list[tuple[str, str]]] = {}
        for skip in result["skipped"]:
            kind = _QUOTED.sub("…", skip["reason"])
            kinds.setdefault(kind, []).append((skip["where"], skip["reason"]))
        declined = {
            kind if len({reason for _, reason in sites}) > 1 else sites[0][1]: sites
            for kind, sites in kinds.items()
        }
        rewrites.append(Rewrite(result["name"], result["changed"], declined, result["warnings"]))
    return tuple(rewrites)


def network_of(graph: Facts) -> tuple[tuple[str, str, str], ...]:
    """What the network consists of: a name, before and after.

    Conversions to and from integers do not compute; an engine merges most of them into their
    neighbours. So they are counted apart.
    """
    sides = graph["before"], graph["after"]
    conversions = [sum(side["operators"].get(op, 0) for op in _CONVERSIONS) for side in sides]
    computing = [side["nodes"] - count for side, count in zip(sides, conversions, strict=True)]
    rows = {
        "Nodes that compute": [words.count(count) for count in computing],
        "Conversions to and from integers": [words.count(count) for count in conversions],
        "Multiply-accumulates": [words.short_count(side["macs"]) for side in sides],
        "Parameters": [words.size(side["parameter_bytes"]) for side in sides],
    }
    return tuple((name, before, after) for name, (before, after) in rows.items())


def operators_of(graph: Facts) -> tuple[tuple[str, int, int], ...]:
    """Every operator with its number of nodes before and after."""
    before, after = graph["before"]["operators"], graph["after"]["operators"]
    names = sorted({*before, *after})
    return tuple((name, before.get(name, 0), after.get(name, 0)) for name in names)


def sizes(contents: Contents) -> tuple[int | None, int | None]:
    """Bytes of the original network's files and of the compiled one's."""
    manifest: Facts = contents.manifest
    sources = [one["size"] for one in manifest.get("sources", ()) if one["role"] == "model"]
    files = manifest.get("files", {})
    network = [files[name]["size"] for name in ("mod.onnx", "mod.params") if name in files]
    return sum(sources) if sources else None, sum(network) if network else None


def latencies(contents: Contents) -> Facts:
    """Milliseconds "fp32" and "compiled", and "threads"; empty where not measured."""
    run: Facts = contents.run
    return dict(run.get("latency_ms") or {})


def dtype_of(contents: Contents) -> str:
    """What the build was for: "fp32", "fp16", "bf16" or "int8"."""
    manifest: Facts = contents.manifest
    return str(manifest.get("quantization", {}).get("dtype", "fp32"))


def verification_of(contents: Contents) -> Facts:
    """The figures against fp32; empty where the bundle has none."""
    manifest, report = contents.manifest, contents.report
    found: Any = report.get("verification") or manifest.get("verification") or {}
    return dict(found)


def headlines(contents: Contents) -> tuple[Headline, ...]:
    """Size, latency, accuracy and integer layers, as far as they are known."""
    return (*_cost(contents), *_accuracy(contents), *_integers(contents))


def gates_of(contents: Contents) -> tuple[Gate, ...]:
    """The gates that the build file asks for, and its accuracy budget."""
    verification, manifest = verification_of(contents), contents.manifest
    report: Facts = contents.report
    asked = (yaml.safe_load(str(manifest.get("build", ""))) or {}).get("verify") or {}
    outputs = verification.get("outputs", ())
    gates = []
    if outputs and (least := asked.get("min_cosine")) is not None:
        found = min(one["cosine"] for one in outputs)
        gates.append(Gate(f"cosine of {least:g} or more", f"{found:.6f}", found >= least))
    if outputs and (least := asked.get("min_sqnr_db")) is not None:
        found = min(one["sqnr_db"] for one in outputs)
        gates.append(Gate(f"SQNR of {least:g} dB or more", f"{found:.2f} dB", found >= least))
    task = verification.get("task")
    if task and task.get("max_drop") is not None:
        drop = task["fp32"] - task["compiled"]
        gates.append(_drop_gate(task, drop, drop <= task["max_drop"]))
    if search := report.get("search"):
        gate = _drop_gate(search, search["drop"], search["reached"])
        gates.append(replace(gate, asks=f"{gate.asks} (quantize.accuracy)"))
    return tuple(gates)


def _drop_gate(asked: Facts, drop: float | None, held: bool) -> Gate:
    found = "not measured" if drop is None else f"{words.signed(-drop, 2)} points"
    return Gate(f"{asked['metric']} at most {asked['max_drop']:g} points below fp32", found, held)


def distinct(values: Iterable[str]) -> list[str]:
    """Sorted, each once."""
    return sorted(set(values))


def _cost(contents: Contents) -> Iterable[Headline]:
    before, after = sizes(contents)
    if after is not None:
        change = words.ratio(before, after, "smaller", "larger") if before else ""
        yield Headline("Size", words.size(after), words.size(before) if before else "", change)
    if times := latencies(contents):
        fp32, compiled = times["fp32"], times["compiled"]
        threads = words.plural(times["threads"], "thread")
        yield Headline(
            f"Latency, {threads}",
            f"{compiled:.2f} ms",
            f"{fp32:.2f} ms",
            words.ratio(fp32, compiled, "faster", "slower"),
        )


def _accuracy(contents: Contents) -> Iterable[Headline]:
    verification = verification_of(contents)
    if task := verification.get("task"):
        change = f"{words.signed(task['compiled'] - task['fp32'], 2)} points"
        yield Headline(
            f"{task['metric']}, {words.plural(task['images'], 'image')}",
            f"{task['compiled']:.2f}",
            f"{task['fp32']:.2f}",
            change,
        )
    if outputs := verification.get("outputs"):
        worst = min(one["sqnr_db"] for one in outputs)
        cosine = min(one["cosine"] for one in outputs)
        yield Headline("SQNR of the output", f"{worst:.2f} dB", "", f"cosine {cosine:.6f}")


def _integers(contents: Contents) -> Iterable[Headline]:
    manifest: Facts = contents.manifest
    quantization = manifest.get("quantization", {})
    if "integer_layers" in quantization:
        done, planned = quantization["integer_layers"], quantization["planned_layers"]
        all_of_them = "all that were planned" if planned else "none was planned"
        change = all_of_them if done == planned else f"{planned} were planned"
        yield Headline("Layers on integers", words.count(done), "", change)
