"""What this CPU can compute, and what that means for a bundle.

x86 CPUs without VNNI multiply uint8 activations by int8 weights with VPMADDUBSW, which adds two
products in 16 bits: 255 * 127 * 2 does not fit, 255 * 64 * 2 does. Hence weights of 7 bits
(`reduce_range`) for such machines. Arm kernels add in 32 bits, with or without dot products.

Source: ONNX Runtime documentation, "Quantize ONNX models", section on U8S8 saturation; for
bfloat16, its session option `mlas.enable_gemm_fastmath_arm64_bfloat16` (Linux on Arm).
"""

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

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
_PAIRWISE: Final = "ssse3"  # brought PMADDUBSW, whose wider forms are the kernels' last resort


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


def has_integer_dot() -> bool | None:
    """Whether the CPU adds products of 8-bit integers in 32 bits at once; None if unknown."""
    features = cpu_features()
    return not features.isdisjoint(_INTEGER_DOT) if features else None


def saturates() -> bool:
    """Whether int8 kernels may saturate: an x86 CPU that is known to lack VNNI."""
    return _PAIRWISE in cpu_features() and not has_integer_dot()


def has_bfloat16() -> bool:
    """Whether ONNX Runtime multiplies matrices in bfloat16 on this CPU."""
    return platform.system() == "Linux" and {"asimd", "bf16"} <= cpu_features()


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


def run_warnings(quantization: Mapping[str, object]) -> tuple[str, ...]:
    """What to know of a bundle on this CPU.

    Args:
        quantization: Of the bundle's manifest; `reduce_range` is absent from older ones.
    """
    dtype = quantization.get("dtype")
    if dtype == "int8" and not quantization.get("reduce_range", False) and saturates():
        return (
            "this CPU has no VNNI and the bundle was built without reduce_range: int8 sums can "
            "saturate, and results differ from those of its build; build it again with "
            "backend.quantize.reduce_range: true",
        )
    if dtype == "bf16" and not has_bfloat16():
        return ("this CPU has no bfloat16 arithmetic: the bundle computes in float32, slower",)
    return ()


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
