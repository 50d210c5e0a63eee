"""What two processes on one bundle share of its weights, and what prevents the rest.

    python tests/benchmarks/page_sharing.py deploy_weights/unet3p_full_int8 --out build/bench

Each row is a way to open the bundle's graph: as the runner does, with what it keeps in the user's
cache or without, or without one of the reasons for which an engine copies weights into memory of
its own. Two fresh processes open the graph that way
and run it a few times; then the system says of every page whether both map it. Latencies are from
all ways in turns, in one more process (see `compiler.bench.turns`). Results: `page_sharing.json`
and `page_sharing.md` in the folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compiler.bench.energy import EnergyMeter
from compiler.bench.fresh import Held, memory_by_kind
from compiler.bench.machine import this_machine
from compiler.bench.memory import Memory
from compiler.bench.networks import Network
from compiler.bench.statistics import Spread, ratio_of, spread_of
from compiler.bench.turns import Contestant, Limit, take_turns, warm_up
from compiler.runner.engine import EngineName, open_session
from compiler.runner.manifest import TensorSpec
from compiler.runner.random_feeds import Feeds, random_feeds
from compiler.runner.read import Bundle, read_bundle
from tests.benchmarks.engines.tables import table

MIB: Final = 2**20
RUNS: Final = 3
DATA: Final = "mod.params"
CACHE: Final = "cache"
UNPACKED: Final = MappingProxyType({"session.disable_prepacking": "1"})


@dataclass(frozen=True, slots=True)
class Way:
    """One way to open a graph.

    Args:
        engine: What runs it.
        title: In words.
        config: Entries of ONNX Runtime's session configuration; None opens as the runner does.
        kept: Whether the runner may keep what the engine has made of the graph.
        arena: Whether ONNX Runtime keeps the memory of activations between runs.
        optimized: Whether to open the graph that ONNX Runtime has optimized for this CPU and
            written before, so that no optimization is left to rewrite a weight.
    """

    engine: EngineName
    title: str
    config: Mapping[str, str] | None = None
    kept: bool = False
    arena: bool = True
    optimized: bool = False


WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "ort": Way("onnxruntime", "as the runner", kept=True),
        "ort_not_kept": Way("onnxruntime", "as the runner, nothing kept"),
        "ort_no_arena": Way("onnxruntime", "no arena", {}, arena=False),
        "ort_unpacked": Way("onnxruntime", "no prepacking", UNPACKED),
        "ort_optimized_no_arena": Way(
            "onnxruntime", "optimized graph, no arena", {}, arena=False, optimized=True
        ),
        "ort_optimized_unpacked": Way(
            "onnxruntime", "optimized graph, no prepacking", UNPACKED, optimized=True
        ),
        "openvino": Way("openvino", "as the runner", kept=True),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """A way, and what came of it.

    Args:
        milliseconds: Median latency of each round.
        ratio: How many times as long as the engine's first way, round by round.
        alone: Memory of the first process before the second started, by what its pages are.
        together: Of both, added up.
    """

    milliseconds: Spread
    ratio: Spread
    alone: Mapping[str, Memory]
    together: Mapping[str, Memory]


def main() -> None:
    if len(sys.argv) == 5 and sys.argv[1] == "--child":
        _hold(Path(sys.argv[2]), WAYS[sys.argv[3]], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    found = {}
    for prefix in options.bundles:
        bundle = read_bundle(prefix)
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["MODC_CACHE"] = str(Path(scratch) / CACHE)
            found[bundle.manifest.name] = _measure(bundle, Path(scratch), options)
    machine = this_machine()
    facts = {"machine": asdict(machine), "threads": options.threads, "ways": {}, "bundles": {}}
    facts["ways"] = {key: way.title for key, way in WAYS.items()}
    facts["bundles"] = {
        name: {key: asdict(row) for key, row in rows.items()} for name, rows in found.items()
    }
    text = _markdown(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "page_sharing.json").write_text(json.dumps(facts, indent=1) + "\n")
    (options.out / "page_sharing.md").write_text(text)
    print(text)


def _measure(bundle: Bundle, scratch: Path, options: argparse.Namespace) -> dict[str, Row]:
    ways = {key: WAYS[key] for key in options.ways}
    optimized = _write_optimized(bundle.model, scratch)
    models = {key: optimized if way.optimized else bundle.model for key, way in ways.items()}
    memories = {key: _memories(models[key], key, options.threads, scratch) for key in ways}
    feeds = random_feeds(bundle.manifest.inputs)
    with ExitStack() as stack:
        contestants = []
        for key, way in ways.items():
            run = _open(models[key], way, options.threads)

            def infer(samples: Sequence[Feeds], run: Callable[[Feeds], object] = run) -> None:
                for sample in samples:
                    run(sample)

            network = Network(way.engine, options.threads, 1, feeds, infer, None, lambda: None)
            stack.callback(network.close)
            contestants.append(Contestant(network, 1))
        warm_up(contestants, options.seconds)
        limits = [Limit(options.seconds)] * options.rounds
        turns = take_turns(contestants, limits, meter=EnergyMeter())
    times = {key: [turn.milliseconds for turn in own] for key, own in zip(ways, turns, strict=True)}
    firsts = {way.engine: key for key, way in reversed(ways.items())}
    return {
        key: Row(
            spread_of([spread_of(round_).median for round_ in times[key]]),
            ratio_of(times[key], times[firsts[way.engine]]),
            *memories[key],
        )
        for key, way in ways.items()
    }


def _memories(
    model: Path, key: str, threads: int, scratch: Path
) -> tuple[dict[str, Memory], dict[str, Memory]]:
    """Of one process, then of two, that find what an earlier one has kept."""
    with _held(model, key, threads):
        pass
    kept = list((scratch / CACHE / "onnxruntime").glob("*/"))
    folder = kept[0] if kept and key == "ort" else model.parent
    with _held(model, key, threads) as first:
        alone = memory_by_kind(folder, [first])
        with _held(model, key, threads) as second:
            together = memory_by_kind(folder, [first, second])
    if alone is None or together is None:
        raise SystemExit("this system tells no process's pages: run the benchmark on Linux")
    return alone, together


@contextmanager
def _held(model: Path, key: str, threads: int) -> Iterator[Held]:
    command = [sys.executable, __file__, "--child", str(model), key, str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit(f"failed: {' '.join(command)}")
            yield Held(process.pid, {})
        finally:
            process.stdin.close()


def _hold(model: Path, way: Way, threads: int) -> None:
    """In a process of its own: open, run, say so, and wait."""
    run, feeds = _open(model, way, threads), random_feeds(_inputs(model))
    for _ in range(RUNS):
        run(feeds)
    print("ready", flush=True)
    sys.stdin.read()


def _open(model: Path, way: Way, threads: int) -> Callable[[Feeds], object]:
    if way.config is None:
        digest = sha256(model.read_bytes()).hexdigest() if way.kept else None
        return open_session(way.engine, model, threads=threads, digest=digest).run
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = way.arena
    if way.optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in way.config.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))


def _write_optimized(model: Path, folder: Path) -> Path:
    """The graph as ONNX Runtime optimizes it for this CPU, its weights in a file that it maps."""
    import onnxruntime

    path = folder / "mod.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    prefix = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{prefix}_file_name", DATA)
    options.add_session_config_entry(f"{prefix}_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return path


def _inputs(model: Path) -> tuple[TensorSpec, ...]:
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return tuple(
        TensorSpec(
            one.name,
            tuple(size.dim_value for size in one.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type).name,
        )
        for one in graph.input
    )


def _markdown(found: Mapping[str, Mapping[str, Row]]) -> str:
    heads = (
        "engine, way",
        "latency, ms",
        "times as long (quartiles)",
        "Pss of one",
        "Pss of two",
        "weights' pages: Pss of two",
        "other private memory of two",
        "two / twice one",
    )
    parts = []
    for name, rows in found.items():
        body = table(heads, [_cells(key, row) for key, row in rows.items()])
        parts.append(f"### {name}\n\nMemory in MiB.\n\n{body}\n")
    return "\n".join(parts)


def _cells(key: str, row: Row) -> Sequence[str]:
    one = sum(memory.pss for memory in row.alone.values())
    two = sum(memory.pss for memory in row.together.values())
    ratio = row.ratio
    return (
        f"{WAYS[key].engine}, {WAYS[key].title}",
        f"{row.milliseconds.median:.2f}",
        f"{ratio.median:.2f} ({ratio.lower:.2f}–{ratio.upper:.2f})",
        _mib(one),
        _mib(two),
        _mib(row.together["bundle"].pss),
        _mib(row.together["anonymous"].private),
        f"{two / (2 * one):.2f}",
    )


def _mib(size: int) -> str:
    return f"{size / MIB:.0f}"


if __name__ == "__main__":
    main()
