"""A look at a few files of a data set, through the preprocessing that the build will use."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import CalibrationError
from compiler.evaluate.pairs import note_sizes, pair_folders, pair_masks, some
from compiler.pipeline.check_findings import Collector
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.spread import spread
from compiler.pipeline.task import Task
from compiler.runner.manifest import TensorSpec

_ANY_SIZE: Final = 8  # of an output whose size the image decides


def load_some(samples: Samples, verified: int, count: int, findings: Collector) -> Samples | None:
    """Load some of the files that a build would.

    Args:
        samples: The data set of the build.
        verified: Number of held-out files that it would use.
        count: Files to load, spread evenly over all of them.
        findings: Gets each file that cannot be used.

    Returns:
        Those that can be, already loaded; None if none can.
    """
    every = sorted(
        (*samples.calibration, *samples.held_out[:verified]), key=lambda sample: sample.name
    )
    chosen = spread(every, count)
    loaded: dict[Path, Feeds] = {}
    failures = []
    for sample in chosen:
        try:
            loaded[sample.path] = samples.load(sample.path)
        except CalibrationError as error:
            failures.append(error)
    fails = not samples.skip or (not loaded and len(chosen) == len(every))
    for failure in failures:
        findings.failure("data", failure, "error" if fails else "warning")
    if len(chosen) < len(every):
        findings.note("data", [f"{len(chosen)} of {len(every)} files were decoded"])
    calibration, held_out = (
        tuple(sample for sample in part if sample.path in loaded)
        for part in (samples.calibration, samples.held_out)
    )
    if not calibration:
        return None
    return replace(samples, calibration=calibration, held_out=held_out, load=loaded.__getitem__)


def check_masks(task: Task, output: TensorSpec, count: int, findings: Collector) -> None:
    """Decode some of the images and masks of a task, spread evenly, and compare their values.

    Args:
        task: Of the build.
        output: Output of the network that the metric takes.
        count: Pairs to look at.
        findings: Gets each file that cannot be used.
    """
    metric, chosen = task.metric(), spread(task.pairs, count)
    shape = [size if size > 0 else _ANY_SIZE for size in output.shape]
    blank = np.zeros(shape, output.dtype)
    for pair in chosen:
        findings.attempt("verification", task.load, pair.image)
        findings.attempt("verification", metric.statistics, blank, pair.mask)
    findings.note("verification", findings.attempt("verification", note_sizes, chosen) or ())


def check_pairs(config: BuildConfig) -> tuple[str, ...]:
    """Look for the mask of every image.

    Returns:
        What there is to know about masks that no image has.

    Raises:
        ModcError: A folder or a mask is missing.
    """
    verify, name = config.verify, config.name
    if verify.images is None or verify.masks is None:
        return ()
    images, masks = (
        resolve_input(path, config.base_dir, where=f"{name}: verify.{key}")
        for key, path in (("images", verify.images), ("masks", verify.masks))
    )
    pair_masks(images, masks)
    alone = [path.name for path in pair_folders(images, masks).without_image]
    return (f"{len(alone)} mask(s) have no image: {some(alone)}",) if alone else ()
