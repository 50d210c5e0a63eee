"""What differs between the builds of two bundles: build file, tools, sources, files, scales."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import log2

import yaml

from calibration.ranges import TensorRange
from compiler.runner.manifest import Manifest, Source


@dataclass(frozen=True, slots=True)
class Change:
    """A value of A and of B under one key, as JSON values; None where it is absent."""

    key: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class BuildDiff:
    """Two builds.

    Args:
        keys: Keys of the resolved build file, such as "backend.quantize.calibrate_mode".
        versions: Versions by tool.
        sources: Files that only one of them was made from, by SHA-256, as "name sha256"; the key
            is their role.
        files: Files of the bundle whose contents differ, by SHA-256.
    """

    keys: tuple[Change, ...]
    versions: tuple[Change, ...]
    sources: tuple[Change, ...]
    files: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class ScaleChange:
    """A tensor whose quantization differs; None where it has no scale of its own."""

    tensor: str
    a: TensorRange | None
    b: TensorRange | None

    @property
    def octaves(self) -> float | None:
        """log2 of the scale in B over that in A; None where the tensor is on one side only."""
        return None if self.a is None or self.b is None else log2(self.b.scale / self.a.scale)


def diff_builds(a: Manifest, b: Manifest) -> BuildDiff:
    """Compare what two manifests record."""
    hashes = [{name: fact.sha256 for name, fact in one.files.items()} for one in (a, b)]
    return BuildDiff(
        keys=_changes(_keys(a.build), _keys(b.build)),
        versions=_changes(a.versions, b.versions),
        sources=tuple(_source_changes(a.sources, b.sources)),
        files=_changes(hashes[0], hashes[1]),
    )


def changed_keys(a: str, b: str) -> tuple[str, ...]:
    """Keys whose values differ between two resolved build files, in the order of the first."""
    return tuple(change.key for change in _changes(_keys(a), _keys(b)))


def diff_scales(a: Sequence[TensorRange], b: Sequence[TensorRange]) -> tuple[ScaleChange, ...]:
    """Compare two calibration tables.

    What was observed (smallest and largest value) does not count: only what became of it.

    Returns:
        Tensors whose scale, zero point, threshold or method differ, by the ratio of the scales,
        largest first; those that only one side has come last, in the order of their tables.
    """
    ranges_a, ranges_b = ({one.name: one for one in table} for table in (a, b))
    names = dict.fromkeys([*ranges_a, *ranges_b])
    changes = [ScaleChange(name, ranges_a.get(name), ranges_b.get(name)) for name in names]
    return tuple(
        sorted((one for one in changes if _decided(one.a) != _decided(one.b)), key=_by_ratio)
    )


def _keys(build: str) -> dict[str, object]:
    """Keys of a resolved build file, such as "dataset.process_ops[1].size"."""
    return dict(_flat("", yaml.safe_load(build)))


def _decided(range_: TensorRange | None) -> tuple[object, ...] | None:
    if range_ is None:
        return None
    return range_.method, range_.threshold, range_.scale, range_.zero_point


def _by_ratio(change: ScaleChange) -> float:
    return 1.0 if change.octaves is None else -abs(change.octaves)


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Leaves of a document; a list of plain values is one leaf."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(f"{key}.{name}".removeprefix("."), item)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{key}[{index}]", item)
    else:
        yield key, value


def _changes(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Change, ...]:
    """Keys whose values differ, in the order of A, then of B."""
    keys = dict.fromkeys([*a, *b])
    return tuple(Change(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key))


def _source_changes(a: Sequence[Source], b: Sequence[Source]) -> Iterator[Change]:
    """Files of one side only, those of one role beside each other; `keys` tell of build files."""
    for role in ("model", "data", "table"):
        ours, theirs = ([one for one in sources if one.role == role] for sources in (a, b))
        pairs = zip_longest(_unknown(ours, theirs), _unknown(theirs, ours))
        yield from (Change(role, one, other) for one, other in pairs)


def _unknown(sources: Sequence[Source], others: Sequence[Source]) -> list[str]:
    known = {one.sha256 for one in others}
    return [f"{one.name} {one.sha256}" for one in sources if one.sha256 not in known]
