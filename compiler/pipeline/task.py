"""The task of a build: images with masks, and the metric on them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compiler.config.model import BuildConfig, Verify
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, CalibrationError
from compiler.evaluate.definitions import foreground_metric, mean_iou_metric
from compiler.evaluate.masks import See
from compiler.evaluate.metric import Metric
from compiler.evaluate.pairs import Pair, pair_masks
from compiler.pipeline.samples import Feeds, Input, image_loader, reads
from compiler.pipeline.sessions import Run
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Postprocessing, TensorSpec
from compiler.runner.masks import seen_window
from compiler.runner.read import file_fact


@dataclass(frozen=True, slots=True)
class Task:
    """Images with masks and the metric on them, as the build file names them.

    Args:
        verify: Section of the build file.
        pairs: Images and masks.
        load: Image -> the network's inputs.
        output: Name of the network's output that is a class map, or becomes one.
        rule: How it does.
        reads: As in `Samples`.
        see: What of a mask is compared, as in `Settings`.
    """

    verify: Verify
    pairs: tuple[Pair, ...]
    load: Callable[[Path], Feeds]
    output: str
    rule: Postprocessing
    reads: list[Any] | None
    see: See | None

    def facts(self) -> list[Any] | None:  # Any: JSON
        """What decides the metric of a network; None where that is the user's own code."""
        if self.reads is None:
            return None
        files = [[file_fact(one.image).sha256, file_fact(one.mask).sha256] for one in self.pairs]
        settings = [self.verify.metric, self.verify.classes, self.verify.ignore]
        return [*self.reads, self.output, asdict(self.rule), *settings, *files]

    def measure(self, run: Run) -> tuple[float, int]:
        """The metric in points and the number of images that counted.

        Raises:
            CalibrationError: A mask cannot be read or holds values that are no class.
        """
        metric = self.metric()
        statistics = np.stack(
            [
                metric.statistics(run(self.load(pair.image))[self.output], pair.mask)
                for pair in self.pairs
            ]
        )
        used = metric.use(statistics).used
        if not used:
            raise undefined_metric(metric, str(self.verify.masks))
        return metric.values(statistics)[metric.figure], used

    def metric(self) -> Metric:
        """The metric that the build file names."""
        if self.verify.metric == "mean_iou":
            classes = self.verify.classes or 0
            return mean_iou_metric(self.rule, classes, self.verify.ignore, self.see)
        return foreground_metric("foreground_iou", self.rule, self.see)


def undefined_metric(metric: Metric, masks: str) -> CalibrationError:
    """What to say of masks that decide nothing."""
    return CalibrationError(
        f"{metric.figure} is undefined: in every image there is {metric.nothing}",
        where=masks,
        fix="give masks with foreground (value 125 or more), or with pixels that are not ignored",
    )


def find_task(
    config: BuildConfig,
    chain: Chain | None,
    inputs: Sequence[Input],
    output: TensorSpec,
    rule: Postprocessing | None,
) -> Task | None:
    """The task of the build file, if it names one.

    Raises:
        BuildFileError: The network or its preprocessing does not suit the metric.
        CalibrationError: Images or masks are missing.
    """
    verify = config.verify
    if verify.images is None or verify.masks is None:
        return None
    if chain is None or rule is None:
        what = "process_ops to prepare images" if chain is None else "an output of shape 1×C×H×W"
        raise BuildFileError(
            f"{verify.metric} needs {what}",
            where=f"{config.name}: verify.metric",
            fix="add dataset.process_ops, or remove images, masks and metric",
        )
    pairs = pair_masks(
        resolve_input(verify.images, config.base_dir, where=f"{config.name}: verify.images"),
        resolve_input(verify.masks, config.base_dir, where=f"{config.name}: verify.masks"),
    )
    channels = output.shape[1]
    if verify.metric == "mean_iou" and rule.kind == "argmax" and channels != verify.classes:
        raise BuildFileError(
            f"the network has {channels} classes, the build file says {verify.classes}",
            where=f"{config.name}: verify.classes",
            fix=f"set verify.classes: {channels}",
        )
    load = image_loader(chain, inputs[0])
    see = partial(seen_window, chain.ops, chain.shape)
    return Task(verify, pairs, load, output.name, rule, reads(chain, inputs), see)
