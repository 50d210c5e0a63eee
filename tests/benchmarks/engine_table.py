"""Latency, throughput, load time and memory of compiled networks on each engine.

    python tests/benchmarks/engine_table.py --out build/engines

Compiles the example and the networks in ../shared/models to fp32, fp16 and int8 (ranges chosen by
`calibrate_mode: auto`), where the folder does not hold the bundle yet. Each bundle is then measured
as `modc bench` measures: all engines and settings of a bundle in turns in one process, starts and
memory in fresh processes. Results: `engine_table.json` and `engine_table.md` in the folder, written
after each bundle.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.bench.fresh import Start
from compiler.bench.machine import this_machine
from compiler.bench.measure import Benchmark, Plan, Row, bench
from compiler.bench.settings import Setting
from compiler.config.load import load_config
from compiler.pipeline import compile_model
from compiler.report.bench import bench_facts
from compiler.runner.engine import ENGINES, EngineName
from compiler.zoo.command import exit_code_of
from tests.benchmarks.accuracy.networks import BUILD_FILES
from tests.benchmarks.engines.tables import table

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "build_configs" / "official_unet3p.yaml"
FILES: Final = {EXAMPLE.stem: EXAMPLE} | BUILD_FILES
DTYPES: Final = ("fp32", "fp16", "int8")
USES: Final = ((1, 1), (2, 1), (1, 2))
"""Threads and instances."""

HEADS: Final = (
    "network",
    "dtype",
    "engine",
    "load, ms",
    "first load, ms",
    "first run, ms",
    "p50 / p95, 1 thread, ms",
    "p50 / p95, 2 threads, ms",
    "2 instances × 1 thread, samples/s",
    "Pss, MiB",
)
LEGEND: Final = (
    "Load: comparing the hashes and opening the bundle, its files in memory; first load: likewise, "
    "with nothing kept from an earlier one. Both without the imports."
)

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/engines"))
    parser.add_argument("--networks", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each setting, all turns")
    parser.add_argument("--starts", type=int, default=5)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    raise SystemExit(exit_code_of(lambda: measure(parser.parse_args())))


def measure(options: argparse.Namespace) -> None:
    """Measure all that is asked for, and write it after each bundle."""
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Benchmark]] = {}
    plan = Plan(
        settings=[
            Setting(engine, threads, instances)
            for engine in options.engines
            for threads, instances in USES
        ],
        rounds=options.rounds,
        seconds=options.seconds,
        starts=options.starts,
    )
    for name in options.networks:
        for dtype in options.dtypes:
            logger.info("%s %s", name, dtype)
            prefix = _build(name, dtype, options.out.resolve() / "bundles")
            found.setdefault(name, {})[dtype] = bench(str(prefix), plan)
            facts = {
                network: {dtype: bench_facts(one) for dtype, one in by_dtype.items()}
                for network, by_dtype in found.items()
            }
            (options.out / "engine_table.json").write_text(json.dumps(facts, indent=1) + "\n")
            text = markdown(found)
            (options.out / "engine_table.md").write_text(text)
    print(text)


def markdown(found: Mapping[str, Mapping[str, Benchmark]]) -> str:
    """All figures, one row per network, precision and engine."""
    rows = [
        (network, dtype, engine, *_cells(one, engine))
        for network, by_dtype in found.items()
        for dtype, one in by_dtype.items()
        for engine in dict.fromkeys(row.engine for row in one.rows)
    ]
    machine = this_machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    about = f"{machine.cpu}, {machine.cores} cores; {versions}."
    return f"{table(HEADS, rows)}\n\n{LEGEND}\n{about}\n"


def _build(name: str, dtype: str, folder: Path) -> Path:
    """Prefix of the bundle; built if it is not there."""
    overrides = [f"workspace.path={folder}", f"name={name}_{dtype}"]
    if dtype == "int8":
        overrides.append("backend.quantize.calibrate_mode=auto")
    prefix = folder / f"{name}_{dtype}" / "mod"
    if not prefix.with_name("mod.json").exists():
        compile_model(load_config(FILES[name], overrides=overrides, dtype=dtype), keep=True)
    return prefix


def _cells(one: Benchmark, engine: EngineName) -> tuple[str, ...]:
    rows = {(row.threads, row.instances): row for row in one.rows if row.engine == engine}
    starts = {load.start: load.milliseconds for load in one.loadings if load.engine == engine}

    def loading(start: Start) -> str:
        return f"{starts[start]['check'].median + starts[start]['open'].median:.0f}"

    memory = next((held.after for held in one.holdings if held.engine == engine), None)
    speed = rows[1, 2].throughput
    return (
        loading("warm"),
        loading("nothing kept"),
        f"{starts['warm']['first_run'].median:.1f}",
        _times(rows[1, 1]),
        _times(rows[2, 1]),
        f"{speed.median:.1f} ({speed.lower:.1f}–{speed.upper:.1f})",
        "-" if memory is None else f"{memory.pss / 2**20:.0f}",
    )


def _times(row: Row) -> str:
    return f"{row.milliseconds.p50:.2f} / {row.milliseconds.p95:.2f}"


if __name__ == "__main__":
    main()
