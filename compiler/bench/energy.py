"""Energy that the processor's own counters tell; nothing where they are absent or locked.

Linux shows the counters of Intel and AMD processors ("RAPL") below /sys/class/powercap, one folder
per zone. Those called package-N hold all cores and caches of a socket; other zones are parts of
them, or the whole platform, and would count twice. A counter starts again at 0 behind its
`max_energy_range_uj`. It counts whatever runs on the socket, not one process alone.

Source: Linux kernel documentation, power/powercap.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

Reading: TypeAlias = Mapping[Path, int]
"""Microjoules by zone."""

_ZONES: Final = Path("/sys/class/powercap")


class EnergyMeter:
    """The counters of all sockets.

    Args:
        folder: Where the system shows them.

    Attributes:
        reason: Why there is no energy to read; None if there is.
    """

    def __init__(self, folder: Path = _ZONES) -> None:
        self._ranges: dict[Path, int] = {}
        self.reason: str | None = None
        zones = _package_zones(folder)
        if not zones:
            self.reason = f"no energy counter of a processor below {folder}"
            return
        try:
            self._ranges = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
            self.read()
        except (OSError, ValueError) as error:
            self._ranges = {}
            self.reason = f"the energy counters cannot be read: {error}"

    def read(self) -> Reading:
        """The counters now; empty where there is none.

        Raises:
            OSError: A counter that could be read at first no longer can.
        """
        return {zone: _number(zone / "energy_uj") for zone in self._ranges}

    def joules_since(self, start: Reading) -> float | None:
        """Energy since a reading, of all sockets; None where there is no counter.

        Right while no counter passed its end more than once: for minutes at least.
        """
        if not self._ranges:
            return None
        now = self.read()
        spent = 0
        for zone, value in now.items():
            spent += value - start[zone]
            if value < start[zone]:
                spent += self._ranges[zone] + 1
        return spent / 1e6


def _package_zones(folder: Path) -> list[Path]:
    """One folder per package; a package may be shown by two interfaces, under the same name."""
    zones: dict[str, Path] = {}
    for file in sorted(folder.glob("*/name")):
        try:
            name = file.read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if name.startswith("package"):
            zones.setdefault(name, file.parent)
    return list(zones.values())


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))
