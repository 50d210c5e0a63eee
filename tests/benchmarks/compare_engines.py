"""modc against ONNX Runtime, OpenVINO and NNCF on full-size networks; needs `modc[bench]`.

    python tests/benchmarks/compare_engines.py --out build/bench

All take turns in one process, with a pause before each run. Networks are written with seeded
weights, everybody calibrates with the same pictures. Results: `bench.json` and `bench.md` in the
folder; how to read them is in docs/benchmarks.md.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.zoo.command import exit_code_of
from tests.benchmarks.engines.chinese import in_chinese
from tests.benchmarks.engines.columns import GOALS, columns_of
from tests.benchmarks.engines.graphs import (
    PEERS,
    Network,
    build_modc,
    make_graphs,
    write_inputs,
)
from tests.benchmarks.engines.machine import machine_facts, require_peers, versions
from tests.benchmarks.engines.results import CompileTime, NetworkResult, Report, facts_of
from tests.benchmarks.engines.sessions import cpu_has_bf16
from tests.benchmarks.engines.tables import markdown, put_between_markers
from tests.benchmarks.engines.timing import measure, measure_rounding

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
COMPILED = "unet3p"
COMPILE_IMAGES = 50
COMPILE_TURNS = 3

logger = logging.getLogger(__name__)


def compare(options: argparse.Namespace) -> None:
    """Measure all that is asked for, and write it after each network."""
    require_peers()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    settings = {"rounds": options.rounds, "threads": options.threads, "images": options.images}
    compile_time = _time_compilers(out) if options.compile_time else None
    networks: dict[str, NetworkResult] = {}
    for name in options.network:
        logger.info("%s", name)
        networks[name] = _measure_network(write_inputs(out, name, images=options.images), options)
        report = Report(machine_facts(), versions(), settings, networks, compile_time)
        text = markdown(report)
        facts = json.dumps(facts_of(report), indent=1, ensure_ascii=False)
        (out / "bench.json").write_text(facts + "\n", encoding="utf-8")
        (out / "bench.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if options.update_docs:
        for page, tables in ((PAGE, text), (PAGE.with_suffix(".zh.md"), in_chinese(text))):
            old = page.read_text(encoding="utf-8")
            page.write_text(put_between_markers(old, tables), encoding="utf-8")


def _measure_network(network: Network, options: argparse.Namespace) -> NetworkResult:
    columns = columns_of(bf16=cpu_has_bf16())
    graphs = dict.fromkeys(column.graph for column in columns.values())
    paths, seconds = make_graphs(network, list(graphs))
    images = list(map(network.loader(), network.pictures))
    rounding = measure_rounding(network.path, images)
    measured = measure(columns, paths, images, rounds=options.rounds, threads=options.threads)
    return NetworkResult(measured, seconds, rounding)


def _time_compilers(out: Path) -> CompileTime:
    """Seconds to an int8 graph from 50 pictures, in turns."""
    network = write_inputs(out, COMPILED, images=COMPILE_IMAGES)
    makers: dict[str, Callable[[], float]] = {
        graph: partial(quantize, network, network.work / f"timed_{graph}{suffix}")
        for graph, (_, suffix, quantize) in PEERS.items()
    }
    makers["int8"] = lambda: build_modc(network, "int8")[1]
    samples: dict[str, list[float]] = {graph: [] for graph in makers}
    for turn in range(COMPILE_TURNS):
        for graph, make in makers.items():
            samples[graph].append(make())
            logger.info("compile time, turn %d: %s %.1f s", turn + 1, graph, samples[graph][-1])
    seconds = {graph: tuple(values) for graph, values in samples.items()}
    return CompileTime(COMPILED, COMPILE_IMAGES, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for networks and results")
    parser.add_argument(
        "--network",
        nargs="+",
        choices=list(GOALS),
        default=list(GOALS),
        metavar="NAME",
        help=f"{', '.join(GOALS)} (default all)",
    )
    parser.add_argument("--rounds", type=int, default=9, help="samples of each time (default 9)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default 1 2")
    parser.add_argument("--images", type=int, default=8, help="for calibration (default 8)")
    parser.add_argument(
        "--compile-time",
        action="store_true",
        help=f"also time all compilers on {COMPILED} with {COMPILE_IMAGES} images, in turns",
    )
    parser.add_argument(
        "--update-docs",
        action="store_true",
        help="write the tables into docs/benchmarks.md and .zh.md",
    )
    return exit_code_of(partial(compare, parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
