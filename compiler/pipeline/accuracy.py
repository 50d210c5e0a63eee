"""How accurate a network is, in points of which `quantize.accuracy.max_drop` allows some to go.

`miou`, `fg_iou` and `dice` are points of the task's metric on images with masks. The others compare
a network's outputs with those of the float network, the worst output counting:

    cosine: 100 * cosine similarity        sqnr: 100 - 100 * 10^(-SQNR / 10 dB), the noise's share

so that more is better and a float network has 100.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np

from calibration.dataset import DatasetError, Sample, find_samples
from compiler.config.backend import Accuracy
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, CalibrationError
from compiler.evaluate.definitions import foreground_metric, mean_iou_metric
from compiler.evaluate.metric import Map, Metric
from compiler.evaluate.pairs import Pair, pair_masks
from compiler.graph.open_sizes import is_open
from compiler.pipeline.loaded_once import LoadedOnce
from compiler.pipeline.samples import Feeds, Input, Samples, image_loader, reads
from compiler.pipeline.sessions import Run
from compiler.pipeline.task import undefined_metric
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Postprocessing, TensorSpec
from compiler.runner.masks import seen_window
from compiler.runner.read import file_fact
from compiler.verify.compare import Recording, compare

_KEY: Final = "backend.quantize.accuracy"
_AGAINST_FLOAT: Final = ("cosine", "sqnr")
_FOREGROUND: Final = MappingProxyType({"fg_iou": "foreground_iou", "dice": "dice"})

Facts = list[Any] | None
"""JSON that decides the points of a network; None where that is the user's own code."""


class Measure(Protocol):
    """Accuracy of networks that read and yield the same tensors."""

    def reference(self, run: Run, folder: Path) -> float:
        """Points of the float network, to be asked first.

        Args:
            run: The float network.
            folder: An existing, empty folder for what has to be remembered of it.

        Raises:
            CalibrationError: An image or mask cannot be used.
        """
        ...

    def points(self, run: Run) -> float:
        """Points of a network; more is better.

        Raises:
            CalibrationError: An image or mask cannot be used.
        """
        ...

    def facts(self) -> Facts:
        """What stored results are found by."""
        ...


def find_measure(
    config: BuildConfig,
    accuracy: Accuracy,
    samples: Samples | None,
    chain: Chain | None,
    inputs: Sequence[Input],
    output: TensorSpec,
    rule: Postprocessing | None,
) -> Measure:
    """The measure that a build file asks for.

    Args:
        config: The build file.
        accuracy: Its section `backend.quantize.accuracy`.
        samples: Its calibration data, if there are any.
        chain: Its preprocessing; None for arrays.
        inputs: Of the network.
        output: First output of the network.
        rule: How that becomes a class map, if it does.

    Raises:
        BuildFileError: The network or its preprocessing does not suit the metric, or a key is
            missing.
        CalibrationError: Files are missing.
    """
    if accuracy.metric in _AGAINST_FLOAT:
        return _against_float(config, accuracy, samples, chain, inputs)
    return _task(config, accuracy, chain, inputs, output, rule)


@dataclass(frozen=True, slots=True)
class _TaskMeasure:
    accuracy: Accuracy
    metric: Metric
    items: LoadedOnce[Pair, tuple[Feeds, Map]]
    output: str
    rule: Postprocessing
    settings: Facts

    def reference(self, run: Run, folder: Path) -> float:
        return self.points(run)

    def points(self, run: Run) -> float:
        metric, statistics = self.metric, []
        for pair, (feeds, truth) in zip(self.items.keys, self.items, strict=True):
            predicted = metric.predict(run(feeds)[self.output])
            statistics.append(metric.compared(predicted, truth, pair.mask))
        table = np.stack(statistics)
        if not metric.use(table).used:
            raise undefined_metric(metric, str(self.items.keys[0].mask.parent))
        return metric.values(table)[metric.figure]

    def facts(self) -> Facts:
        if self.settings is None:
            return None
        files = [
            [file_fact(one.image).sha256, file_fact(one.mask).sha256] for one in self.items.keys
        ]
        return [self.accuracy.metric, self.output, asdict(self.rule), *self.settings, files]


@dataclass(slots=True)
class _AgreementMeasure:
    metric: str
    items: LoadedOnce[Sample, Feeds | None]
    settings: Facts
    _float: Recording | None = None

    def reference(self, run: Run, folder: Path) -> float:
        self._float = Recording(folder)
        for feeds in self._feeds():
            self._float.add(run(feeds))
        return 100.0

    def points(self, run: Run) -> float:
        if self._float is None:
            raise ValueError("the float network comes first: call reference")
        outputs = (
            (expected, run(feeds))
            for expected, feeds in zip(self._float, self._feeds(), strict=True)
        )
        figures = compare(outputs)
        if self.metric == "cosine":
            return 100 * min(one.cosine for one in figures)
        return 100 - 100 * 10 ** (-min(one.sqnr_db for one in figures) / 10)

    def facts(self) -> Facts:
        if self.settings is None:
            return None
        return [self.metric, *self.settings, [sample.sha256 for sample in self.items.keys]]

    def _feeds(self) -> Iterator[Feeds]:
        usable = 0
        for feeds in self.items:
            if feeds is not None:
                usable += 1
                yield feeds
        if not usable:
            raise CalibrationError(
                "none of the files can be used",
                where=_KEY,
                fix="repair the files, or remove on_error: skip to see the first error",
            )


def _against_float(
    config: BuildConfig,
    accuracy: Accuracy,
    samples: Samples | None,
    chain: Chain | None,
    inputs: Sequence[Input],
) -> _AgreementMeasure:
    if accuracy.data is None and samples is None:
        raise BuildFileError(
            f"{accuracy.metric} needs images",
            where=f"{config.name}: {_KEY}.data",
            fix="give data: {images: FOLDER}, or dataset.path",
        )
    load = image_loader(chain, inputs[0]) if chain else samples.load if samples else None
    if load is None:
        raise BuildFileError(
            f"{accuracy.metric} needs process_ops to prepare images",
            where=f"{config.name}: {_KEY}.data",
            fix="add dataset.process_ops, or dataset.path with arrays",
        )
    skip = samples is not None and samples.skip
    if accuracy.data is not None:
        key = f"{config.name}: {_KEY}.data.images"
        folder = resolve_input(accuracy.data.images, config.base_dir, where=key)
        try:
            files = find_samples(folder, suffix=None, count=accuracy.images, arrays=chain is None)
        except DatasetError as error:
            raise CalibrationError(error.what, where=error.where, fix=error.fix) from error
    elif samples is not None:
        files = samples.spread(accuracy.images).calibration
    return _AgreementMeasure(
        accuracy.metric,
        LoadedOnce(files, lambda sample: _load(load, sample, skip), _bytes),
        reads(chain, inputs),
    )


def _load(load: Callable[[Path], Feeds], sample: Sample, skip: bool) -> Feeds | None:
    try:
        return load(sample.path)
    except CalibrationError:
        if skip:
            return None
        raise


def _task(
    config: BuildConfig,
    accuracy: Accuracy,
    chain: Chain | None,
    inputs: Sequence[Input],
    output: TensorSpec,
    rule: Postprocessing | None,
) -> _TaskMeasure:
    if chain is None or rule is None:
        what = "process_ops to prepare images" if chain is None else "an output of shape 1×C×H×W"
        raise BuildFileError(
            f"{accuracy.metric} needs {what}",
            where=f"{config.name}: {_KEY}.metric",
            fix="add dataset.process_ops, or set metric: sqnr",
        )
    if is_open(inputs[0].shape[1:]):
        raise BuildFileError(
            f"{accuracy.metric} compares masks of one size, the network has a range of them",
            where=f"{config.name}: {_KEY}.metric",
            fix="set metric: sqnr, or give frontend.shape one size",
        )
    pairs = _pairs(config, accuracy)
    size = output.shape[2], output.shape[3]
    classes, ignore = None, None
    see = partial(seen_window, chain.ops, chain.shape)
    if accuracy.metric == "miou":
        classes, ignore = _classes(config, output, rule), config.verify.ignore
        metric = mean_iou_metric(rule, classes, ignore, see)
    else:
        metric = foreground_metric(_FOREGROUND[accuracy.metric], rule, see)
    load = image_loader(chain, inputs[0])

    def load_pair(pair: Pair) -> tuple[Feeds, Map]:
        return load(pair.image), metric.truth(pair.mask, size)

    described = reads(chain, inputs)
    settings = None if described is None else [*described, classes, ignore]
    items = LoadedOnce(pairs, load_pair, lambda item: _bytes(item[0]) + item[1].nbytes)
    return _TaskMeasure(accuracy, metric, items, output.name, rule, settings)


def _pairs(config: BuildConfig, accuracy: Accuracy) -> tuple[Pair, ...]:
    """Images with masks, at most as many as are asked for, spread evenly over all."""
    data, section = accuracy.data, f"{_KEY}.data"
    images, masks = (
        (data.images, data.masks) if data else (config.verify.images, config.verify.masks)
    )
    if images is None or masks is None:
        raise BuildFileError(
            f"{accuracy.metric} needs images with masks",
            where=f"{config.name}: {section}",
            fix="give data: {images: FOLDER, masks: FOLDER}, or verify.images and verify.masks, "
            "or set metric: sqnr, which needs no masks",
        )
    key = section if data else "verify"
    pairs = pair_masks(
        resolve_input(images, config.base_dir, where=f"{config.name}: {key}.images"),
        resolve_input(masks, config.base_dir, where=f"{config.name}: {key}.masks"),
    )
    return pairs[:: -(-len(pairs) // accuracy.images)]


def _classes(config: BuildConfig, output: TensorSpec, rule: Postprocessing) -> int:
    """Number of classes for miou: the build file's, or else the network's channels."""
    channels = output.shape[1] if rule.kind == "argmax" else None
    classes = config.verify.classes or channels
    if classes is None:
        raise BuildFileError(
            "miou needs the number of classes",
            where=f"{config.name}: verify.classes",
            fix="set verify.classes, or use metric: fg_iou",
        )
    if channels not in (None, classes):
        raise BuildFileError(
            f"the network has {channels} classes, the build file says {classes}",
            where=f"{config.name}: verify.classes",
            fix=f"set verify.classes: {channels}",
        )
    return classes


def _bytes(feeds: Feeds | None) -> int:
    return sum(array.nbytes for array in feeds.values()) if feeds else 0
