"""Int8 networks of one build file, made again with changes and measured against the present one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig
from compiler.graph.convert import save_model
from compiler.pipeline.accuracy import Measure
from compiler.pipeline.cache import StageCache
from compiler.pipeline.clock import Clock
from compiler.pipeline.form import choose_form
from compiler.pipeline.int8 import OpenQuantizer, open_quantizer
from compiler.pipeline.prepare import Prepared, prepare
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.relative_latency import RelativeLatency
from compiler.pipeline.remedies import Remedy, apply
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.sessions import open_as_deployed, open_model
from compiler.verify.compare import Tensors, compare


@dataclass(frozen=True, slots=True)
class Priced:
    """What a network was measured at, beside the present one.

    Args:
        points: Accuracy; higher is better.
        milliseconds: Latency of one sample; None where it was not timed, since the same
            kernels run.
        present: That of the present network.
    """

    points: float
    milliseconds: float | None = None
    present: float | None = None

    @property
    def ratio(self) -> float:
        """Its time over that of the present network."""
        if self.milliseconds is None or self.present is None:
            return 1.0
        return self.milliseconds / self.present


@dataclass(frozen=True, slots=True)
class Workbench:
    """Builds and measures networks; of none but the present one a file remains.

    Args:
        config: Build file of the present network.
        samples: Calibration data.
        cache: Of the stages; what is built again finds the float network and its histograms there.
        measure: Accuracy, after its reference was measured.
        latency: Compares with the present network.
        feeds: Few samples, for noise.
        folder: For files.
    """

    config: BuildConfig
    samples: Samples
    cache: StageCache
    measure: Measure
    latency: RelativeLatency
    feeds: Sequence[Feeds]
    folder: Path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder, until the end of the block."""
        with TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)

    def build(self, config: BuildConfig) -> Quantized:
        """The int8 network of a build file, exactly as it is compiled."""
        with self.scratch() as work:
            opened = open_network(config, self.samples, self.cache, work)
            return opened.quantizer.quantize(opened.floats)

    def change(self, opened: OpenQuantizer, remedy: Remedy) -> Quantized:
        """The present network with a remedy, all else as it is; `build` might choose otherwise."""
        quantizer = replace(
            opened.quantizer, methods={**opened.quantizer.methods, **remedy.methods}
        )
        if remedy.changes:
            config = apply(self.config, remedy.changes)
            kept_float = _prepare(config, self.cache, self.folder).kept_float
            quantizer = replace(quantizer, backend=config.backend, kept_float=kept_float)
        return quantizer.quantize(opened.floats)

    def price(self, graph: gs.Graph, *, timed: bool) -> Priced:
        """Accuracy of a network, and its time in turns with the present one."""
        with self.scratch() as folder:
            model = save(graph, folder)
            engine = self.config.backend.build_engine
            with open_model(model, engine=engine) as run:
                points = self.measure.points(run)
            if not timed:
                return Priced(points)
            with open_as_deployed(model, engine) as run:
                milliseconds = self.latency.milliseconds(run)
            return Priced(points, milliseconds, self.latency.reference_milliseconds)

    def noise(self, graph: gs.Graph, expected: Sequence[Tensors]) -> float:
        """Noise-to-signal ratio of a network's worst output on the few samples."""
        with self.scratch() as folder, open_model(save(graph, folder)) as run:
            outputs = [run(one) for one in self.feeds]
        figures = compare(zip(expected, outputs, strict=True))
        return float(10 ** (-min(one.sqnr_db for one in figures) / 10))


def open_network(
    config: BuildConfig, samples: Samples, cache: StageCache, work: Path
) -> OpenQuantizer:
    """The observed network of a build file; it needs the folder `work` as long as it is used."""
    prepared = _prepare(config, cache, work)
    return open_quantizer(
        prepared.graph,
        config.backend,
        prepared.kept_float,
        prepared.cost,
        samples,
        None,
        work,
        Clock(None),
        prepared.source,
    )


def save(graph: gs.Graph, folder: Path) -> Path:
    """Model file of a graph, under the names that it has in a bundle."""
    save_model(graph, folder / "mod.onnx", folder / "mod.params")
    return folder / "mod.onnx"


def _prepare(config: BuildConfig, cache: StageCache, folder: Path) -> Prepared:
    """The float network of a build file, in the form that its int8 build starts from."""
    with TemporaryDirectory(dir=folder) as name:
        work, clock = Path(name), Clock(None)
        prepared = prepare(config, cache, work, clock)
        return choose_form(config, prepared, cache, work, clock)[0]
