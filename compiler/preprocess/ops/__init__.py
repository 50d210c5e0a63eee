"""Process ops: one frozen dataclass per op, its fields as in a build file.

Data flows path → H×W×C uint8 (DecodeImage … Pad) → H×W×C float32 (Normalize) → 1×C×H×W float32
(ToTensor). Images are RGB after DecodeImage; no op keeps track of the colour order afterwards.
A gray image is H×W until ToTensor. OpenCV is the default library and decides every pixel;
`backend: pillow` asks for Pillow. Both are imported when an op first needs them.

`ProcessOp` is what a build file may list. A vdsp JSON needs a few more, which `Op` adds: they are
kept in bundles like the others, but a build file has no words for them.

The classes validate in `__post_init__` (ValueError), so that they mean the same whether a build
file, a bundle, a vdsp JSON or a program constructs them.
"""

from typing import TypeAlias

from compiler.preprocess.ops.colour import CV2_FLAGS, ChannelSplit, CvtColor, DecodeImage
from compiler.preprocess.ops.custom import CustomFunc
from compiler.preprocess.ops.fields import closest
from compiler.preprocess.ops.geometry import (
    Border,
    CenterCrop,
    Crop,
    Interpolation,
    Pad,
    PadTo,
    Resize,
    Side,
)
from compiler.preprocess.ops.values import NO_NORM, Normalize, RoundToFloat16, ToTensor

ProcessOp: TypeAlias = (
    DecodeImage
    | CvtColor
    | Resize
    | CenterCrop
    | Pad
    | ChannelSplit
    | Normalize
    | ToTensor
    | CustomFunc
)
Op: TypeAlias = ProcessOp | Crop | PadTo | Border | RoundToFloat16
GeometryOp: TypeAlias = Resize | CenterCrop | Crop | Pad | PadTo | Border

__all__ = [
    "CV2_FLAGS",
    "NO_NORM",
    "Border",
    "CenterCrop",
    "ChannelSplit",
    "Crop",
    "CustomFunc",
    "CvtColor",
    "DecodeImage",
    "GeometryOp",
    "Interpolation",
    "Normalize",
    "Op",
    "Pad",
    "PadTo",
    "ProcessOp",
    "Resize",
    "RoundToFloat16",
    "Side",
    "ToTensor",
    "closest",
]
