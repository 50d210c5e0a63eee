"""Facts about the machine."""

from compiler.bench.machine import FEATURES, this_machine


def test_this_machine_has_a_processor_and_versions() -> None:
    machine = this_machine()

    assert machine.cores >= 1
    assert machine.cpu != ""
    assert set(machine.features) <= set(FEATURES)
    assert {"Python", "numpy", "onnxruntime"} <= set(machine.versions)
