"""What is compared: graphs, and the engines and precisions that run them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Column:
    """One contestant.

    Args:
        title: Heading in the tables.
        graph: The file that is loaded: the network as exported, what a peer made of it, or what
            modc made of it ("direct" is its fp32 build without Winograd).
        engine: What loads it.
        precision: "f32" is demanded of OpenVINO; "default" is what the engine takes by itself;
            "bf16" is that default, on a CPU where it is bf16.
    """

    title: str
    graph: str
    engine: Literal["onnxruntime", "openvino"]
    precision: Literal["f32", "default", "bf16"] = "default"


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "ort_fp32": Column("ORT fp32", "original", "onnxruntime"),
        "openvino_fp32": Column("OpenVINO fp32", "original", "openvino", "f32"),
        "openvino_bf16": Column("OpenVINO bf16", "original", "openvino", "bf16"),
        "ort_int8": Column("ORT int8", "quantize_static", "onnxruntime"),
        "nncf_int8": Column("NNCF int8", "nncf", "openvino"),
        "modc_fp32": Column("**modc fp32**, ORT", "fp32", "onnxruntime"),
        "modc_fp32_openvino": Column("**modc fp32**, OpenVINO", "fp32", "openvino", "f32"),
        "modc_bf16_openvino": Column("**modc bf16**, OpenVINO", "direct", "openvino", "bf16"),
        "modc_int8": Column("**modc int8**, ORT", "int8", "onnxruntime"),
        "modc_int8_openvino": Column("**modc int8**, OpenVINO", "int8", "openvino"),
    }
)

REFERENCE = "ort_fp32"
"""Whose outputs the others are compared with."""


def columns_of(*, bf16: bool) -> Mapping[str, Column]:
    """The contestants on a CPU with or without bf16 instructions."""
    return {key: column for key, column in COLUMNS.items() if bf16 or column.precision != "bf16"}


@dataclass(frozen=True, slots=True)
class Goal:
    """One network's name in the tables, and the least ratios that it is to reach.

    Args:
        title: Architecture and input size.
        fp32: ORT fp32 over modc fp32 on ORT.
        int8: ORT int8 over modc int8 on ORT.
        best: NNCF int8 over modc int8 on the faster of both engines.
    """

    title: str
    fp32: float
    int8: float
    best: float


GOALS: Mapping[str, Goal] = MappingProxyType(
    {
        "unet3p": Goal("UNet3+ 128", 2.0, 1.6, 1.55),
        "unet_bilinear": Goal("UNet, bilinear, 512", 1.15, 1.1, 1.03),
        "unet_transpose": Goal("UNet, ConvTranspose, 512", 1.15, 1.3, 1.03),
        "unet_nearest": Goal("UNet, nearest, 256", 1.3, 1.1, 1.05),
        "deeplabv3p_resnet50": Goal("DeepLabV3+ ResNet50 513", 1.2, 1.15, 1.08),
        "deeplabv3_mobilenetv2": Goal("DeepLabV3 MobileNetV2 513", 1.0, 1.1, 1.0),
    }
)
