"""Run a bundle: tensors or images in, output tensors out.

    with Runner("deploy_weights/official_unet3p_int8/mod", threads=2) as runner:
        outputs = runner.run(["a.jpg", "b.jpg"])  # {"output": (2, 1, 128, 128) float32}

Needs numpy and onnxruntime; the image library is imported when the first image is given.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compiler.errors import BundleError, ModcError
from compiler.runner import onnxruntime
from compiler.runner.cpu import run_warnings
from compiler.runner.manifest import Manifest, TensorSpec
from compiler.runner.onnxruntime import Provider, Session, Tensor
from compiler.runner.read import Bundle, use_bundle

Image: TypeAlias = str | Path | bytes | NDArray[np.uint8]
Chain: TypeAlias = Callable[[Image], Tensor]

_LOG = logging.getLogger(__name__)
_MOST_THREADS: Final = 1024
_ACCEPTED: Final = (
    "accepted: an array, a mapping of input names to arrays, or one image or a sequence of them "
    "(path, bytes of a file, RGB uint8 array)"
)


class Runner:
    """A bundle, loaded and checked.

    `run` may be called from several threads.

    Args:
        prefix: `…/<name>/mod`, `…/<name>` or `…/<name>/mod.json`.
        threads: Threads of one operator, 1 to 1024; None takes every CPU that this process may use.
        providers: ONNX Runtime execution providers in order of preference, by full or short name
            ("CUDA"), alone or as (name, options); a plain string is one; None is the CPU.
        check: Compare the contents of every file with its hash; False compares sizes only.
        allow_custom_code: Whether the bundle's preprocessing may import and call a Python file.

    Raises:
        BundleError: No bundle there; torn, edited, of a newer format, or not loadable; or a wrong
            number of threads.
        MissingRequirementError: A provider is absent; the error lists those present.
    """

    def __init__(
        self,
        prefix: str | Path,
        *,
        threads: int | None = None,
        providers: Sequence[Provider] | None = None,
        check: bool = True,
        allow_custom_code: bool = False,
    ) -> None:
        if threads is not None and not _is_thread_count(threads):
            raise BundleError(
                f"threads {threads!r} asked for",
                where=str(prefix),
                fix=f"give a whole number from 1 to {_MOST_THREADS}",
            )

        def load(bundle: Bundle) -> tuple[Bundle, Session]:
            return bundle, _load(bundle, threads, providers)

        bundle, session = use_bundle(prefix, load, check=check)
        if session.on_cpu:
            for warning in run_warnings(bundle.manifest.quantization):
                _LOG.warning("%s: %s", bundle.prefix, warning)
        self.bundle = bundle
        self._session: Session | None = session
        self._chain: Chain | None = None
        self._allow_custom_code = allow_custom_code

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.outputs

    def run(
        self, inputs: Mapping[str, Tensor] | Tensor | Image | Sequence[Image]
    ) -> dict[str, Tensor]:
        """Outputs by name, one sample after another, joined along their leading 1.

        Args:
            inputs: Tensors by input name; or the tensor of the only input; or one image or a
                sequence of them: paths, bytes of files, or RGB uint8 arrays (H, W, 3), which go
                through the bundle's own preprocessing. A tensor has the input's shape, or that
                shape without its leading 1, or with N in its place. A uint8 array is an image
                unless it is a tensor for an input that is uint8 itself.

        Raises:
            BundleError: Wrong type, name, shape or dtype (the error lists what is expected);
                several samples where an output has no leading 1; or a run that fails.
            CalibrationError: An image that cannot be read, or does not fit the preprocessing.
        """
        if isinstance(inputs, Mapping):
            samples = self._from_tensors(inputs)
        elif isinstance(inputs, np.ndarray) and not self._is_image(inputs):
            samples = self._from_tensors({self._only_input().name: inputs})
        else:
            samples = self._from_images(inputs)
        results = [self._run_sample(sample) for sample in samples]
        if len(results) == 1:
            return results[0]
        return {name: self._join(name, [result[name] for result in results]) for name in results[0]}

    def close(self) -> None:
        """Free the network's memory; the runner cannot run afterwards."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run_sample(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._session is None:
            raise self._error("the runner is closed", "run inside its 'with' block")
        try:
            return self._session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise self._error(f"the network failed: {error}", "check the input tensors") from error

    def _check_joinable(self, samples: int) -> None:
        if samples > 1:
            for spec in self.outputs:
                if spec.shape[:1] != (1,):
                    raise self._not_joinable(spec.name, spec.shape)

    def _join(self, name: str, results: Sequence[Tensor]) -> Tensor:
        for result in results:
            if result.shape[:1] != (1,):  # the declared shape was wrong
                raise self._not_joinable(name, result.shape)
        return np.concatenate(results)

    def _not_joinable(self, name: str, shape: Sequence[int]) -> BundleError:
        return self._error(
            f"output {name} of shape {list(shape)} has no batch dimension of 1, so that the "
            "results of several samples cannot be joined",
            "run the samples one by one",
        )

    def _from_tensors(self, given: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        expected = {spec.name: spec for spec in self.inputs}
        if set(given) != set(expected):
            raise self._wrong_input(f"tensors {sorted(map(str, given))} given")
        batches = {name: self._batch(expected[name], array) for name, array in given.items()}
        sizes = {name: batch.shape[0] for name, batch in batches.items()}
        if len(set(sizes.values())) != 1:
            raise self._wrong_input(f"batch sizes differ: {sizes}")
        count = next(iter(sizes.values()))
        if count == 0:
            raise self._wrong_input("an empty batch given")
        self._check_joinable(count)
        return ({name: batch[i] for name, batch in batches.items()} for i in range(count))

    def _batch(self, spec: TensorSpec, array: Tensor) -> Tensor:
        """Array as (samples, *spec.shape)."""
        if not isinstance(array, np.ndarray):
            raise self._wrong_input(f"{spec.name}: {type(array).__name__} given, not an array")
        if not _fits(spec, array):
            raise self._wrong_input(f"{spec.name} {array.dtype}{list(array.shape)} given")
        return array.reshape(-1, *spec.shape)

    def _is_image(self, array: Tensor) -> bool:
        if array.dtype != np.uint8:
            return False
        spec = self._only_input()
        if spec.dtype != "uint8":
            return True
        return self.manifest.preprocessing is not None and not _fits(spec, array)

    def _from_images(self, given: Image | Sequence[Image]) -> Iterator[dict[str, Tensor]]:
        images = self._listed(given)
        if not images:
            raise self._wrong_input("no image given")
        for image in images:
            self._check_image(image)
        spec, chain = self._only_input(), self._preprocessing()
        self._check_joinable(len(images))
        return ({spec.name: self._image(spec, chain, image)} for image in images)

    def _listed(self, given: Image | Iterable[Image]) -> list[Image]:
        if isinstance(given, str | Path | bytes):
            return [given]
        if isinstance(given, np.ndarray) and given.ndim < 4:
            return [given]
        try:
            images = iter(given)
        except TypeError as error:
            raise self._wrong_input(f"{type(given).__name__} given; {_ACCEPTED}") from error
        return list(images)

    def _check_image(self, image: object) -> None:
        if isinstance(image, np.ndarray):
            takes_uint8 = any(spec.dtype == "uint8" for spec in self.inputs)
            maybe_pixels = self.manifest.preprocessing is not None or not takes_uint8
            if image.dtype != np.uint8 or not maybe_pixels:
                raise self._wrong_input(
                    f"a sequence with a {image.dtype} array given; tensors are given as one array "
                    "or by name, and a sequence holds images"
                )
        elif not isinstance(image, str | Path | bytes):
            raise self._wrong_input(
                f"a sequence with an element of type {type(image).__name__} given; {_ACCEPTED}"
            )

    def _image(self, spec: TensorSpec, chain: Chain, image: Image) -> Tensor:
        tensor = chain(image).astype(spec.dtype, copy=False)
        if tensor.shape != spec.shape:
            raise self._wrong_input(f"preprocessing gives shape {list(tensor.shape)}")
        return tensor

    def _preprocessing(self) -> Chain:
        if self._chain is None:
            facts = self.manifest.preprocessing
            if facts is None:
                raise self._wrong_input("an image given, but the bundle has no preprocessing")
            from compiler.preprocess.chain import Chain  # brings the image library

            try:
                self._chain = Chain.from_list(
                    facts.ops, facts.shape, allow_custom_code=self._allow_custom_code
                )
            except ValueError as error:
                raise self._error(
                    f"its preprocessing cannot be used: {error}",
                    "allow custom code if you trust the bundle, or give tensors",
                ) from error
        return self._chain

    def _only_input(self) -> TensorSpec:
        if len(self.inputs) != 1:
            raise self._wrong_input("one value given for a network with several inputs")
        return self.inputs[0]

    def _wrong_input(self, what: str) -> BundleError:
        return self._error(what, f"expected: {', '.join(map(str, self.inputs))}")

    def _error(self, what: str, fix: str) -> BundleError:
        return BundleError(what, where=str(self.bundle.prefix), fix=fix)


def _fits(spec: TensorSpec, array: Tensor) -> bool:
    """Whether an array is the tensor of an input, or several along its leading 1."""
    shape = tuple(array.shape)
    batchable = spec.shape[:1] == (1,)
    batched = batchable and shape[1:] == spec.shape[1:] and array.ndim > 0
    single = shape == spec.shape or (batchable and shape == spec.shape[1:])
    return array.dtype == np.dtype(spec.dtype) and (single or batched)


def _is_thread_count(threads: object) -> bool:
    if isinstance(threads, bool) or not isinstance(threads, int):
        return False
    return 1 <= threads <= _MOST_THREADS


def _load(bundle: Bundle, threads: int | None, providers: Sequence[Provider] | None) -> Session:
    bfloat16 = bundle.manifest.quantization.get("dtype") == "bf16"
    try:
        return onnxruntime.load(
            bundle.model, threads=threads, providers=providers, bfloat16=bfloat16
        )
    except ModcError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise BundleError(
            f"onnxruntime cannot load it: {error}",
            where=str(bundle.model),
            fix="update onnxruntime, or build the bundle again with the installed one",
        ) from error
