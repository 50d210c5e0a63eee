"""A look at a data set: some files through the build's own preprocessing, others at the start."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from calibration.dataset import Sample
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import CalibrationError
from compiler.evaluate.pairs import note_sizes, pair_folders, pair_masks, some
from compiler.pipeline.check_findings import Collector
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.spread import spread
from compiler.pipeline.task import Task
from compiler.preprocess.ops import DecodeImage
from compiler.runner.manifest import TensorSpec

_ANY_SIZE: Final = 8  # of an output whose size the image decides
_ARRAY_STARTS: Final = (b"PK", b"\x93NUMPY")  # of .npz and .npy files


def load_some(samples: Samples, verified: int, count: int, findings: Collector) -> Samples | None:
    """Load some of the files that a build would, and look at how the others begin.

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
    others = _refused(samples, [sample for sample in every if sample not in chosen])
    fails = not samples.skip or len(failures) + len(others) == len(every)
    for failure in (*failures, *_summed_up(others)):
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


def _refused(samples: Samples, files: Sequence[Sample]) -> list[CalibrationError]:
    """What a build would say of the files that do not begin as one that can be used."""
    chain = samples.chain
    if chain is not None and not any(isinstance(op, DecodeImage) for op in chain.ops):
        return []  # only the user's own code knows the format
    begins = _begins_as_array if chain is None else _begins_as_image
    refused = []
    for sample in files:
        if not begins(sample.path):
            try:
                samples.load(sample.path)
            except CalibrationError as error:
                refused.append(error)
    return refused


def _begins_as_array(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(6).startswith(_ARRAY_STARTS)
    except OSError:
        return False


def _begins_as_image(path: Path) -> bool:
    """Whether Pillow knows the format, by the header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.open(path).close()
    except Exception:  # headers of damaged files raise many classes; loading says what is wrong
        return False
    return True


def _summed_up(refused: Sequence[CalibrationError]) -> Sequence[CalibrationError]:
    """The first, with the number of the others."""
    if len(refused) < 2:
        return refused
    first, count = refused[0], len(refused) - 1
    others = f"{count} other file{'' if count == 1 else 's'}"
    what = f"{first.what} (nor can {others} be used)"
    return [CalibrationError(what, where=first.where, fix=first.fix)]


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
