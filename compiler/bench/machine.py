"""What figures were measured on and with."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from compiler.runner.cpu import cpu_features, cpu_name, cpus

PACKAGES: Final = ("modc", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "Pillow")
FEATURES: Final = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Instruction sets that decide how fast the engines' kernels are."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer and its software.

    Args:
        cpu: What the processor calls itself.
        features: Those of its instruction sets that are in `FEATURES`.
        cores: CPUs that this process may use.
        memory: Bytes; None where the system does not tell.
        system: Operating system and architecture.
        load: Processes that wanted a CPU in the last minute, on average, before the measurement;
            None where the system does not tell.
        versions: Of Python and of the `PACKAGES` that are installed.
    """

    cpu: str
    features: tuple[str, ...]
    cores: int
    memory: int | None
    system: str
    load: float | None
    versions: Mapping[str, str]


def this_machine() -> Machine:
    """The computer that this runs on, as it is now."""
    present = cpu_features()
    return Machine(
        cpu_name(),
        tuple(name for name in FEATURES if name in present),
        cpus(),
        _memory(),
        platform.platform(),
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        {"Python": platform.python_version()} | _versions(),
    )


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
