"""Ways out for a layer that loses accuracy in int8, as keys of `backend.quantize`."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from calibration.ranges import TensorRange
from calibration.rules import THRESHOLD_RULES
from compiler.config.backend import Quantize
from compiler.config.dump import write_yaml
from compiler.config.model import BuildConfig
from compiler.pipeline.search import Candidate

Changes = Mapping[str, Any]  # Any: values of keys under backend.quantize

_NETWORK_WIDE: Final = (
    ("calibrate_mode", "auto"),
    ("equalize", True),
    ("bias_correction", True),
    ("quantize_per_channel", True),
    ("weight_scale", "mse"),
    ("round_weights", "adaptive"),
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way out.

    Args:
        label: What it does, in words.
        changes: Keys under `backend.quantize`; layers in a list are added to those there. Empty
            where the build file has no key for it.
        methods: Tensor -> threshold rule, instead of a key.
        hint: What else to know of it.
    """

    label: str
    changes: Changes = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""


def layer_remedies(
    layer: str, with_makers: Candidate | None, ranges: Sequence[TensorRange]
) -> tuple[Remedy, ...]:
    """Ways out for one layer.

    Args:
        layer: Name in the original network.
        with_makers: The layer and those that make its inputs, which round what they make.
        ranges: Of the tensors that it reads.
    """
    found = [Remedy("in float", {"exclude_layers": (layer,)})]
    if with_makers is not None and with_makers.layers != {layer}:
        makers = sorted(with_makers.layers - {layer})
        found.append(
            Remedy(
                f"in float with {', '.join(makers)}",
                {"exclude_layers": (layer, *makers)},
                hint="they round what it reads",
            )
        )
    wide = "CPU engines compute it in float"
    found.append(Remedy("16-bit activations", {"uint16_layers": (layer,)}, hint=wide))
    for rule in THRESHOLD_RULES:
        if changed := {one.name: rule for one in ranges if one.method != rule}:
            hint = "calibrate_mode: auto chooses by tensor"
            found.append(Remedy(f"{rule} for what it reads", methods=changed, hint=hint))
    return tuple(found)


def network_remedies(quantize: Quantize) -> tuple[Remedy, ...]:
    """Ways out that concern the whole network, as far as the build file does not take them."""
    return tuple(
        Remedy(f"{key}: {_text(value)}", {key: value})
        for key, value in _NETWORK_WIDE
        if getattr(quantize, key) != value
    )


def combine(remedies: Iterable[Remedy]) -> Changes:
    """All changes together; none of them contradict each other, as there is one value per key."""
    changes: dict[str, Any] = {}  # Any: as in `Changes`
    for remedy in remedies:
        for key, value in remedy.changes.items():
            known = changes.get(key, ())
            changes[key] = (
                tuple(dict.fromkeys((*known, *value))) if isinstance(value, tuple) else value
            )
    return changes


def apply(config: BuildConfig, changes: Changes) -> BuildConfig:
    """The build file with changes to its section `backend.quantize`."""
    backend = config.backend
    quantize = backend.quantize.model_copy(update=_values(backend.quantize, changes))
    return config.model_copy(update={"backend": backend.model_copy(update={"quantize": quantize})})


def patch_text(quantize: Quantize, changes: Changes) -> str:
    """Lines of a build file, ready to paste; lists include what they hold now."""
    values = _values(quantize, changes)
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }
    return write_yaml({"backend": {"quantize": plain}})


def _values(quantize: Quantize, changes: Changes) -> dict[str, Any]:  # Any: as in `Changes`
    """Complete values; names that read as patterns are escaped, so that they name one layer."""
    return {
        key: (*getattr(quantize, key), *map(glob.escape, value))
        if isinstance(value, tuple)
        else value
        for key, value in changes.items()
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
