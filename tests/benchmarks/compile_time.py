"""Compile time and peak memory against onnxruntime's quantize_static (MinMax), in turns.

    python -m compiler.zoo.full_size --out /tmp/full --images 50
    python tests/benchmarks/compile_time.py /tmp/full/unet3p_full.onnx /tmp/full/images

Each turn starts two fresh processes, one after the other: `modc compile` with 50 images (its time
without verification is in mod.build.json) and quantize_static with the same images and
preprocessing. `--repeat-images 10` compiles once more with every image ten times.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--input", default="input")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeat-images", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        _quantize_static(arguments)
        return

    with tempfile.TemporaryDirectory() as scratch:
        ratios = []
        for turn in range(arguments.turns):
            ours = _modc(arguments, arguments.images, Path(scratch))
            theirs = _peer(arguments)
            ratios.append(ours["seconds"] / theirs["seconds"])
            print(
                f"turn {turn + 1}: modc {ours['seconds']:.1f} s, {ours['peak_mb']:.0f} MB; "
                f"quantize_static {theirs['seconds']:.1f} s, {theirs['peak_mb']:.0f} MB; "
                f"ratio {ratios[-1]:.2f}"
            )
        print(f"median ratio {statistics.median(ratios):.2f}")
        if arguments.repeat_images:
            many = Path(scratch) / "many"
            many.mkdir()
            for image in sorted(arguments.images.iterdir()):
                for copy in range(arguments.repeat_images):
                    shutil.copy(image, many / f"{image.stem}_{copy}{image.suffix}")
            large = _modc(arguments, many, Path(scratch))
            grown = large["peak_mb"] / ours["peak_mb"] - 1
            print(
                f"{len(list(many.iterdir()))} images: {large['seconds']:.1f} s, "
                f"{large['peak_mb']:.0f} MB ({grown:+.1%} against the last turn)"
            )


def _modc(arguments: argparse.Namespace, images: Path, scratch: Path) -> dict[str, float]:
    document = {
        "name": "bench_int8",
        "frontend": {
            "type": "onnx",
            "checkpoint": str(arguments.model.resolve()),
            "shape": {arguments.input: [1, 3, arguments.size, arguments.size]},
        },
        "backend": {
            "type": "onnxruntime",
            "dtype": "int8",
            "quantize": {"calibrate_mode": "kl_divergence"},
        },
        "dataset": {
            "path": str(images.resolve()),
            "sampler": {"get_data_num": len(list(images.iterdir()))},
            "process_ops": [
                {"type": "DecodeImage"},
                {"type": "Resize", "size": [arguments.size, arguments.size]},
                {"type": "Normalize", "norm_type": None},
                {"type": "ToTensor"},
            ],
        },
        "workspace": {"path": str(scratch / "deploy")},
    }
    build_file = scratch / "build.yaml"
    build_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    peak = _run([sys.executable, "-m", "compiler.cli", "compile", str(build_file), "--quiet"])
    facts = json.loads((scratch / "deploy" / "bench_int8" / "mod.build.json").read_text())
    seconds = facts["seconds"]
    return {
        "seconds": sum(seconds.values()) - seconds["verify"] - seconds["latency"],
        "peak_mb": peak,
    }


def _peer(arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(arguments.model), str(arguments.images), "--peer"]
    command += ["--size", str(arguments.size), "--input", arguments.input]
    with tempfile.NamedTemporaryFile() as answer:
        os.environ["PEER_ANSWER"] = answer.name
        peak = _run(command)
        return {"seconds": float(Path(answer.name).read_text()), "peak_mb": peak}


def _run(command: list[str]) -> float:
    """Run to the end; return the process's peak resident memory in MiB."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return _mib(usage)


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024


def _quantize_static(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from compiler.preprocess.chain import Chain

    ops: list[dict[str, object]] = [
        {"type": "DecodeImage"},
        {"type": "Resize", "size": [arguments.size, arguments.size]},
        {"type": "Normalize", "norm_type": None},
        {"type": "ToTensor"},
    ]
    chain = Chain.from_list(ops, (3, arguments.size, arguments.size))

    class Images(CalibrationDataReader):  # type: ignore[misc]  # untyped base class
        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, object]] = (
                {arguments.input: chain(path)} for path in sorted(arguments.images.iterdir())
            )

        def get_next(self) -> dict[str, object] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(arguments.model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    Path(os.environ["PEER_ANSWER"]).write_text(str(time.perf_counter() - start))


if __name__ == "__main__":
    main()
