"""Where an int8 network loses its accuracy: what each layer adds, and what has come together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compiler.verify.metrics import Agreement

JsonObject = Mapping[str, Any]  # Any: a JSON object


@dataclass(frozen=True, slots=True)
class Part:
    """One integer node, compared with the float network.

    Args:
        layer: Name of the network's own layer that it is, or is part of.
        op: ONNX operator type.
        tensor: What it hands on.
        isolated: Of that tensor if this node alone runs on integers.
        accumulated: Of that tensor in the int8 network.
        macs: Multiply-accumulates.
    """

    layer: str
    op: str
    tensor: str
    isolated: Agreement
    accumulated: Agreement
    macs: int = 0


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """What int8 costs one layer.

    Args:
        layer: Name in the original network.
        op: ONNX operator type.
        tensor: Tensor that the layer hands on.
        isolated_sqnr_db: SQNR in dB of its output if this layer alone ran on integers; its own
            rounding not counted, which is part of what its readers are charged with.
        isolated_cosine: Cosine similarity of the same.
        accumulated_sqnr_db: SQNR in dB of its rounded output in the int8 network.
        accumulated_cosine: Cosine similarity of the same.
        share: Its part, in [0, 1], of the noise-to-signal ratios of all layers, each isolated.
        macs: Multiply-accumulates.
    """

    layer: str
    op: str
    tensor: str
    isolated_sqnr_db: float
    isolated_cosine: float
    accumulated_sqnr_db: float
    accumulated_cosine: float
    share: float
    macs: int = 0


def layer_sensitivities(parts: Iterable[Part]) -> tuple[LayerSensitivity, ...]:
    """One entry per layer of the original network, in the order of its first part.

    Where a rewrite put several nodes in the place of one layer, the isolated figures (and the
    operator) are those of the worst, since whatever it spoils the others pass on; tensor and
    accumulated figures are those of the last, which makes the layer's own output or what is closest
    to it.

    Args:
        parts: In graph order.
    """
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.layer, []).append(part)
    worst = {name: min(group, key=_isolated_sqnr_db) for name, group in groups.items()}
    noise = {name: 10 ** (-part.isolated.sqnr_db / 10) for name, part in worst.items()}
    total = sum(noise.values())
    return tuple(
        LayerSensitivity(
            layer=name,
            op=worst[name].op,
            tensor=group[-1].tensor,
            isolated_sqnr_db=round(worst[name].isolated.sqnr_db, 3),
            isolated_cosine=round(worst[name].isolated.cosine, 8),
            accumulated_sqnr_db=round(group[-1].accumulated.sqnr_db, 3),
            accumulated_cosine=round(group[-1].accumulated.cosine, 8),
            share=round(noise[name] / total, 6),
            macs=sum(part.macs for part in group),
        )
        for name, group in groups.items()
    )


def rank(layers: Iterable[LayerSensitivity]) -> tuple[LayerSensitivity, ...]:
    """Worst isolated SQNR first; equal ones stay in order."""
    return tuple(sorted(layers, key=lambda layer: layer.isolated_sqnr_db))


def to_json(layers: Iterable[LayerSensitivity]) -> list[dict[str, Any]]:  # Any: a JSON object
    """What a bundle's report data holds under "sensitivity"."""
    return [asdict(layer) for layer in layers]


def from_json(facts: Sequence[JsonObject]) -> tuple[LayerSensitivity, ...]:
    """Read what `to_json` wrote.

    Raises:
        TypeError: A field is missing, or one is unknown.
    """
    return tuple(LayerSensitivity(**layer) for layer in facts)


def _isolated_sqnr_db(part: Part) -> float:
    return part.isolated.sqnr_db
