"""Calibration and verification samples, as the network's inputs."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import DatasetError, Sample, find_samples, first_samples, load_arrays
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, CalibrationError
from compiler.graph.open_sizes import bounds_of, is_open, smallest_of
from compiler.pipeline.open_sizes import shapes_of
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import CustomFunc, Normalize
from compiler.runner.manifest import TensorSpec

_LOG = logging.getLogger(__name__)
_DTYPES: Final = {"fp16": "float16", "int64": "int64", "int32": "int32", "uint8": "uint8"}

Feeds = Mapping[str, NDArray[Any]]  # Any: whatever element types the network reads


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the network; a size in its shape that is open is an `OpenSize`."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(slots=True)
class Samples:
    """The data set of a build.

    Args:
        calibration: Files to observe the network with, sorted by name.
        held_out: Other files of the same folder, for verification.
        load: File -> the network's inputs.
        skip: Whether a file that cannot be used is left out instead of ending the build.
        skipped: Names of the files that were left out.
        chain: Preprocessing of images; None for arrays.
        reads: What decides the samples besides the files, as JSON; None where that is code.
    """

    calibration: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    load: Callable[[Path], Feeds]
    skip: bool = False
    skipped: list[str] = field(default_factory=list)
    chain: Chain | None = None
    reads: list[Any] | None = None  # Any: JSON

    def facts(self) -> list[Any] | None:  # Any: JSON
        """What decides the calibration samples; None where that is the user's own code."""
        if self.reads is None:
            return None
        return [*self.reads, self.skip, *(sample.sha256 for sample in self.calibration)]

    def remarks(self) -> dict[str, list[str]]:
        """What was noticed while calibration samples were loaded; files by their contents."""
        return {
            "skipped": [one.sha256 for one in self.calibration if one.name in self.skipped],
            "warnings": list(self.chain.warnings()) if self.chain else [],
        }

    def recall(self, remarks: Mapping[str, Sequence[str]]) -> None:
        """Take over `remarks` of an earlier build, as if its samples had been loaded again."""
        unusable = [one.name for one in self.calibration if one.sha256 in remarks["skipped"]]
        self.skipped += [name for name in unusable if name not in self.skipped]
        if self.chain:
            self.chain.recall(remarks["warnings"])

    def spread(self, count: int) -> "Samples":
        """At most `count` of the calibration samples, spread evenly over all of them."""
        step = max(1, -(-len(self.calibration) // count))
        return replace(self, calibration=self.calibration[::step])

    def feeds(self, samples: Iterable[Sample]) -> Iterator[Feeds]:
        """Load samples one by one.

        Raises:
            CalibrationError: A file cannot be used and must not be skipped, or none can be used.
        """
        usable = 0
        for sample in samples:
            try:
                feeds = self.load(sample.path)
            except CalibrationError as error:
                if not self.skip:
                    raise
                _LOG.warning("skipped: %s", error)
                if sample.name not in self.skipped:
                    self.skipped.append(sample.name)
                continue
            usable += 1
            yield feeds
        if not usable:
            raise CalibrationError(
                "none of the calibration files can be used",
                where=", ".join(self.skipped[:5]) or "dataset",
                fix="repair the files, or remove on_error: skip to see the first error",
            )


def declared_inputs(config: BuildConfig) -> tuple[Input, ...]:
    """The network's inputs as the build file gives them; the model file is not read."""
    dtype = np.dtype(_DTYPES.get(config.frontend.dtype or "", "float32"))
    return tuple(Input(name, tuple(shape), dtype) for name, shape in shapes_of(config).items())


def find_build_samples(
    config: BuildConfig,
    inputs: Sequence[Input],
    *,
    held_out: int,
    needed: bool,
    allow_custom_code: bool,
) -> tuple[Samples | None, Chain | None]:
    """Data set and preprocessing of a build.

    Args:
        config: The build file.
        inputs: Of the network.
        held_out: Files wanted for verification besides those for calibration.
        needed: Whether the build observes the network; else the data set may be absent.
        allow_custom_code: Whether CustomFunc may run.

    Returns:
        The samples (None without `dataset.path`, or where they are not needed and not there) and
        the preprocessing (None for arrays).

    Raises:
        CalibrationError: The data set is missing, empty or does not fit the network.
    """
    dataset = config.dataset
    if dataset is None:
        return None, None
    chain = _chain(config, inputs, allow_custom_code)
    if dataset.path is None:
        return None, chain
    sampler = dataset.sampler
    where = f"{config.name}: dataset.path"
    try:
        folder = resolve_input(dataset.path, config.base_dir, where=where)
        found = find_samples(
            folder,
            suffix=sampler.suffix,
            count=sampler.get_data_num + held_out,
            seed=sampler.seed,
            arrays=chain is None,
        )
    except (BuildFileError, DatasetError) as error:
        if not needed:
            return None, chain
        raise CalibrationError(error.what, where=error.where, fix=error.fix) from error
    chosen = first_samples(found, sampler.get_data_num, seed=sampler.seed)
    others = tuple(sample for sample in found if sample not in chosen)
    return Samples(
        chosen,
        others,
        image_loader(chain, inputs[0]) if chain else _array_loader(inputs),
        skip=dataset.on_error == "skip",
        chain=chain,
        reads=reads(chain, inputs),
    ), chain


def random_feeds(inputs: Sequence[Input], count: int) -> Iterator[Feeds]:
    """Seeded inputs for a network without data set.

    Uniform in [0, 1) for floats, in 0 to 255 for 8-bit images; other integers are 0. Open sizes
    are at their largest and at their smallest in turns.
    """
    random = np.random.Generator(np.random.PCG64(0))
    for number in range(count):
        end = smallest_of if number % 2 else int
        yield {one.name: _random_input(random, one, tuple(map(end, one.shape))) for one in inputs}


def _random_input(
    random: np.random.Generator, one: Input, shape: tuple[int, ...]
) -> NDArray[Any]:  # Any: see Feeds
    if one.dtype.kind == "f":
        return random.random(shape).astype(one.dtype)
    if one.dtype == np.uint8 and len(shape) == 4:
        return random.integers(0, 256, shape, np.uint8)
    return np.zeros(shape, one.dtype)


def _chain(config: BuildConfig, inputs: Sequence[Input], allow: bool) -> Chain | None:
    if config.dataset is None or not config.dataset.process_ops:
        return None
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        names = ", ".join(f"{one.name} {list(one.shape)}" for one in inputs)
        raise BuildFileError(
            f"process_ops prepare one image, but the network reads {names}",
            where=f"{config.name}: dataset.process_ops",
            fix="remove process_ops and give .npz files whose arrays are named as the inputs",
        )
    _, *shape = inputs[0].shape
    channels, height, width = shape
    ops = config.dataset.process_ops
    if config.graph.fold_normalization:  # then the network does it
        ops = tuple(op for op in ops if not isinstance(op, Normalize))
    # Where the size is open, the operations decide it, or else the image.
    size = None if is_open(shape) else (channels, height, width)
    try:
        return Chain(ops, size, allow_custom_code=allow)
    except ValueError as error:
        raise CalibrationError(
            str(error),
            where=f"{config.name}: dataset.process_ops",
            fix="correct process_ops, or frontend.shape",
        ) from error


def reads(chain: Chain | None, inputs: Sequence[Input]) -> list[Any] | None:  # Any: JSON
    """What decides the arrays that a file becomes."""
    if chain and any(isinstance(op, CustomFunc) for op in chain.ops):
        return None
    wanted = [[one.name, list(one.shape), one.dtype.name] for one in inputs]
    return [wanted, [*chain.to_list(), list(chain.shape or ())] if chain else []]


def image_loader(chain: Chain, image: Input) -> Callable[[Path], Feeds]:
    """Image file -> the network's only input."""
    spec = TensorSpec(image.name, image.shape, image.dtype.name, bounds_of(image.shape))

    def load(path: Path) -> Feeds:
        tensor = chain(path)
        if not spec.takes(tensor.shape):
            raise CalibrationError(
                f"process_ops give {list(tensor.shape)}, the network's input is {spec}",
                where=str(path),
                fix="add a Resize to process_ops that gives a size in this range, widen "
                "frontend.shape, or remove the image",
            )
        return {image.name: tensor.astype(image.dtype, copy=False)}

    return load


def _array_loader(inputs: Sequence[Input]) -> Callable[[Path], Feeds]:
    wanted = {
        one.name: (bounds_of(one.shape) if is_open(one.shape) else one.shape, one.dtype)
        for one in inputs
    }

    def load(path: Path) -> Feeds:
        try:
            sample = load_arrays(path, wanted)
        except DatasetError as error:
            raise CalibrationError(error.what, where=error.where, fix=error.fix) from error
        if sample.note:
            _LOG.warning("%s: %s", path, sample.note)
        return sample.arrays

    return load
