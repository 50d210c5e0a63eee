"""What a figure was measured on and with."""

import importlib.metadata
import importlib.util
import os
import platform
from datetime import UTC, datetime
from typing import Any

from compiler.bench.machine import FEATURES
from compiler.errors import MissingRequirementError
from compiler.runner.cpu import CPUINFO, cpu_features, cpu_name, cpus

PACKAGES = ("modc", "onnxruntime", "openvino", "nncf", "torch", "numpy")
EXTRA = ("openvino", "nncf", "torch", "onnxscript")


def require_peers() -> None:
    """Refuse to start without the peers.

    Raises:
        MissingRequirementError: A package of the extra `bench` is not installed.
    """
    missing = [package for package in EXTRA if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingRequirementError(
            f"{', '.join(missing)} not installed, and this benchmark compares with all peers",
            where="tests/benchmarks/compare_engines.py",
            fix="pip install 'modc[bench]'",
        )


def machine_facts() -> dict[str, Any]:  # Any: a JSON object
    """CPU, the flags that matter here, cores, memory and the day."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    known = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    present = cpu_features()
    return {
        "cpu": cpu_name(),
        "family": known.get("cpu family"),
        "model": known.get("model"),
        "flags": [flag for flag in FEATURES if flag in present],
        "cores": cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "platform": platform.platform(),
        "day": datetime.now(UTC).date().isoformat(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and the packages that take part."""
    found = {"Python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}
