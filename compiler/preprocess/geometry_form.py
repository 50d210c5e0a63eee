"""Geometric ops in a normal form: everything known written out, everything without effect left out.

A resize to the size that the image has, a crop of all of it and a border of no pixels disappear;
crops and pads of images whose size is known become `Crop` and `Border`, pads after a fit `PadTo`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from compiler.preprocess.checks import Shape
from compiler.preprocess.ops import (
    Border,
    CenterCrop,
    Crop,
    GeometryOp,
    Interpolation,
    Pad,
    PadTo,
    Resize,
)

Size = tuple[int, int]  # height, width

_SPELLINGS: Mapping[Interpolation | None, Interpolation] = MappingProxyType(
    {"linear": "bilinear", "cubic": "bicubic", None: "bilinear"}
)
_PADS = (Pad, PadTo, Border)


class GeometryForm:
    """Geometric steps in normal form, with the size of the image as far as it is known."""

    def __init__(self) -> None:
        self._steps: list[GeometryOp] = []
        self._size: Size | None = None
        self._pad: Pad | None = None  # the first; it also brings images to the declared shape
        self._keeps_ratio = False

    def add(self, op: GeometryOp) -> None:
        """Take one more op, reduced to what it does here."""
        match op:
            case Resize():
                self._resize(op)
            case CenterCrop():
                self._center_crop(op.box)
            case Crop():
                self._crop(op)
            case Pad():
                self._pad_to_square(op)
            case PadTo():
                self._pad_to(op)
            case Border():
                self._border(op.edges, op.value)

    def swap_channels(self) -> None:
        """Padding so far is now in the other order."""
        self._steps = [
            replace(op, value=op.value[::-1])
            if isinstance(op, _PADS) and isinstance(op.value, tuple)
            else op
            for op in self._steps
        ]

    def finish(self, shape: Shape | None) -> tuple[GeometryOp, ...]:
        """The steps, with those that a chain adds to reach the declared shape."""
        if shape and self._size != shape[1:]:
            if self._keeps_ratio:
                self._pad_to(_pad_to(self._pad or Pad(), shape[1:]))
            elif not any(not isinstance(op, Pad) for op in self._steps):
                self._resize(Resize(size=shape[1:]))
        return tuple(self._steps)

    def _set(self, op: GeometryOp, size: Size | None) -> None:
        self._steps.append(op)
        self._size = size

    def _resize(self, op: Resize) -> None:
        self._keeps_ratio = self._keeps_ratio or op.keeps_ratio
        backend = op.backend if op.backend == "pillow" else None
        interpolation = _SPELLINGS.get(op.interpolation, op.interpolation)
        plain = Resize(size=op.box, interpolation=interpolation, backend=backend)
        if not op.keeps_ratio:
            if op.box != self._size:
                self._set(plain, op.box)
        elif self._size:
            self._resize(replace(plain, size=op.target(*self._size)))
        else:
            length = max(op.box)
            box = (length, length) if -1 in op.box else op.box
            side = op.adaptive_side or "long"
            self._set(replace(plain, size=box, adaptive_side=side, rounding=op.rounding), None)

    def _center_crop(self, box: Size) -> None:
        if self._size and self._size[0] >= box[0] and self._size[1] >= box[1]:
            top, left = (self._size[0] - box[0]) // 2, (self._size[1] - box[1]) // 2
            self._crop(Crop(crop_size=box, top=top, left=left))
        else:
            self._set(CenterCrop(crop_size=box), box)

    def _crop(self, op: Crop) -> None:
        if op.box != self._size:
            self._set(replace(op, crop_size=op.box), op.box)

    def _pad_to_square(self, op: Pad) -> None:
        self._pad = self._pad or op
        if not op.pad_to_square:
            return
        last = self._steps[-1] if self._steps else None
        if self._size:
            side = max(self._size)
            self._pad_to(_pad_to(op, (side, side)))
        elif isinstance(last, Resize) and last.adaptive_side == "long" and _is_square(last.box):
            self._pad_to(_pad_to(op, last.box))
        else:
            self._set(replace(op, value=_plain(op.value)), None)

    def _pad_to(self, op: PadTo) -> None:
        if self._size and self._size[0] <= op.box[0] and self._size[1] <= op.box[1]:
            self._border(op.edges(*self._size), op.value)
        else:
            self._set(replace(op, size=op.box, value=_plain(op.value)), op.box)

    def _border(self, edges: tuple[int, int, int, int], value: int | tuple[int, ...]) -> None:
        if not any(edges):
            return
        top, bottom, left, right = edges
        size = self._size and (self._size[0] + top + bottom, self._size[1] + left + right)
        border = Border(top=top, bottom=bottom, left=left, right=right, value=_plain(value))
        self._set(border, size)


def geometry_differences(ours: tuple[GeometryOp, ...], theirs: tuple[GeometryOp, ...]) -> list[str]:
    """Names of what differs between two geometries in normal form that are not equal."""

    def facts(steps: tuple[GeometryOp, ...]) -> dict[str, object]:
        resizes = [op for op in steps if isinstance(op, Resize)]
        pads = [op for op in steps if isinstance(op, _PADS)]
        return {
            "interpolation": {(op.interpolation, op.backend) for op in resizes},
            "aspect ratio": any(op.keeps_ratio for op in resizes),
            "padding": [op.value for op in pads],
            "size": [op.box for op in resizes],
            "crop": [op for op in steps if isinstance(op, Crop | CenterCrop)],
        }

    one, other = facts(ours), facts(theirs)
    return [name for name in one if one[name] != other[name]] or ["geometry"]


def _pad_to(op: Pad, box: Size) -> PadTo:
    return PadTo(size=box, value=op.value, position=op.position)


def _is_square(box: Size) -> bool:
    return box[0] == box[1]


def _plain(value: int | tuple[int, ...]) -> int | tuple[int, ...]:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def step_in_words(op: GeometryOp) -> str:
    """A step of the normal form in words; sizes are height×width."""
    match op:
        case Resize():
            filter_ = f"{op.interpolation} ({'Pillow' if op.backend else 'OpenCV'})"
            verb = {None: "resize to", "long": "fit into", "short": "cover"}[op.adaptive_side]
            rounding = ", sizes rounded down" if op.rounding == "floor" else ""
            return f"{verb} {_size(op.box)}, {filter_}{rounding}"
        case CenterCrop():
            return f"crop {_size(op.box)} in the middle"
        case Crop():
            return f"crop {_size(op.box)} from row {op.top}, column {op.left}"
        case Pad():
            where = "" if op.position == "center" else " at the bottom and right"
            return f"pad to a square with {in_words(op.value)}{where}"
        case PadTo():
            where = "" if op.position == "center" else " at the bottom and right"
            return f"pad to {_size(op.box)} with {in_words(op.value)}{where}"
        case Border():
            edges = "top {}, bottom {}, left {}, right {}".format(*op.edges)
            return f"pad with {in_words(op.value)}: {edges}"


def _size(box: Size) -> str:
    return f"{box[0]}×{box[1]}"


def in_words(values: float | tuple[float, ...]) -> str:
    """One number where all are equal, else a list."""
    several = values if isinstance(values, tuple) else (values,)
    if len(set(several)) == 1:
        return f"{several[0]:.6g}"
    return f"[{', '.join(f'{value:.6g}' for value in several)}]"
