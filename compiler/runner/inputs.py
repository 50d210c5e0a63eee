"""From what a caller gives (tensors or images) to the feeds of one sample after another."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compiler.errors import BundleError, MissingRequirementError
from compiler.runner.engine import Tensor
from compiler.runner.manifest import TensorSpec

if TYPE_CHECKING:
    from compiler.preprocess.chain import Chain

Image: TypeAlias = str | Path | bytes | NDArray[np.uint8]
Feeds: TypeAlias = dict[str, Tensor]
Given: TypeAlias = Mapping[str, Tensor] | Tensor | Image | Sequence[Image]

_ACCEPTED: Final = (
    "accepted: an array, a mapping of input names to arrays, or one image or a sequence of them "
    "(path, bytes of a file, RGB uint8 array)"
)


class Inputs:
    """The inputs of a bundle, and the preprocessing that makes one of them from an image.

    Args:
        specs: Inputs of the graph, in its order.
        takes_images: Whether images can be given, which decides what a uint8 array is.
        find_chain: Called with the first image; the chain from image to tensor.
        where: Prefix of the bundle, for errors.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        find_chain: "Callable[[], Chain]",
        *,
        takes_images: bool,
        where: str,
    ) -> None:
        self._specs = tuple(specs)
        self._takes_images = takes_images
        self._find_chain = find_chain
        self._found: Chain | None = None
        self._finding = Lock()  # so that what it warns of is said once
        self._where = where

    def samples(self, given: Given) -> tuple[int, Iterator[Feeds]]:
        """Number of samples, and the feeds of each, prepared one by one.

        Raises:
            BundleError: As `Runner.run`; of an image, when it is its turn.
        """
        if isinstance(given, Mapping):
            return self._from_tensors(given)
        if isinstance(given, np.ndarray) and not self._is_image(given):
            return self._from_tensors({self._only().name: given})
        images = self._listed(given)
        if not images:
            raise self.refusal("no image given")
        for image in images:
            self._check_image(image)
        with self._image_library():
            self.chain()
        return len(images), map(self._from_image, images)

    def one(self, given: Given) -> Feeds:
        """Feeds of exactly one sample.

        Raises:
            BundleError: As `Runner.run`, or several samples given.
        """
        count, samples = self.samples(given)
        if count != 1:
            raise self.refusal(f"{count} samples given in place of one")
        return next(samples)

    def check(self, feeds: Mapping[str, Tensor]) -> None:
        """Refuse what are no feeds of one sample: engines may compute with it all the same.

        Raises:
            BundleError: Wrong type, name, shape or dtype.
        """
        if not isinstance(feeds, Mapping):
            raise self.refusal(f"{type(feeds).__name__} given; feeds are arrays by input name")
        self._check_names(feeds)
        for spec in self._specs:
            array = feeds[spec.name]
            self._check_array(spec, array)
            if array.dtype != spec.dtype or not spec.takes(array.shape):
                raise self._misfit(spec, array)

    def chain(self) -> "Chain":
        """What images go through.

        Raises:
            BundleError: No image can be given; or as the function that finds the chain.
        """
        self._only()
        with self._finding:
            if self._found is None:
                if not self._takes_images:
                    raise self.refusal("an image given, but the bundle has no preprocessing")
                self._found = self._find_chain()
            return self._found

    def refusal(self, what: str) -> BundleError:
        """The error for a wrong input; it lists what the network takes."""
        return BundleError(
            what, where=self._where, fix=f"expected: {', '.join(map(str, self._specs))}"
        )

    def _from_tensors(self, given: Mapping[str, Tensor]) -> tuple[int, Iterator[Feeds]]:
        self._check_names(given)
        split = {spec.name: self._split(spec, given[spec.name]) for spec in self._specs}
        sizes = {name: len(samples) for name, samples in split.items()}
        if len(set(sizes.values())) != 1:
            raise self.refusal(f"batch sizes differ: {sizes}")
        count = next(iter(sizes.values()))
        if count == 0:
            raise self.refusal("an empty batch given")
        return count, ({name: one[i] for name, one in split.items()} for i in range(count))

    def _split(self, spec: TensorSpec, array: Tensor) -> list[Tensor]:
        self._check_array(spec, array)
        samples = split_samples(spec, array)
        if samples is None:
            raise self._misfit(spec, array)
        return samples

    def _check_names(self, given: Mapping[str, Tensor]) -> None:
        if set(given) != {spec.name for spec in self._specs}:
            raise self.refusal(f"tensors {sorted(map(str, given))} given")

    def _check_array(self, spec: TensorSpec, array: Tensor) -> None:
        if not isinstance(array, np.ndarray):
            raise self.refusal(f"{spec.name}: {type(array).__name__} given, not an array")

    def _misfit(self, spec: TensorSpec, array: Tensor) -> BundleError:
        return self.refusal(f"{spec.name} {array.dtype}{list(array.shape)} given")

    def _is_image(self, array: Tensor) -> bool:
        if array.dtype != np.uint8:
            return False
        spec = self._only()
        if spec.dtype != "uint8":
            return True
        return self._takes_images and split_samples(spec, array) is None

    def _listed(self, given: Image | Iterable[Image]) -> list[Image]:
        if isinstance(given, str | Path | bytes):
            return [given]
        if isinstance(given, np.ndarray) and given.ndim < 4:
            return [given]
        try:
            images = iter(given)
        except TypeError as error:
            raise self.refusal(f"{type(given).__name__} given; {_ACCEPTED}") from error
        return list(images)

    def _check_image(self, image: object) -> None:
        if isinstance(image, np.ndarray):
            takes_uint8 = any(spec.dtype == "uint8" for spec in self._specs)
            if image.dtype != np.uint8 or (takes_uint8 and not self._takes_images):
                raise self.refusal(
                    f"a sequence with a {image.dtype} array given; tensors are given as one array "
                    "or by name, and a sequence holds images"
                )
        elif not isinstance(image, str | Path | bytes):
            raise self.refusal(
                f"a sequence with an element of type {type(image).__name__} given; {_ACCEPTED}"
            )

    def _from_image(self, image: Image) -> Feeds:
        spec = self._only()
        with self._image_library():
            tensor = self.chain()(image).astype(spec.dtype, copy=False)
        if not spec.takes(tensor.shape):
            name = f"{image}: " if isinstance(image, str | Path) else ""
            raise self.refusal(f"{name}preprocessing gives shape {list(tensor.shape)}")
        return {spec.name: tensor}

    @contextmanager
    def _image_library(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise MissingRequirementError(
                f"images need {error.name}, which is not installed",
                where=self._where,
                fix="pip install opencv-python-headless Pillow, or give tensors",
            ) from error

    def _only(self) -> TensorSpec:
        if len(self._specs) != 1:
            raise self.refusal("one value given for a network with several inputs")
        return self._specs[0]


def split_samples(spec: TensorSpec, array: Tensor) -> list[Tensor] | None:
    """Tensors of an input, each as the network takes it.

    Args:
        spec: The input.
        array: A tensor of the input; or one without its leading 1; or several along it.

    Returns:
        None where the array's shape or dtype does not fit.
    """
    if array.dtype != np.dtype(spec.dtype):
        return None
    if spec.takes(array.shape):
        return [array]
    if spec.takes((1, *array.shape)):
        return [array[None]]
    one_by_one = spec.shape[:1] == (1,) and array.ndim > 0
    if one_by_one and spec.takes((1, *array.shape[1:])):
        return [array[i : i + 1] for i in range(len(array))]
    return None
