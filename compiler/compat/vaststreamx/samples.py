"""The samples of one call, checked: what its caller did wrong is told to the caller, at once."""

import logging
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from compiler.compat.vaststreamx.containers import Image, Tensor
from compiler.compat.vaststreamx.feeds import Feeds, image_feeds, pixel_feeds, tensor_feeds
from compiler.compat.vaststreamx.model import Model
from compiler.compat.vaststreamx.operators import BuildInOperator, chain_of
from compiler.compat.vaststreamx.refusal import refusal
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import Shape
from compiler.preprocess.formula import compare_chains
from compiler.runner.preprocessing import bundle_chain

Given: TypeAlias = Image | Tensor | Sequence[Tensor]
Parameters: TypeAlias = Mapping[str, Sequence[Any]]  # Any: one tuple of numbers, or shapes, each
Sample: TypeAlias = Callable[[], Feeds]  # its work is left to a worker

_LETTERBOX: Final = ("resize_w", "resize_h", "top", "bottom", "left", "right")
_CROP_RESIZE: Final = ("crop_x", "crop_y", "resize_w", "resize_h")
_PARAMETERS: Final = ("rgb_letterbox_ext", "crop_resize_ext", "dynamic_model_input_shapes")
_LOG: Final = logging.getLogger(__name__)
_compared: Final[set[tuple[Path, str]]] = set()


class Samples:
    """Makes the feeds of a graph's model.

    Args:
        operator: Image operator of the graph.
        model: Model of the graph.
    """

    def __init__(self, operator: BuildInOperator | None, model: Model) -> None:
        self._operator = operator
        self._model = model
        self._specs = model.runner.inputs

    def read(self, given: Sequence[Given], parameters: Parameters) -> list[Sample]:
        """Check samples.

        Args:
            given: One element per sample.
            parameters: Of `Stream.run_sync`.

        Raises:
            BundleError: No list, or a sample or parameter that does not fit.
            BuildFileError: Sizes that do not fit the model.
        """
        if not isinstance(given, list | tuple) or not given:
            raise refusal("Stream", f"{given!r:.80} given", "give a list with one image or more")
        known = {name: values for name, values in parameters.items() if name in _PARAMETERS}
        for name, values in known.items():
            if not isinstance(values, Sized) or len(values) != len(given):
                raise refusal(
                    "Stream",
                    f"{name} {values!r:.80} given for {len(given)} samples",
                    "give a list with one value for each",
                )
        return [
            self._sample(one, {name: values[i] for name, values in known.items()})
            for i, one in enumerate(given)
        ]

    def _sample(self, given: Given, parameters: Mapping[str, Any]) -> Sample:
        if isinstance(given, Image):
            return self._image(given, parameters)
        tensors = [given] if isinstance(given, Tensor) else given
        if not isinstance(tensors, list | tuple) or not all(
            isinstance(tensor, Tensor) for tensor in tensors
        ):
            raise refusal(
                "Stream",
                f"a sample of type {type(given).__name__} given",
                "give an Image, or a list of Tensors with one for each input",
            )
        feeds = tensor_feeds(tensors, self._specs)
        return lambda: feeds

    def _image(self, image: Image, parameters: Mapping[str, Any]) -> Sample:
        if len(self._specs) != 1:
            raise refusal(
                "Stream", "an image given", f"the network takes {', '.join(map(str, self._specs))}"
            )
        if self._operator is None:
            feeds = pixel_feeds(image, self._specs[0])
            return lambda: feeds
        params, shape = self._operator.params, _image_shape(self._model.input_shape[0])
        if (shapes := parameters.get("dynamic_model_input_shapes")) is not None:
            self._model.check_shapes("Stream", shapes)
            params = replace(params, oimage_width=None, oimage_height=None)
            shape = _image_shape(shapes[0])
        if (sizes := parameters.get("rgb_letterbox_ext")) is not None:
            params = params.with_letterbox_ext(*_numbers("rgb_letterbox_ext", sizes, _LETTERBOX))
        if (sizes := parameters.get("crop_resize_ext")) is not None:
            params = params.with_crop_resize_ext(*_numbers("crop_resize_ext", sizes, _CROP_RESIZE))
        chain = chain_of(params, shape, normalize=self._specs[0].dtype != "uint8")
        _warn_of_difference(self._model, params.source, chain)
        return partial(image_feeds, image, chain, self._specs[0], params.color_space)


def _numbers(name: str, given: Any, meaning: Sequence[str]) -> list[int]:  # Any: of a script
    """The whole numbers that a run parameter gives for one sample."""
    try:
        numbers = [int(number) for number in given]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(meaning):
        raise refusal(
            "Stream", f"{name} {given!r:.80} given for a sample", f"give ({', '.join(meaning)})"
        )
    return numbers


def _image_shape(shape: Sequence[int]) -> Shape | None:
    """(channels, height, width) of an input; None if it is no image."""
    if len(shape) != 4 or min(shape[1:]) < 0:
        return None
    return int(shape[1]), int(shape[2]), int(shape[3])


def _warn_of_difference(model: Model, source: str, chain: Chain) -> None:
    """Log, once, that a JSON does something else than what the bundle was built with."""
    bundle = model.runner.bundle
    if bundle.manifest.preprocessing is None or (bundle.prefix, source) in _compared:
        return
    _compared.add((bundle.prefix, source))
    if difference := compare_chains(bundle_chain(bundle, allow_custom_code=True), chain):
        _LOG.warning("%s: %s", source, difference)
