"""Text of a vdsp JSON → the values of its keys, or an error that names file, key and choices."""

import difflib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from compiler.errors import BuildFileError
from compiler.preprocess.ops import closest
from compiler.preprocess.vdsp_legacy import is_legacy, modernise
from compiler.preprocess.vdsp_names import (
    COLOR_CVT_CODES,
    FORMAT_SPELLINGS,
    IMAGE_FORMATS,
    NORMA_TYPES,
    OP_TYPES,
    REFUSED_OP_TYPES,
    RESIZE_TYPES,
    OpKind,
)

_LOG = logging.getLogger(__name__)

_FIX: Final = "correct the JSON"
_LARGEST: Final = 65504.0  # of float16, in which the device keeps mean and std
_SMALLEST: Final = 2.0**-24
_COLOR_SPACES: Mapping[int, str] = MappingProxyType({0: "BT709", 1: "BT601"})
# Keys that each geometric step reads.
_OIMAGE, _RESIZE = ("OimageWidth", "OimageHeight"), ("ResizeWidth", "ResizeHeight")
_CROP_AT = ("CropX", "CropY")
_GEOMETRY_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "none": (),
        "tensors": (),
        "resize": _OIMAGE,
        "resize_crop": (*_RESIZE, *_CROP_AT, *_OIMAGE),
        "crop_resize": (*_CROP_AT, "CropWidth", "CropHeight", *_OIMAGE),
        "crop": (*_CROP_AT, *_OIMAGE),
        "letterbox": _OIMAGE,
        "letterbox_ext": (
            *_RESIZE,
            *(f"Padding{side}" for side in ("Top", "Bottom", "Left", "Right")),
        ),
        "border": (*_OIMAGE, *(f"Edge{side}" for side in ("Top", "Bottom", "Left", "Right"))),
    }
)
_LENGTHS = tuple(key for keys in _GEOMETRY_KEYS.values() for key in keys)
_PADS = ("letterbox", "letterbox_ext", "border")
_KNOWN = (
    *_LENGTHS,
    *("IimageFormat", "ColorCvtCode", "ColorSpace", "ResizeType", "NormaType"),
    *("Mean", "Std", "Padding"),
)
_IGNORED = (
    *("IimageWidth", "IimageHeight", "IimageWidthPitch", "IimageHeightPitch"),
    *("OimageFormat", "OimageWidthPitch", "OimageHeightPitch", "OimageCnt"),
    *("EdgePaddingType", "Scale", "TensorType0"),
)


def load_json(path: Path) -> Mapping[str, Any]:
    """The one object that the file holds.

    Raises:
        BuildFileError: Missing or unreadable file, no JSON, or no single object.
    """
    where = str(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BuildFileError(
            f"vdsp JSON cannot be read: {error.strerror or error}",
            where=where,
            fix="check the path and its permissions",
        ) from error
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise BuildFileError(f"no JSON: {error}", where=where, fix=_FIX) from error
    if not isinstance(content, dict):
        raise BuildFileError(
            f"holds a {type(content).__name__}; expected one object with OpType and OpConfig",
            where=where,
            fix=_FIX,
        )
    return content


def current_form(content: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """The object in the current form, {OpType, OpConfig}, whatever form it has.

    Raises:
        BuildFileError: A legacy form that has no current counterpart.
    """
    try:
        return modernise(content) if is_legacy(content) else content
    except ValueError as error:
        raise BuildFileError(str(error), where=source, fix=_FIX) from error


def read_op_config(content: Mapping[str, Any], source: str) -> tuple[str, dict[str, Any]]:
    """Op type, and the fields of `VdspParams` that the op reads.

    Raises:
        BuildFileError: An op that cannot run as preprocessing, or a value that has no meaning.
    """
    content = current_form(content, source)
    op_type = _op_type(content, source)
    config = content.get("OpConfig", {})
    if not isinstance(config, Mapping):
        raise BuildFileError(
            f"OpConfig is {type(config).__name__}; expected an object", where=source, fix=_FIX
        )
    return op_type, _OpConfig(config, source).fields(OP_TYPES[op_type])


def _op_type(content: Mapping[str, Any], source: str) -> str:
    op_type = content.get("OpType")
    if isinstance(op_type, str) and op_type in OP_TYPES:
        return op_type
    if op_type in REFUSED_OP_TYPES:
        what = f"OpType {op_type} cannot run as preprocessing"
    elif op_type is None:
        what = f"no OpType{closest('OpType', content)}"
    else:
        what = f"OpType {op_type!r} is not known{closest(str(op_type), OP_TYPES)}"
    raise BuildFileError(what, where=source, fix=f"supported: {', '.join(OP_TYPES)}")


class _OpConfig:
    """Values of `OpConfig`, each checked when it is read."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self._config = config
        self._source = source
        for key in config.keys() - {*_KNOWN, *_IGNORED}:
            if close := difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0.8):
                _LOG.warning("%s: unknown key %s is ignored; did you mean %s?", source, key, *close)

    def fields(self, kind: OpKind) -> dict[str, Any]:
        """Everything that an op of this kind reads, by field of `VdspParams`."""
        values: dict[str, Any] = {}
        if kind.geometry == "tensors":
            return values
        if kind.converts:
            values["color_cvt_code"] = self._color_cvt_code(kind)
        nv12 = kind.source == "nv12" or "YUV" in values.get("color_cvt_code", "")
        values["iimage_format"] = "YUV_NV12" if nv12 else self._image_format()
        if nv12 and "ColorSpace" in self._config:
            values["color_space"] = self._choice("ColorSpace", _COLOR_SPACES)
        if kind.resizes:
            values["resize_type"] = self._choice("ResizeType", RESIZE_TYPES)
        for key in _GEOMETRY_KEYS[kind.geometry]:
            if self._config.get(key) is not None:
                values[_field(key)] = self._length(key)
        if kind.geometry in _PADS and self._config.get("Padding") is not None:
            values["padding"] = tuple(map(int, self._numbers("Padding", whole=True)))
        if kind.source != "single":
            values |= self._formula()
        return values

    def _formula(self) -> dict[str, Any]:
        norma_type = self._choice("NormaType", NORMA_TYPES)
        values: dict[str, Any] = {"norma_type": norma_type}
        if "MINUSMEAN" in norma_type:
            values["mean"] = self._numbers("Mean")
        if "DIVSTD" in norma_type:
            values["std"] = self._numbers("Std")
            if any(abs(value) < _SMALLEST for value in values["std"]):
                raise self._refusal("Std", f"expected numbers other than 0 with {norma_type}")
        return values

    def _color_cvt_code(self, kind: OpKind) -> str:
        single = kind.source == "single"
        names = {
            number: name
            for number, name in COLOR_CVT_CODES.items()
            if single or name.startswith("YUV") == (kind.source == "nv12")
        }
        return self._choice("ColorCvtCode", names)

    def _image_format(self) -> str:
        if "IimageFormat" not in self._config:
            return "RGB_PLANAR"
        names = {number: name for number, name in IMAGE_FORMATS.items() if number}
        given = self._config["IimageFormat"]
        if isinstance(given, str) and given in FORMAT_SPELLINGS:
            return FORMAT_SPELLINGS[given]
        return self._choice("IimageFormat", names, also=tuple(FORMAT_SPELLINGS))

    def _choice(self, key: str, names: Mapping[int, str], also: tuple[str, ...] = ()) -> str:
        """Name that the key gives as such or by number."""
        known = (*names.values(), *also)
        expected = f"expected one of {', '.join(known)}"
        if key not in self._config:
            unknown = self._config.keys() - set(_KNOWN)
            text = f"OpConfig has no {key}{closest(key, unknown)}; {expected}"
            raise BuildFileError(text, where=self._source, fix=f"add {key} to OpConfig")
        given = self._config[key]
        if isinstance(given, str) and given in names.values():
            return given
        if isinstance(given, int) and not isinstance(given, bool) and given in names:
            return names[given]
        raise self._refusal(key, expected + closest(str(given).upper(), known))

    def _length(self, key: str) -> int:
        value, smallest = self._config[key], int(key.endswith(("Width", "Height")))
        if not _is_number(value) or value != value // 1 or value < smallest:
            raise self._refusal(key, f"expected a whole number from {smallest}")
        return int(value)

    def _numbers(self, key: str, *, whole: bool = False) -> tuple[float, ...]:
        expected = "expected a list of three numbers" + (" from 0 to 255" if whole else "")
        given = self._config.get(key)
        if not isinstance(given, list) or len(given) not in (1, 3):
            raise self._refusal(key, expected)
        if not all(map(_is_number, given)):
            raise self._refusal(key, f"{expected} within ±{_LARGEST:g}")
        if whole and any(value != value // 1 or not 0 <= value <= 255 for value in given):
            raise self._refusal(key, expected)
        return tuple(map(float, given))

    def _refusal(self, key: str, expected: str) -> BuildFileError:
        given = json.dumps(self._config[key]) if key in self._config else "absent"
        return BuildFileError(
            f"OpConfig.{key} is {given}; {expected}", where=self._source, fix=_FIX
        )


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= _LARGEST  # type: ignore[arg-type]  # number says it is one


def _field(key: str) -> str:
    """Field of `VdspParams` that holds a key: CropX → crop_x, EdgeTop → padding_top."""
    parts = "".join(f"_{char.lower()}" if char.isupper() else char for char in key)
    return parts.removeprefix("_").replace("edge_", "padding_")
