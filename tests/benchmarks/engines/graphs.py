"""The networks of the benchmark, and what modc and its peers make of them."""

import importlib.metadata
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from compiler.config.load import load_config
from compiler.pipeline.build import Build
from compiler.pipeline.compile import compile_model
from compiler.preprocess.chain import Chain
from compiler.zoo.full_size import NETWORKS, write_network
from compiler.zoo.portraits import write_portraits
from tests.benchmarks.engines.sessions import Floats

logger = logging.getLogger(__name__)


class Calibrated(Protocol):
    """What a quantizer needs: a network on disk, its only input, and pictures to calibrate with."""

    @property
    def path(self) -> Path: ...

    @property
    def input(self) -> str: ...

    @property
    def pictures(self) -> Sequence[Path]: ...

    def loader(self) -> Callable[[Path], Floats]: ...


@dataclass(frozen=True, slots=True)
class Network:
    """A network on disk, and the pictures that everybody calibrates with.

    Args:
        name: Key of `NETWORKS`.
        path: ONNX file with one input "input", float32, 1×3×size×size.
        images: Folder of the pictures, and of nothing else.
        work: Folder for what is made of the network.
    """

    name: str
    path: Path
    images: Path
    work: Path

    @property
    def size(self) -> int:
        return NETWORKS[self.name].size

    @property
    def input(self) -> str:
        return "input"

    @property
    def pictures(self) -> list[Path]:
        return sorted(self.images.iterdir())

    @property
    def process_ops(self) -> list[dict[str, object]]:
        return [
            {"type": "DecodeImage"},
            {"type": "Resize", "size": [self.size, self.size]},
            {"type": "Normalize", "norm_type": None},
            {"type": "ToTensor"},
        ]

    def loader(self) -> Callable[[Path], Floats]:
        """From a picture to the network's input."""
        return Chain.from_list(self.process_ops, (3, self.size, self.size))


def write_inputs(out: Path, name: str, *, images: int) -> Network:
    """Write a network and its pictures, unless they are there."""
    path, pictures, work = out / f"{name}_full.onnx", out / f"images_{images}", out / name
    if not pictures.exists():
        write_portraits(pictures, range(images))
    if not path.exists():
        write_network(NETWORKS[name], path.with_suffix(".part")).replace(path)
    work.mkdir(exist_ok=True)
    return Network(name, path, pictures, work)


def make_graphs(
    network: Network, graphs: Sequence[str]
) -> tuple[dict[str, Path], dict[str, float]]:
    """Make the graphs that are asked for.

    What a peer has made is kept, with the time it took, and made again only from a newer network,
    with other pictures or by another version; modc builds every time.

    Returns:
        The file of each graph, and the seconds that each took to make.
    """
    paths, seconds = {"original": network.path}, {}
    for graph in graphs:
        if graph in PEERS:
            paths[graph], seconds[graph] = _once(network, graph)
        elif graph != "original":
            logger.info("  modc %s", graph)
            paths[graph], seconds[graph] = build_modc(network, graph)
    return paths, seconds


def _once(network: Network, graph: str) -> tuple[Path, float]:
    package, suffix, quantize = PEERS[graph]
    version = importlib.metadata.version(package)
    stem = f"{graph}-{version}-{len(network.pictures)}"
    path, note = network.work / f"{stem}{suffix}", network.work / f"{stem}.seconds"
    if not note.exists() or note.stat().st_mtime < network.path.stat().st_mtime:
        logger.info("  %s %s", package, version)
        note.write_text(str(quantize(network, path)), encoding="utf-8")
    return path, float(note.read_text(encoding="utf-8"))


def build_modc(network: Network, graph: str) -> tuple[Path, float]:
    """Compile with modc.

    Args:
        network: What to compile.
        graph: "fp32", "int8", or "direct" for fp32 without Winograd.

    Returns:
        The bundle's graph, and the seconds of all stages but verification and latency.
    """
    backend: dict[str, object] = {"type": "onnxruntime", "dtype": "fp32"}
    if graph == "int8":
        backend |= {"dtype": "int8", "quantize": {"calibrate_mode": "kl_divergence"}}
    elif graph == "direct":
        backend |= {"optimize": {"winograd": False}}
    document = {
        "name": f"modc_{graph}",
        "frontend": {
            "type": "onnx",
            "checkpoint": str(network.path.resolve()),
            "shape": {"input": [1, 3, network.size, network.size]},
        },
        "backend": backend,
        "dataset": {
            "path": str(network.images.resolve()),
            "sampler": {"get_data_num": len(network.pictures)},
            "process_ops": network.process_ops,
        },
        "verify": {"samples": 1},
        "workspace": {"path": str(network.work.resolve())},
    }
    build_file = network.work / f"modc_{graph}.yaml"
    build_file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    build = compile_model(load_config(build_file))
    return build.prefix.with_suffix(".onnx"), building_seconds(build)


def building_seconds(build: Build) -> float:
    """Seconds of all stages but verification and latency, which no peer has."""
    spent = {key: value for key, value in build.seconds.items() if key not in _NOT_BUILDING}
    return sum(spent.values())


_NOT_BUILDING = ("verify", "latency")


def run_quantize_static(network: Calibrated, path: Path, method: str = "MinMax") -> float:
    """Quantize with ONNX Runtime: QDQ, per channel, by one of its calibration methods.

    Returns:
        Seconds.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped base class
        def __init__(self) -> None:
            load = network.loader()
            self._feeds: Iterator[dict[str, Floats]] = (
                {network.input: load(picture)} for picture in network.pictures
            )

        def get_next(self) -> dict[str, Floats] | None:
            return next(self._feeds, None)

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(network.path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            Pictures(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[method],
        )
    return time.perf_counter() - start


def run_nncf(network: Calibrated, path: Path) -> float:
    """Quantize with NNCF's default preset for OpenVINO. Returns seconds."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    start = time.perf_counter()
    model = openvino.Core().read_model(network.path)
    data = nncf.Dataset(network.pictures, network.loader())
    openvino.save_model(nncf.quantize(model, data), path, compress_to_fp16=False)
    return time.perf_counter() - start


PEERS = {
    "quantize_static": ("onnxruntime", ".onnx", run_quantize_static),
    "nncf": ("nncf", ".xml", run_nncf),
}
