"""What is compared: the network itself, what modc makes of it, and what its peers make of it."""

from collections.abc import Mapping
from types import MappingProxyType

from tests.benchmarks.engines.columns import REFERENCE, Column

MODES = ("auto", "kl_divergence", "percentile", "max", "mse")
"""Of modc's int8 builds: `backend.quantize.calibrate_mode`."""

METHODS = ("MinMax", "Percentile", "Entropy")
"""Of ONNX Runtime's quantize_static."""

ORIGINAL = "original"
NNCF = "nncf"

COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        REFERENCE: Column("ORT fp32", ORIGINAL, "onnxruntime"),
        "openvino_fp32": Column("OpenVINO fp32", ORIGINAL, "openvino", "f32"),
        "modc_fp32": Column("**modc fp32**", "fp32", "onnxruntime"),
        "modc_fp16": Column("**modc fp16**", "fp16", "onnxruntime"),
        **{f"modc_{mode}": Column(f"**modc {mode}**", mode, "onnxruntime") for mode in MODES},
        "modc_auto_openvino": Column("**modc auto**, OpenVINO", "auto", "openvino"),
        **{
            f"ort_{method.lower()}": Column(f"ORT {method}", method, "onnxruntime")
            for method in METHODS
        },
        "nncf": Column("NNCF", NNCF, "openvino"),
    }
)

FLOAT_ENGINES = (REFERENCE, "openvino_fp32")
PEERS = (*(f"ort_{method.lower()}" for method in METHODS), "nncf")
