"""What this CPU can compute, and what that means for a bundle.

x86 CPUs without VNNI multiply uint8 activations by int8 weights with VPMADDUBSW, which adds two
products in 16 bits: 255 * 127 * 2 does not fit, 255 * 64 * 2 does. Hence weights of 7 bits
(`reduce_range`) for such machines. Arm kernels add in 32 bits, with or without dot products.

Source: ONNX Runtime documentation, "Quantize ONNX models", section on U8S8 saturation; for
bfloat16, its session option `mlas.enable_gemm_fastmath_arm64_bfloat16` (Linux on Arm), and
OpenVINO's property `OPTIMIZATION_CAPABILITIES`, which lists BF16 on x86 with these extensions.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from compiler.errors import MissingRequirementError
from compiler.runner.engine import EngineName

CPUINFO = Path("/proc/cpuinfo")

_SYSCTL: Final = ("/usr/sbin/sysctl", "-i", "machdep.cpu", "hw.optional.arm")
_LINUX_NAMES: Final = MappingProxyType(  # of what macOS calls otherwise
    {
        "avx512vnni": "avx512_vnni",
        "feat_bf16": "bf16",
        "feat_dotprod": "asimddp",
        "feat_i8mm": "i8mm",
    }
)
_INTEGER_DOT: Final = frozenset(
    {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"}
)
_BFLOAT16: Final = frozenset({"avx512_bf16", "amx_bf16"})
_WHERE_BFLOAT16: Final[Mapping[EngineName, str]] = MappingProxyType(
    {
        "onnxruntime": "ONNX Runtime computes bf16 on Arm CPUs with the bf16 extension under Linux "
        "only",
        "openvino": "OpenVINO computes bf16 on x86 CPUs with AVX-512 or AMX for bf16 only",
    }
)
_PAIRWISE: Final = "ssse3"  # brought PMADDUBSW, whose wider forms are the kernels' last resort


def cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_features() -> frozenset[str]:
    """Instruction sets of this CPU by their Linux names, such as `avx512_vnni`, `i8mm` or `bf16`.

    Empty where the operating system does not say.
    """
    if platform.system() == "Darwin":
        return _macos_features(_sysctl())
    try:
        lines = CPUINFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    pairs = (line.partition(":") for line in lines)
    listed = (names for key, _, names in pairs if key.strip() in ("flags", "Features"))
    return frozenset(next(listed, "").split())


def cpu_name() -> str:
    """Model of this CPU as its maker calls it; empty where the operating system does not say."""
    if platform.system() == "Darwin":
        return _value(_sysctl(), "machdep.cpu.brand_string")
    try:
        return _value(CPUINFO.read_text("utf-8", errors="replace"), "model name")
    except OSError:
        return ""


def has_integer_dot() -> bool | None:
    """Whether the CPU adds products of 8-bit integers in 32 bits at once; None if unknown."""
    features = cpu_features()
    return not features.isdisjoint(_INTEGER_DOT) if features else None


def saturates() -> bool:
    """Whether int8 kernels may saturate: an x86 CPU that is known to lack VNNI."""
    return _PAIRWISE in cpu_features() and not has_integer_dot()


def has_bfloat16(engine: EngineName = "onnxruntime") -> bool:
    """Whether an engine multiplies matrices in bfloat16 on this CPU."""
    features = cpu_features()
    if engine == "openvino":
        return not features.isdisjoint(_BFLOAT16)
    return platform.system() == "Linux" and {"asimd", "bf16"} <= features


def dtypes(engine: EngineName = "onnxruntime") -> tuple[str, ...]:
    """Precisions, as a build file names them, that an engine has for this CPU."""
    return ("fp32", "fp16", "int8", *(("bf16",) if has_bfloat16(engine) else ()))


def check_dtype(dtype: str, engine: EngineName = "onnxruntime") -> None:
    """Refuse a precision that an engine would silently replace by another on this CPU.

    Raises:
        MissingRequirementError: This CPU has no kernels for `dtype`.
    """
    if dtype in dtypes(engine):
        return
    others: tuple[EngineName, ...] = ("onnxruntime", "openvino")
    able = [f"set backend.type: {other}" for other in others if dtype in dtypes(other)]
    raise MissingRequirementError(
        f"{_WHERE_BFLOAT16[engine]}; "
        f"this is {platform.machine() or 'another'} under {platform.system() or 'another'}",
        where=f"backend.dtype: {dtype}",
        fix=" or ".join(
            [*able, f"choose one of {', '.join(dtypes(engine))}", "build on such a machine"]
        ),
    )


def build_warning(*, reduce_range: bool, channels: int | None = None) -> str | None:
    """What to know of an int8 build on this CPU.

    Args:
        reduce_range: Whether its weights have 7 bits.
        channels: Number of output channels whose weights can saturate, if known.
    """
    if reduce_range or channels == 0 or not saturates():
        return None
    where = "" if channels is None else f" in {channels} channels"
    return (
        f"this CPU has no VNNI: its int8 sums can saturate{where}, here and on others like it; "
        "backend.quantize.reduce_range: true prevents that"
    )


def run_warnings(
    quantization: Mapping[str, object], engine: EngineName = "onnxruntime"
) -> tuple[str, ...]:
    """What to know of a bundle on this CPU.

    Args:
        quantization: Of the bundle's manifest; `reduce_range` is absent from older ones.
        engine: What runs it.
    """
    dtype = quantization.get("dtype")
    if dtype == "int8" and not quantization.get("reduce_range", False) and saturates():
        return (
            "this CPU has no VNNI and the bundle was built without reduce_range: int8 sums can "
            "saturate, and results differ from those of its build; build it again with "
            "backend.quantize.reduce_range: true",
        )
    if dtype == "bf16" and not has_bfloat16(engine):
        other: EngineName = "onnxruntime" if engine == "openvino" else "openvino"
        hint = f"; {other} has it" if has_bfloat16(other) else ""
        return (
            f"{engine} has no bfloat16 arithmetic for this CPU: the bundle computes in float32, "
            f"slower{hint}",
        )
    return ()


def _value(text: str, name: str) -> str:
    """Of the first line `name : value`; empty if there is none."""
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def _sysctl() -> str:
    """What macOS says of its CPU; nothing if it does not."""
    try:
        return subprocess.run(_SYSCTL, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _macos_features(text: str) -> frozenset[str]:
    """Lines `machdep.cpu.features: SSE3 SSSE3 …` (Intel) and `hw.optional.arm.FEAT_BF16: 1`."""
    names: set[str] = set()
    for line in text.lower().splitlines():
        key, _, value = line.partition(":")
        if key.endswith("features"):
            names.update(value.split())
        elif value.strip() == "1":
            names.add(key.rpartition(".")[2])
    return frozenset(_LINUX_NAMES.get(name, name) for name in names)
