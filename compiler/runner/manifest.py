"""The bundle format, owned by its reader: the contents of `mod.json`.

A bundle is a folder `<workspace>/<name>/` whose files share the stem `mod`. The manifest holds the
size and SHA-256 of every file that decides a result, and a checksum of itself, so that a torn or
edited bundle is refused instead of run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from compiler.errors import BundleError
from compiler.runner.delivered import Delivered
from compiler.runner.engine import EngineChoice

FORMAT_VERSION: Final = 2
STEM: Final = "mod"
OWN_FILES: Final = f"{STEM}."  # every name that starts otherwise belongs to the user
UNHASHED: Final = frozenset({"mod.json", "mod.build.json", "mod.report.html"})

_LEFT_OUT: Final = "left out"  # in a field's metadata: not written where it is None

JsonObject: TypeAlias = Mapping[str, object]  # values: what `json` writes, without NaN and infinity


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph input or output.

    Args:
        name: As in the graph.
        shape: Sizes; -1 where the size is open.
        dtype: numpy's name of the element type.
        bounds: Of an input with open sizes: smallest and largest size of every dimension, both
            inclusive; empty when `shape` says all.
        delivered: Of an output: how `vamp` and `vaststreamx` hand it out; None where only its shape
            decides.

    Raises:
        ValueError: `delivered` does not fit `shape`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bounds: tuple[tuple[int, int], ...] = ()
    delivered: Delivered | None = field(default=None, metadata={_LEFT_OUT: True})

    def __post_init__(self) -> None:
        if self.delivered is not None:
            self.delivered.shape_of(self.shape)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """`bounds`, also where they say no more than `shape`."""
        return self.bounds or tuple((size, size) for size in self.shape)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an input may have this shape; an open size without bounds may be any."""
        return len(shape) == len(self.shape) and all(
            smallest < 0 or smallest <= size <= largest
            for size, (smallest, largest) in zip(shape, self.ranges, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(_size_text, self.ranges))}]"


def _size_text(bounds: tuple[int, int]) -> str:
    smallest, largest = bounds
    return str(smallest) if smallest == largest else f"{smallest}..{largest}"


@dataclass(frozen=True, slots=True)
class FileFact:
    """What identifies the contents of a file: size in bytes and SHA-256 (64 hex digits)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the bundle was made from.

    Args:
        role: "build" (name of the build file, size and hash of what it came to with defaults and
            overrides, `Manifest.build`; one per bundle), "model", "data" (list of the calibration
            files) or "table" (given calibration table).
        name: File name without its folder: a bundle does not depend on where its sources lay.
        size: In bytes.
        sha256: 64 hex digits.
    """

    role: Literal["build", "model", "data", "table"]
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The chain that turns an image into the network's input.

    Args:
        ops: One mapping per operation, as `compiler.preprocess.chain.Chain.to_list` gives them.
        shape: Result (channels, height, width); None when the operations alone decide it.
    """

    ops: tuple[JsonObject, ...]
    shape: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Postprocessing:
    """How the first output, shape (1, C, H, W), becomes a class mask.

    Args:
        kind: "binary": class 1 where the single channel exceeds `threshold`; "argmax": the class
            of the largest channel; "classes": the single channel holds the class numbers.
        threshold: 0.0 for logits, 0.5 for probabilities; used for "binary" only.
    """

    kind: Literal["binary", "argmax", "classes"]
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of `mod.json`.

    Args:
        name: Name of the bundle, and of its folder.
        inputs: Graph inputs, in graph order.
        outputs: Graph outputs, in graph order.
        build: Resolved build file, as YAML text.
        preprocessing: Chain from image to input; None when the input is no image.
        postprocessing: Rule from output to class mask; None when the output is no mask.
        classes: Class names by index; empty when not given.
        engine: What runs it unless the caller chooses; "auto" is the fastest where it runs.
        optimization: Constants of the cost model that chose the rewrites, and the sites of each.
        quantization: Summary of what became int8 or float16.
        verification: Figures of the comparison with the float network.
        sources: Files that the bundle was made from.
        versions: Version by tool, for the tools that shape the bytes.
        files: Hashed files of the bundle by name; filled in when the bundle is written.

    Raises:
        ValueError: A name in `files` is not a plain file name.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build: str
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing | None = None
    classes: tuple[str, ...] = ()
    engine: EngineChoice = "onnxruntime"
    optimization: JsonObject = field(default_factory=dict)
    quantization: JsonObject = field(default_factory=dict)
    verification: JsonObject = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileFact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.files:
            if not name.startswith(OWN_FILES) or "/" in name or "\\" in name:
                raise ValueError(f"files: {name!r} is not the name of a bundle's file")

    @property
    def build_file(self) -> Source | None:
        """The build file that the bundle was made from; None when not recorded."""
        return next((source for source in self.sources if source.role == "build"), None)

    def to_json(self) -> str:
        """Canonical text of `mod.json`: sorted keys, one space of indent, newline at the end.

        Raises:
            ValueError: NaN or infinity, which JSON cannot express.
        """
        data = {"format": FORMAT_VERSION, **_encode(self)}
        return _canonical({**data, "checksum": _checksum(data)})

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "Manifest":
        """Read the text of a `mod.json`.

        Args:
            text: Whole contents of the file.
            where: Path of the file, for the error.

        Raises:
            BundleError: Torn or malformed text, a newer format, an edited value, a wrong type.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("no JSON object")
            version = _decode(int, data.pop("format", None), "format")
            if version > FORMAT_VERSION:
                raise BundleError(
                    f"bundle format {version} is newer than this modc reads ({FORMAT_VERSION})",
                    where=where,
                    fix="install a newer modc, or build the bundle again with this one",
                )
            checksum = data.pop("checksum", None)
            if checksum != _checksum({**data, "format": version}):
                raise ValueError("it was edited: its contents do not match its checksum")
            manifest: Manifest = _decode(cls, data, "")
        except ValueError as error:  # json.JSONDecodeError is one
            raise BundleError(
                f"not a usable bundle manifest: {error}",
                where=where,
                fix="build the bundle again (modc compile)",
            ) from error
        return manifest


def _canonical(data: JsonObject) -> str:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _checksum(data: JsonObject) -> str:
    return hashlib.sha256(_canonical(data).encode()).hexdigest()


def _encode(value: Any) -> Any:  # Any: one side of a conversion between all JSON types
    if is_dataclass(value):
        return {
            item.name: _encode(getattr(value, item.name))
            for item in fields(value)
            if _LEFT_OUT not in item.metadata or getattr(value, item.name) is not None
        }
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(kind: Any, value: Any, at: str) -> Any:  # Any: `kind` is a type, `value` JSON of any
    """Value of type `kind` from JSON; `at` is its key path."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is object:
        return value
    if origin is UnionType:  # only `X | None` occurs
        return None if value is None else _decode(args[0], value, at)
    if origin is Literal:
        return _checked(value in args, value, at, f"one of {', '.join(map(str, args))}")
    if is_dataclass(kind):
        return _decode_fields(kind, _checked(isinstance(value, dict), value, at, "an object"), at)
    if origin is Mapping:
        _checked(isinstance(value, dict), value, at, "an object")
        return {key: _decode(args[1], item, f"{at}.{key}") for key, item in value.items()}
    if origin is tuple:
        _checked(isinstance(value, list), value, at, "a list")
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        _checked(len(kinds) == len(value), value, at, f"{len(kinds)} elements")
        return tuple(
            _decode(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
        )
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and not isinstance(value, bool)  # bool is an int in Python
    return _checked(fits, value, at, f"of type {kind.__name__}")


def _decode_fields(kind: Any, data: dict[str, Any], at: str) -> Any:  # Any: as in `_decode`
    hints = get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"{at or 'manifest'}: unknown key {unknown[0]!r}")
    required = {
        n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING
    }
    if missing := sorted(required - set(data)):
        raise ValueError(f"{at or 'manifest'}: key {missing[0]!r} is missing")
    return kind(
        **{
            name: _decode(hints[name], value, f"{at}.{name}".lstrip("."))
            for name, value in data.items()
        }
    )


def _checked(fits: bool, value: Any, at: str, expected: str) -> Any:  # Any: as in `_decode`
    if not fits:
        raise ValueError(f"{at}: {value!r:.80} is not {expected}")
    return value
