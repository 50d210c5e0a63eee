"""The constants of `vaststreamx`.

Numbers matter where scripts compare them: those of `ImageFormat`, and that fused operators have
an `OpType` of 100 or more. The others are only names.
"""

from enum import Enum, IntEnum, auto
from typing import Final

FIRST_FUSED: Final = 100  # scripts look for the image operator by `op_type >= 100`


class ImageFormat(IntEnum):
    """Layout of an image's bytes."""

    YUV_NV12 = 0
    RGB_PLANAR = 5000
    BGR_PLANAR = 5001
    RGB_INTERLEAVE = 5002
    BGR_INTERLEAVE = 5003
    GRAY = 5004


class TypeFlag(Enum):
    """Element types; the value is numpy's name."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"


class GraphOutputType(Enum):
    """Where and how a device leaves its outputs.

    On a CPU all are the same, except 884, the device's own layout: a script knows of its order and
    fill no more than where a vector begins, so here it is all values of an output in one row.
    """

    GRAPH_OUTPUT_TYPE_NCHW_DEVICE = auto()
    GRAPH_OUTPUT_TYPE_NCHW_HOST = auto()
    GRAPH_OUTPUT_TYPE_884_DEVICE = auto()


class StreamBalanceMode(Enum):
    """How a device shares its work; the results are the same."""

    ONCE = auto()
    RUN = auto()


class AttrKey(Enum):
    """Attributes of an image operator; the value is the key in a vdsp JSON."""

    IIMAGE_FORMAT = "IimageFormat"
    IIMAGE_WIDTH = "IimageWidth"
    IIMAGE_HEIGHT = "IimageHeight"
    IIMAGE_WIDTH_PITCH = "IimageWidthPitch"
    IIMAGE_HEIGHT_PITCH = "IimageHeightPitch"
    OIMAGE_WIDTH = "OimageWidth"
    OIMAGE_HEIGHT = "OimageHeight"
    RESIZE_TYPE = "ResizeType"
    RESIZE_WIDTH = "ResizeWidth"
    RESIZE_HEIGHT = "ResizeHeight"
    CROP_X = "CropX"
    CROP_Y = "CropY"
    CROP_WIDTH = "CropWidth"
    CROP_HEIGHT = "CropHeight"
    COLOR_CVT_CODE = "ColorCvtCode"
    COLOR_SPACE = "ColorSpace"
    NORMA_TYPE = "NormaType"
    MEAN = "Mean"
    STD = "Std"
    SCALE = "Scale"
    PADDING = "Padding"
    PADDING_TOP = "PaddingTop"
    PADDING_BOTTOM = "PaddingBottom"
    PADDING_LEFT = "PaddingLeft"
    PADDING_RIGHT = "PaddingRight"
    TENSOR_TYPE0 = "TensorType0"


class ColorCvtCode(IntEnum):
    """Colour conversions; the first five numbers are the vendor's."""

    YUV2RGB_NV12 = 0
    YUV2BGR_NV12 = 1
    NO_CHANGE = 2
    BGR2RGB = 3
    RGB2BGR = 4
    BGR2RGB_INTERLEAVE2PLANAR = auto()
    RGB2BGR_INTERLEAVE2PLANAR = auto()
    BGR2BGR_INTERLEAVE2PLANAR = auto()
    RGB2RGB_INTERLEAVE2PLANAR = auto()
    YUV2GRAY_NV12 = auto()
    BGR2GRAY_INTERLEAVE = auto()
    BGR2GRAY_PLANAR = auto()
    RGB2GRAY_INTERLEAVE = auto()
    RGB2GRAY_PLANAR = auto()
    RGB2YUV_NV12_PLANAR = auto()
    BGR2YUV_NV12_PLANAR = auto()


class ImageColorSpace(IntEnum):
    """Matrix between YUV and RGB."""

    COLOR_SPACE_BT709 = 0
    COLOR_SPACE_BT601 = 1


class ImageResizeType(IntEnum):
    """Interpolations, in the vendor's order."""

    NO_RESIZE = 0
    BILINEAR = 1
    NEAREST = 2
    BICUBIC = 3
    LANCZOS = 4
    BILINEAR_PILLOW = 5
    BILINEAR_CV = 6
    LANCZOS_PILLOW = 7
    LANCZOS_CV = 8
    BOX_PILLOW = 9
    HAMMING_PILLOW = 10
    BICUBIC_PILLOW = 11
    NEAREST_CV = 12


class ImagePaddingType(Enum):
    """What surrounds an image."""

    PADDING_TYPE_CONSTANT = auto()


class OpType(IntEnum):
    """Operators that a vdsp JSON or a script can name."""

    SINGLE_OP_RESIZE = 0
    SINGLE_OP_CROP = 1
    SINGLE_OP_FLIP = 2
    SINGLE_OP_CVT_COLOR = 3
    SINGLE_OP_SCALE = 4
    SINGLE_OP_COPY_MAKE_BORDER = 5
    SINGLE_OP_BATCH_CROP_RESIZE = 6
    SINGLE_OP_WARP_AFFINE = 7
    BERT_EMBEDDING_OP = 8
    MODEL_OP = 9
    FUSION_OP_RGB_CVTCOLOR_NORM_TENSOR = FIRST_FUSED
    FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR = auto()
    FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR_EXT = auto()
    FUSION_OP_YUV_NV12_RESIZE_2RGB_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_CVTCOLOR_RESIZE_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_RESIZE_CVTCOLOR_CROP_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_CROP_CVTCOLOR_RESIZE_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_CVTCOLOR_RESIZE_CROP_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_CVTCOLOR_LETTERBOX_NORM_TENSOR = auto()
    FUSION_OP_YUV_NV12_LETTERBOX_2RGB_NORM_TENSOR = auto()
    FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR = 300
    FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR = 301
    FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR = 303
