"""Energy counters, on a folder that looks like the system's."""

from pathlib import Path

import pytest

from compiler.bench.energy import EnergyMeter


def _zone(folder: Path, name: str, energy: int, largest: int = 1_000_000) -> Path:
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder


def test_energy_is_the_sum_over_sockets(tmp_path: Path) -> None:
    first = _zone(tmp_path / "intel-rapl:0", "package-0", 100)
    second = _zone(tmp_path / "intel-rapl:1", "package-1", 200)
    meter = EnergyMeter(tmp_path)
    start = meter.read()
    (first / "energy_uj").write_text("500100")
    (second / "energy_uj").write_text("250200")

    assert meter.reason is None
    assert meter.joules_since(start) == pytest.approx(0.75, rel=1e-12)


def test_a_counter_that_starts_again_has_gone_on(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 999_990, largest=999_999)
    meter = EnergyMeter(tmp_path)
    start = meter.read()
    (zone / "energy_uj").write_text("10")

    assert meter.joules_since(start) == pytest.approx(20e-6, rel=1e-12)


def test_parts_of_a_socket_and_second_interfaces_do_not_count_twice(tmp_path: Path) -> None:
    zones = [
        _zone(tmp_path / name, zone, 0)
        for name, zone in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:1", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        )
    ]
    meter = EnergyMeter(tmp_path)
    start = meter.read()
    for zone in zones:
        (zone / "energy_uj").write_text("300")

    assert meter.joules_since(start) == pytest.approx(300e-6, rel=1e-12)


def test_without_counters_there_is_a_reason_and_no_number(tmp_path: Path) -> None:
    meter = EnergyMeter(tmp_path / "absent")

    assert "no energy counter" in str(meter.reason)
    assert meter.joules_since(meter.read()) is None


def test_a_counter_that_cannot_be_read_is_a_reason_too(tmp_path: Path) -> None:
    zone = _zone(tmp_path / "intel-rapl:0", "package-0", 0)
    (zone / "energy_uj").unlink()
    (zone / "energy_uj").mkdir()  # as unreadable for root as a locked counter for a user
    meter = EnergyMeter(tmp_path)

    assert "cannot be read" in str(meter.reason)
    assert meter.joules_since(meter.read()) is None
