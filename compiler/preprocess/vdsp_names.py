"""The words of a vdsp JSON: op types, enumerations with their numbers, image formats.

Source: public `vdsp_params` files and samples; numbers are the order of the vendor's enumerations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from compiler.preprocess.formats import ImageFormat
from compiler.preprocess.ops import Interpolation
from compiler.preprocess.pixels import Backend

Geometry: TypeAlias = Literal[
    "none",  # the image has the network's size
    "resize",  # stretch to Oimage
    "resize_crop",  # stretch to Resize, then cut Oimage at (CropX, CropY)
    "crop_resize",  # cut Crop at (CropX, CropY), then stretch to Oimage
    "letterbox",  # fit into Oimage, pad around it
    "letterbox_ext",  # stretch to Resize, then add the four paddings
    "crop",  # cut Oimage at (CropX, CropY)
    "border",  # stretch so that the image and the four edges make Oimage
    "tensors",  # no image at all
]
ColorCvtCode: TypeAlias = Literal["YUV2RGB_NV12", "YUV2BGR_NV12", "NO_CHANGE", "BGR2RGB", "RGB2BGR"]
NormaType: TypeAlias = Literal[
    "NONE",
    "EQUAL",
    "MINUSMEAN",
    "MINUSMEAN_DIVSTD",
    "DIV255_MINUSMEAN_DIVSTD",
    "DIV1275_MINUSONE",
    "DIV255",
]
ResizeType: TypeAlias = Literal[
    "NO_RESIZE",
    "BILINEAR",
    "NEAREST",
    "BICUBIC",
    "LANCZOS",
    "BILINEAR_PILLOW",
    "BILINEAR_CV",
    "LANCZOS_PILLOW",
    "LANCZOS_CV",
    "BOX_PILLOW",
    "HAMMING_PILLOW",
    "BICUBIC_PILLOW",
    "NEAREST_CV",
]


@dataclass(frozen=True)
class OpKind:
    """What an op type does.

    Args:
        geometry: The geometric step.
        source: RGB and NV12 ops end in a normalised float16 tensor; a single op gives an image.
        resizes: Whether ResizeType is read.
        converts: Whether ColorCvtCode is read.
    """

    geometry: Geometry
    source: Literal["rgb", "nv12", "single"] = "rgb"
    resizes: bool = True
    converts: bool = True


OP_TYPES: Mapping[str, OpKind] = MappingProxyType(
    {
        "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR": OpKind("resize_crop"),
        "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR": OpKind("resize"),
        "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR": OpKind("letterbox"),
        "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR_EXT": OpKind("letterbox_ext"),
        "FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR": OpKind("crop_resize"),
        "FUSION_OP_RGB_CVTCOLOR_NORM_TENSOR": OpKind("none", resizes=False),
        "FUSION_OP_YUV_NV12_RESIZE_2RGB_NORM_TENSOR": OpKind("resize", "nv12"),
        "FUSION_OP_YUV_NV12_CVTCOLOR_RESIZE_NORM_TENSOR": OpKind("resize", "nv12"),
        "FUSION_OP_YUV_NV12_RESIZE_CVTCOLOR_CROP_NORM_TENSOR": OpKind("resize_crop", "nv12"),
        "FUSION_OP_YUV_NV12_CVTCOLOR_RESIZE_CROP_NORM_TENSOR": OpKind("resize_crop", "nv12"),
        "FUSION_OP_YUV_NV12_CROP_CVTCOLOR_RESIZE_NORM_TENSOR": OpKind("crop_resize", "nv12"),
        "FUSION_OP_YUV_NV12_CVTCOLOR_LETTERBOX_NORM_TENSOR": OpKind("letterbox", "nv12"),
        "FUSION_OP_YUV_NV12_LETTERBOX_2RGB_NORM_TENSOR": OpKind("letterbox", "nv12"),
        "SINGLE_OP_RESIZE": OpKind("resize", "single", converts=False),
        "SINGLE_OP_CROP": OpKind("crop", "single", resizes=False, converts=False),
        "SINGLE_OP_CVT_COLOR": OpKind("none", "single", resizes=False),
        "SINGLE_OP_COPY_MAKE_BORDER": OpKind("border", "single", converts=False),
        "BERT_EMBEDDING_OP": OpKind("tensors", "single", resizes=False, converts=False),
    }
)
# Known op types that cannot run as preprocessing of one image.
REFUSED_OP_TYPES = (
    "SINGLE_OP_FLIP",
    "SINGLE_OP_SCALE",
    "SINGLE_OP_BATCH_CROP_RESIZE",
    "SINGLE_OP_WARP_AFFINE",
)

COLOR_CVT_CODES: Mapping[int, ColorCvtCode] = MappingProxyType(
    {0: "YUV2RGB_NV12", 1: "YUV2BGR_NV12", 2: "NO_CHANGE", 3: "BGR2RGB", 4: "RGB2BGR"}
)
NORMA_TYPES: Mapping[int, NormaType] = MappingProxyType(
    {
        0: "NONE",
        1: "EQUAL",
        2: "MINUSMEAN",
        3: "MINUSMEAN_DIVSTD",
        4: "DIV255_MINUSMEAN_DIVSTD",
        5: "DIV1275_MINUSONE",
        6: "DIV255",
    }
)
RESIZE_TYPES: Mapping[int, ResizeType] = MappingProxyType(
    {
        0: "NO_RESIZE",
        1: "BILINEAR",
        2: "NEAREST",
        3: "BICUBIC",
        4: "LANCZOS",
        5: "BILINEAR_PILLOW",
        6: "BILINEAR_CV",
        7: "LANCZOS_PILLOW",
        8: "LANCZOS_CV",
        9: "BOX_PILLOW",
        10: "HAMMING_PILLOW",
        11: "BICUBIC_PILLOW",
        12: "NEAREST_CV",
    }
)
# Filter and library of each; the device's own filters are taken to be OpenCV's.
FILTERS: Mapping[ResizeType, tuple[Interpolation, Backend | None]] = MappingProxyType(
    {
        "BILINEAR_CV": ("bilinear", None),
        "BILINEAR": ("bilinear", None),
        "NEAREST_CV": ("nearest", None),
        "NEAREST": ("nearest", None),
        "BICUBIC": ("bicubic", None),
        "LANCZOS_CV": ("lanczos", None),
        "LANCZOS": ("lanczos", None),
        "BILINEAR_PILLOW": ("bilinear", "pillow"),
        "BICUBIC_PILLOW": ("bicubic", "pillow"),
        "LANCZOS_PILLOW": ("lanczos", "pillow"),
        "BOX_PILLOW": ("box", "pillow"),
        "HAMMING_PILLOW": ("hamming", "pillow"),
    }
)
IMAGE_FORMATS: Mapping[int, ImageFormat] = MappingProxyType(
    {
        0: "YUV_NV12",
        5000: "RGB_PLANAR",
        5001: "BGR_PLANAR",
        5002: "RGB_INTERLEAVE",
        5003: "BGR_INTERLEAVE",
        5004: "GRAY",
    }
)
FORMAT_SPELLINGS: Mapping[str, ImageFormat] = MappingProxyType(
    {"RGB888": "RGB_INTERLEAVE", "BGR888": "BGR_INTERLEAVE"}
)
LEGACY_OP_TYPES: Mapping[int, str] = MappingProxyType(
    {
        300: "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR",
        301: "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR",
        303: "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR",
    }
)
