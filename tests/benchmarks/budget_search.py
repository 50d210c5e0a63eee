"""How much of a lost metric the accuracy search restores, on a network made hard on purpose.

    python tests/benchmarks/budget_search.py [calibrate_mode …]

The network is prisma_nchw with very uneven channels in front of depthwise convolutions and one
outlier tensor (`tests.support.hard_network`); in float it computes what it did. Equalization is
off, because it would undo the edits, and keep_float too, because this network has many nodes that
integers make no faster, which would stay float without any search; what it finds may then be slower
than fp32, and is written all the same. Three builds per mode: fp32, int8, and int8 with a budget.
Goal: at least 95 % of the lost points restored within 5 minutes, with at least 80 % of the
multiply-accumulates on integers.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from compiler import compile_model, load_config  # noqa: E402
from compiler.cost.work import work_of  # noqa: E402
from compiler.graph.convert import infer_shapes, load_graph  # noqa: E402
from compiler.graph.query import origin_of, producer  # noqa: E402
from compiler.pipeline.build import Build  # noqa: E402
from tests.support.hard_network import PRISMA_OUTLIERS, PRISMA_UNEVEN, make_hard  # noqa: E402
from tests.support.models import SHARED  # noqa: E402

NETWORK = ROOT / "tests" / "networks" / "prisma_nchw.yaml"
MAX_DROP = 0.3


def main() -> None:
    modes = sys.argv[1:] or ["kl_divergence"]
    print(
        "| mode | fp32 | int8 | int8 with budget | restored | MACs on integers | minutes | "
        "layers in float |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        hard = Path(folder) / "hard.onnx"
        easy = onnx.load(SHARED / "models" / "prisma_nchw.onnx")
        onnx.save(make_hard(easy, uneven=PRISMA_UNEVEN, outliers=PRISMA_OUTLIERS), hard)
        for mode in modes:
            print(Row.of(mode, hard).text(), flush=True)


@dataclass(frozen=True)
class Row:
    """Points, share of multiply-accumulates, minutes of the search, layers it kept in float."""

    mode: str
    fp32: float
    without: float
    within: float
    share: float
    minutes: float
    layers: list[str]

    @classmethod
    def of(cls, mode: str, network: Path) -> "Row":
        without = _compile(network, mode)
        decided = _floats(without)
        task = without.verification.task
        budget = f"backend.quantize.accuracy={{metric: fg_iou, max_drop: {MAX_DROP}}}"
        within = _compile(network, mode, budget)
        restored = within.verification.task
        if task is None or restored is None:
            raise SystemExit(f"{NETWORK} names no images and masks under verify")
        return cls(
            mode,
            task.fp32,
            task.compiled,
            restored.compiled,
            integer_share(within.prefix.parent / "mod.onnx"),
            sum(within.seconds.values()) / 60 - sum(without.seconds.values()) / 60,
            sorted(_floats(within) - decided),
        )

    def text(self) -> str:
        restored = (self.within - self.without) / (self.fp32 - self.without)
        return (
            f"| {self.mode} | {self.fp32:.2f} | {self.without:.2f} | {self.within:.2f} | "
            f"{100 * restored:.0f} % | {100 * self.share:.0f} % | {self.minutes:.1f} | "
            f"{', '.join(self.layers)} |"
        )


def integer_share(model: Path) -> float:
    """Share of a QDQ network's multiply-accumulates whose operands are both dequantized."""
    graph = load_graph(model)
    infer_shapes(graph)
    macs = {node.name: 0 if (work := work_of(node)) is None else work.macs for node in graph.nodes}
    integer = sum(macs[node.name] for node in graph.nodes if _reads_integers(node))
    return integer / sum(macs.values())


def _reads_integers(node: gs.Node) -> bool:
    makers = [producer(tensor) for tensor in node.inputs[:2]]
    return len(makers) == 2 and all(
        one is not None and one.op == "DequantizeLinear" for one in makers
    )


def _floats(build: Build) -> set[str]:
    """Layers of the network that have a node in float."""
    return {origin_of(line.split()[1]) for line in build.decisions}


def _compile(network: Path, mode: str, *more: str) -> Build:
    overrides = [
        f"frontend.checkpoint={network}",
        f"workspace.path={network.parent}",
        f"backend.quantize.calibrate_mode={mode}",
        "backend.quantize.equalize=false",
        "backend.optimize.keep_float=false",
        *more,
    ]
    build = compile_model(load_config(NETWORK, overrides=overrides), force=True)
    if build.digest is None:
        raise SystemExit(f"no bundle was written: {'; '.join(build.broken_gates)}")
    return build


if __name__ == "__main__":
    main()
