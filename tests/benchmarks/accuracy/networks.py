"""Trained networks with real images, as their build files describe them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError
from compiler.graph.convert import to_model
from compiler.pipeline.network import load_network, postprocessing_of
from compiler.pipeline.record import inputs_of, specs_of
from compiler.pipeline.samples import Input, Samples, find_build_samples
from compiler.pipeline.task import Task, find_task
from compiler.preprocess.chain import Chain
from tests.benchmarks.engines.sessions import Floats

BUILD_FILES = {
    path.stem: path for path in sorted((Path(__file__).parents[2] / "networks").glob("*.yaml"))
}


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a build file; everybody gets its calibration images by modc's own chain.

    Args:
        build_file: Of an int8 build, with process_ops and a task.
        work: Existing folder for what is made of the network.
    """

    build_file: Path
    work: Path

    @cached_property
    def config(self) -> BuildConfig:
        return load_config(self.build_file)

    @property
    def input(self) -> str:
        return next(iter(self.config.frontend.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input: (1, C, H, W)."""
        return tuple(int(str(size)) for size in self.config.frontend.shape[self.input])

    @property
    def path(self) -> Path:
        """What `write` writes."""
        return self.work / "original.onnx"

    def write(self) -> None:
        """Write the network as modc reads it, before any pass.

        Quantizers need what the frontend gives: fixed shapes, and opset 13 for weights that are
        quantized per channel.
        """
        onnx.save(to_model(load_network(self.config)[0].graph), self.path)

    @property
    def pictures(self) -> list[Path]:
        """For calibration."""
        return [sample.path for sample in self._data[0].calibration]

    def loader(self) -> Callable[[Path], Floats]:
        load, name = self._data[0].load, self.input
        return lambda picture: load(picture)[name]

    @cached_property
    def task(self) -> Task:
        """Held-out images with masks, and the metric on them."""
        graph = load_network(self.config)[0].graph
        found = find_task(
            self.config,
            self._data[1],
            inputs_of(graph),
            specs_of(graph.outputs)[0],
            postprocessing_of(graph),
        )
        if found is None:
            raise self._lacks("verify.images", "images, masks and metric")
        return found

    @cached_property
    def _data(self) -> tuple[Samples, Chain]:
        samples, chain = find_build_samples(
            self.config,
            [Input(self.input, self.shape, np.dtype(np.float32))],
            held_out=0,
            needed=True,
            allow_custom_code=False,
        )
        if samples is None or chain is None:
            raise self._lacks("dataset", "path and process_ops")
        return samples, chain

    def _lacks(self, key: str, what: str) -> BuildFileError:
        where = f"{self.build_file.name}: {key}"
        return BuildFileError("this benchmark needs it", where=where, fix=f"give {what}")
