"""Task metric of every network in ../shared/models: fp32, fp16 and int8 in one table.

python tests/benchmarks/accuracy_table.py [calibrate_mode …]
"""

import sys
import tempfile
from pathlib import Path

from compiler import Build, compile_model, load_config

NETWORKS = sorted((Path(__file__).parents[1] / "networks").glob("*.yaml"))


def main() -> None:
    modes = sys.argv[1:] or ["kl_divergence"]
    columns = [
        "network",
        "metric",
        "fp32",
        "fp32 build",
        "fp16",
        *(f"int8 {mode}" for mode in modes),
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as folder:
        for path in NETWORKS:
            builds = [_compile(path, folder, dtype) for dtype in ("fp32", "fp16")]
            builds += [_compile(path, folder, "int8", mode) for mode in modes]
            print(f"| {path.stem} | {_row(builds)} |", flush=True)


def _compile(path: Path, folder: str, dtype: str, mode: str | None = None) -> Build:
    overrides = [f"workspace.path={folder}"]
    if mode is not None:
        overrides.append(f"backend.quantize.calibrate_mode={mode}")
    return compile_model(load_config(path, dtype=dtype, overrides=overrides))


def _row(builds: list[Build]) -> str:
    tasks = [build.verification.task for build in builds]
    known = [task for task in tasks if task is not None]
    figures = [f"{task.compiled:.3f}" for task in known]
    return " | ".join([known[0].metric, f"{known[0].fp32:.3f}", *figures])


if __name__ == "__main__":
    main()
