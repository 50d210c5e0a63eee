"""Accuracy of modc and its peers on the networks in ../shared/models; needs `modc[bench]`.

    python tests/benchmarks/accuracy_table.py --out build/accuracy

Everybody calibrates with the same images, by modc's preprocessing, in a fresh process each. All are
measured on the same held-out images, and timed in turns in one process. Results: `accuracy.json`
and `accuracy.md` in the folder. What was measured before is kept while the package's version, or
modc's code, is the same; --again measures it anew.
"""

import argparse
import importlib.metadata
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.pipeline.environment import code_digest
from compiler.zoo.command import exit_code_of
from tests.benchmarks.accuracy.columns import COLUMNS, ORIGINAL
from tests.benchmarks.accuracy.goals import verdicts_of
from tests.benchmarks.accuracy.making import make_apart
from tests.benchmarks.accuracy.measuring import Yardstick, measure_times
from tests.benchmarks.accuracy.networks import BUILD_FILES, TrainedNetwork
from tests.benchmarks.accuracy.results import Cell, Figures, Report, read_times, write_times
from tests.benchmarks.accuracy.tables import markdown
from tests.benchmarks.engines.columns import REFERENCE, Column
from tests.benchmarks.engines.machine import machine_facts, require_peers, versions

THREADS = (1, 2)

logger = logging.getLogger(__name__)


def compare(options: argparse.Namespace) -> None:
    """Measure all that is asked for, and write it after each network."""
    require_peers()
    networks: dict[str, Figures] = {}
    for name in options.networks:
        logger.info("%s", name)
        work = options.out.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        networks[name] = _measure(TrainedNetwork(BUILD_FILES[name], work), options)
        report = Report(machine_facts(), versions(), networks, THREADS)
        text = markdown(report)
        facts = asdict(report) | {"goals": [asdict(one) for one in verdicts_of(report)]}
        _write(options.out / "accuracy.json", json.dumps(facts, indent=1, ensure_ascii=False))
        _write(options.out / "accuracy.md", text)
    print(text)


def _measure(network: TrainedNetwork, options: argparse.Namespace) -> Figures:
    network.write()
    task = network.task
    yardstick, cells = Yardstick(network), {}
    for key in dict.fromkeys((REFERENCE, *options.columns)):
        cell = _cell(yardstick, key, again=key in options.again)
        if cell is not None:
            cells[key] = cell
    kept = network.work / "times.json"
    if not options.skip_latency:
        paths = {key: Path(cell.path) for key, cell in cells.items()}
        write_times(measure_times(network, paths, rounds=options.rounds, threads=THREADS), kept)
    times = {key: one for key, one in read_times(kept).items() if key in cells}
    return Figures(str(task.verify.metric), len(task.pairs), cells, times)


def _cell(yardstick: Yardstick, key: str, *, again: bool) -> Cell | None:
    """What is kept of a contestant in this version, or else is measured now."""
    column = COLUMNS[key]
    kept = yardstick.network.work / f"{key}-{_version(key)}.json"
    cell = None if again else Cell.read(kept)
    if cell is not None:
        return cell
    logger.info("  %s", column.title)
    try:
        cell = _measure_cell(yardstick, column)
    except Exception as error:  # of an engine or a quantizer; the other contestants go on
        logger.error("  failed: %s", error)
        return None
    cell.write(kept)
    return cell


def _version(key: str) -> str:
    """Of the package that makes a contestant's graph, or that runs it; modc's is its code."""
    if key.startswith("modc"):
        return code_digest()[:12]
    return importlib.metadata.version("nncf" if key == "nncf" else COLUMNS[key].engine)


def _measure_cell(yardstick: Yardstick, column: Column) -> Cell:
    if column.graph == ORIGINAL:
        path = yardstick.network.path
        return Cell(str(path), *yardstick.measure(column, path), None, None)
    made = make_apart(yardstick.network, column.graph)
    figures = yardstick.measure(column, made.path)
    return Cell(str(made.path), *figures, made.seconds, made.peak_mb)


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for graphs and results")
    _add_choice(parser, "--networks", list(BUILD_FILES), "default all")
    _add_choice(parser, "--columns", list(COLUMNS), "default all")
    _add_choice(parser, "--again", list(COLUMNS), "make and measure these anew", default=[])
    parser.add_argument("--rounds", type=int, default=20, help="samples of each time (default 20)")
    parser.add_argument(
        "--skip-latency", action="store_true", help="show the times of an earlier run, if any"
    )
    return exit_code_of(partial(compare, parser.parse_args(arguments)))


def _add_choice(
    parser: argparse.ArgumentParser,
    flag: str,
    choices: list[str],
    text: str,
    default: list[str] | None = None,
) -> None:
    parser.add_argument(
        flag,
        nargs="+",
        choices=choices,
        default=choices if default is None else default,
        metavar="NAME",
        help=f"{', '.join(choices)} ({text})",
    )


if __name__ == "__main__":
    raise SystemExit(main())
