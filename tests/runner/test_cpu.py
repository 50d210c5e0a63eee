"""What follows from the features of a CPU, for CPUs that this machine need not be."""

import logging
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import MissingRequirementError
from compiler.runner import cpu
from compiler.runner.cpu import (
    build_warning,
    check_dtype,
    cpu_features,
    cpu_name,
    dtypes,
    has_bfloat16,
    has_integer_dot,
    run_warnings,
    saturates,
)
from compiler.runner.load import Runner
from compiler.runner.onnxruntime import OrtSession
from tests.support.bundles import MANIFEST, make_bundle

X86 = (
    "processor : 0\nvendor_id : GenuineIntel\nflags\t\t: fpu sse2 ssse3 avx avx2 {}\nbugs : none\n"
)
ARM = "processor : 0\nBogoMIPS : 50.00\nFeatures : fp asimd crc32 {}\nCPU part : 0xd40\n"
APPLE = "machdep.cpu.brand_string: Apple M2\nhw.optional.arm.FEAT_BF16: 1\n{}"
INTEL_MAC = "machdep.cpu.features: FPU SSE SSSE3 AVX1.0\nmachdep.cpu.leaf7_features: AVX2 {}\n"


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which Linux describes the CPU."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "CPUINFO", path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    return path


def macos(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def sysctl(command: object, **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(str(command), 0, text, "")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", sysctl)


@pytest.mark.parametrize(
    ("text", "dot", "pairs", "bfloat16"),
    [
        (X86.format(""), False, True, False),
        (X86.format("avx512f avx512bw"), False, True, False),
        (X86.format("avx512f avx512_vnni"), True, False, False),
        (X86.format("avx_vnni"), True, False, False),
        (X86.format("avx512_vnni avx512_bf16 amx_int8 amx_bf16"), True, False, False),
        (ARM.format(""), False, False, False),
        (ARM.format("asimddp"), True, False, False),
        (ARM.format("asimddp i8mm bf16"), True, False, True),
        ("processor : 0\n", None, False, False),
    ],
)
def test_linux_names_the_features(
    linux: Path, text: str, dot: bool | None, pairs: bool, bfloat16: bool
) -> None:
    linux.write_text(text + text)  # one block per core
    assert (has_integer_dot(), saturates(), has_bfloat16()) == (dot, pairs, bfloat16)


def test_features_are_single_names(linux: Path) -> None:
    linux.write_text(X86.format("avx512_vnni"))
    assert cpu_features() == {"fpu", "sse2", "ssse3", "avx", "avx2", "avx512_vnni"}


def test_a_system_without_that_file_has_no_known_features(linux: Path) -> None:
    assert not linux.exists()
    assert (cpu_features(), has_integer_dot(), saturates()) == (frozenset(), None, False)


@pytest.mark.parametrize(
    ("text", "dot", "pairs"),
    [
        (APPLE.format("hw.optional.arm.FEAT_DotProd: 1\n"), True, False),
        (APPLE.format("hw.optional.arm.FEAT_DotProd: 0\n"), False, False),
        (INTEL_MAC.format(""), False, True),
        (INTEL_MAC.format("AVX512F AVX512VNNI"), True, False),
        ("", None, False),
    ],
)
def test_macos_names_them_otherwise(
    monkeypatch: pytest.MonkeyPatch, text: str, dot: bool | None, pairs: bool
) -> None:
    macos(monkeypatch, text)
    assert (has_integer_dot(), saturates(), has_bfloat16()) == (dot, pairs, False)


def test_a_macos_without_sysctl_has_no_known_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(cpu, "_SYSCTL", ("/nowhere/sysctl",))
    assert cpu_features() == frozenset()


def test_a_build_without_vnni_is_told_of_seven_bits(linux: Path) -> None:
    linux.write_text(X86.format(""))
    assert build_warning(reduce_range=False) == (
        "this CPU has no VNNI: its int8 sums can saturate, here and on others like it; "
        "backend.quantize.reduce_range: true prevents that"
    )
    assert "saturate in 3 channels, here" in (build_warning(reduce_range=False, channels=3) or "")
    assert build_warning(reduce_range=False, channels=0) is None
    assert build_warning(reduce_range=True) is None


def test_a_build_with_vnni_is_told_nothing(linux: Path) -> None:
    linux.write_text(X86.format("avx_vnni"))
    assert build_warning(reduce_range=False) is None


@pytest.mark.parametrize(
    ("quantization", "told"),
    [
        ({"dtype": "int8"}, "has no VNNI and the bundle was built without reduce_range"),
        ({"dtype": "int8", "reduce_range": False}, "build it again with backend.quantize"),
        ({"dtype": "int8", "reduce_range": True}, ""),
        ({"dtype": "bf16"}, "the bundle computes in float32, slower"),
        ({"dtype": "fp16"}, ""),
        ({}, ""),
    ],
)
def test_the_runner_tells_once_what_its_cpu_does_to_a_bundle(
    linux: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    quantization: dict[str, object],
    told: str,
) -> None:
    linux.write_text(X86.format("avx512f"))
    bundle = make_bundle(tmp_path, manifest=replace(MANIFEST, quantization=quantization))
    with caplog.at_level(logging.WARNING), Runner(bundle, threads=1) as runner:
        for _ in range(2):
            runner.run(np.ones((1, 3, 4, 6), np.float32))
    assert len(caplog.messages) == bool(told)
    assert told in "".join(caplog.messages)


@pytest.mark.parametrize("dtype", ["int8", "bf16"])
def test_a_cpu_that_has_it_runs_in_silence(
    linux: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: str
) -> None:
    linux.write_text(ARM.format("asimddp bf16"))
    manifest = replace(MANIFEST, quantization={"dtype": dtype})
    with caplog.at_level(logging.WARNING), Runner(make_bundle(tmp_path, manifest=manifest)) as it:
        assert it.run(np.ones((1, 3, 4, 6), np.float32))["y"].sum() == 144
    assert caplog.messages == []
    assert run_warnings({"dtype": dtype}) == ()


def test_another_device_does_not_saturate(
    linux: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linux.write_text(X86.format(""))
    bundle = make_bundle(tmp_path, manifest=replace(MANIFEST, quantization={"dtype": "int8"}))
    with caplog.at_level(logging.WARNING):
        Runner(bundle, providers=["CPU"]).close()
        assert len(caplog.messages) == 1
        monkeypatch.setattr(OrtSession, "on_cpu", False)
        Runner(bundle).close()
        assert len(caplog.messages) == 1


def test_bf16_is_refused_where_the_engine_would_compute_something_else(
    linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    linux.write_text(X86.format("avx512_bf16 amx_bf16"))
    assert dtypes() == ("fp32", "fp16", "int8")
    with pytest.raises(MissingRequirementError) as caught:
        check_dtype("bf16")
    assert str(caught.value) == (
        "backend.dtype: bf16: ONNX Runtime computes bf16 on Arm CPUs with the bf16 extension under "
        "Linux only; this is x86_64 under Linux\n"
        "  fix: set backend.type: openvino or choose one of fp32, fp16, int8 or build on such a "
        "machine"
    )
    for dtype in dtypes():
        check_dtype(dtype)


def test_bf16_is_accepted_where_the_engine_has_it(linux: Path) -> None:
    linux.write_text(ARM.format("asimddp bf16"))
    check_dtype("bf16")
    assert dtypes()[-1] == "bf16"


def test_openvino_has_bf16_where_an_x86_cpu_has_it(
    linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux.write_text(X86.format("avx512f avx512_bf16"))
    check_dtype("bf16", "openvino")
    assert run_warnings({"dtype": "bf16"}, "openvino") == ()
    assert run_warnings({"dtype": "bf16"}) == (
        "onnxruntime has no bfloat16 arithmetic for this CPU: the bundle computes in float32, "
        "slower; openvino has it",
    )
    linux.write_text(X86.format("avx512f"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(MissingRequirementError, match="OpenVINO computes bf16 on x86") as caught:
        check_dtype("bf16", "openvino")
    assert caught.value.fix == "choose one of fp32, fp16, int8 or build on such a machine"


def test_a_cpu_has_the_name_that_the_system_gives_it(
    linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cpu_name() == ""
    linux.write_text("processor : 0\nmodel name\t: Example CPU @ 2.1\nmodel name : other\n")
    assert cpu_name() == "Example CPU @ 2.1"
    macos(monkeypatch, APPLE.format(""))
    assert cpu_name() == "Apple M2"
