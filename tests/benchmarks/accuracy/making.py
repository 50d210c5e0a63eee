"""Quantizing and compiling, each in a fresh process of its own."""

import json
import logging
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from compiler.config.load import load_config
from compiler.errors import ModcError
from compiler.pipeline.compile import compile_model
from tests.benchmarks.accuracy.columns import METHODS, MODES, NNCF
from tests.benchmarks.accuracy.networks import TrainedNetwork
from tests.benchmarks.engines.graphs import building_seconds, run_nncf, run_quantize_static

ROOT = Path(__file__).resolve().parents[3]
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Made:
    """A graph that was made of a network.

    Args:
        path: Its file.
        seconds: To make it; for modc, all stages but verification and latency.
        peak_mb: Peak resident memory of the process, in MiB.
    """

    path: Path
    seconds: float
    peak_mb: float


def make_apart(network: TrainedNetwork, graph: str) -> Made:
    """Make a graph in a fresh process, whose memory nobody else has touched, from nothing.

    Raises:
        ChildProcessError: It failed, and has said why on the terminal.
    """
    answer = network.work / f"{graph}.made.json"
    command = [sys.executable, "-m", __spec__.name, graph]
    command += [str(path.resolve()) for path in (network.build_file, network.work, answer)]
    environment = {**os.environ, "MODC_CACHE": "off"}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise ChildProcessError(f"{graph} of {network.build_file.stem}: exit code {code}")
    facts = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return Made(Path(facts["path"]), facts["seconds"], facts["peak_mb"])


def make(network: TrainedNetwork, graph: str) -> tuple[Path, float]:
    """Make a graph in this process.

    Returns:
        Its file, and the seconds that it took.
    """
    path = network.work / f"{graph}.onnx"
    if graph in METHODS:
        return path, run_quantize_static(network, path, graph)
    if graph == NNCF:
        path = path.with_suffix(".xml")
        return path, run_nncf(network, path)
    return _compile(network, graph)


def _compile(network: TrainedNetwork, graph: str) -> tuple[Path, float]:
    overrides = [f"workspace.path={network.work}", f"name=modc_{graph}", "verify={samples: 1}"]
    if graph in MODES:
        overrides.append(f"backend.quantize.calibrate_mode={graph}")
    dtype = "int8" if graph in MODES else graph
    build = compile_model(load_config(network.build_file, dtype=dtype, overrides=overrides))
    return build.prefix.with_suffix(".onnx"), building_seconds(build)


def peak_mb() -> float:
    """Peak resident memory of this process in MiB.

    Linux counts in ru_maxrss what the process was before it started its program: a copy of its
    parent. VmHWM starts afresh.
    """
    lines = STATUS.read_text(encoding="utf-8").splitlines() if STATUS.exists() else []
    high = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")]
    return high[0] if high else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _answer(graph: str, build_file: str, work: str, answer: str) -> int:
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        path, seconds = make(TrainedNetwork(Path(build_file), Path(work)), graph)
    except ModcError as error:
        logging.error("%s", error)
        return error.exit_code
    facts = {"path": str(path), "seconds": seconds, "peak_mb": peak_mb()}
    Path(answer).write_text(json.dumps(facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(_answer(*sys.argv[1:]))
