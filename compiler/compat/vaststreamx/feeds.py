"""One sample of a script, an image or a list of tensors, becomes the feeds of a network."""

from collections.abc import Sequence

import numpy as np

from compiler.compat.vaststreamx.containers import Array, Image, Tensor
from compiler.compat.vaststreamx.images import as_rgb
from compiler.compat.vaststreamx.refusal import refusal
from compiler.compat.vaststreamx.space_to_depth import PatchMatrix
from compiler.compat.vaststreamx.tiles import from_tiles, is_tiled
from compiler.preprocess.chain import Chain
from compiler.preprocess.formats import ColorSpace
from compiler.runner.inputs import split_samples
from compiler.runner.manifest import TensorSpec

Feeds = dict[str, Array]


def image_feeds(
    image: Image, chain: Chain, spec: TensorSpec, color_space: ColorSpace = "BT601"
) -> Feeds:
    """Feeds of a network with one input, from an image through preprocessing.

    Raises:
        CalibrationError: The image does not fit the chain.
        BundleError: The chain's result does not fit the network.
    """
    tensor = chain(as_rgb(image, color_space)).astype(spec.dtype, copy=False)
    if split_samples(spec, tensor) is None:
        raise refusal(
            "Stream", f"preprocessing gives shape {list(tensor.shape)}", f"the network takes {spec}"
        )
    return {spec.name: tensor}


def pixel_feeds(image: Image, spec: TensorSpec) -> Feeds:
    """Feeds of a network that takes the bytes of an image, from the image as it is.

    Raises:
        BundleError: The network takes anything else.
    """
    return {spec.name: _fitted(image.pixels, spec)}


def tensor_feeds(tensors: Sequence[Tensor], specs: Sequence[TensorSpec]) -> Feeds:
    """Feeds from tensors in the order of the inputs.

    Raises:
        BundleError: Another number of tensors, or one that does not fit its input.
    """
    if len(tensors) != len(specs):
        raise refusal(
            "Stream",
            f"{len(tensors)} tensors given for a sample",
            f"the network takes {', '.join(map(str, specs))}",
        )
    return {
        spec.name: _fitted(_array_of(tensor, spec), spec)
        for tensor, spec in zip(tensors, specs, strict=True)
    }


def _array_of(tensor: Tensor, spec: TensorSpec) -> Array:
    """The array of a tensor; of a matrix of patches, for a network that takes images, the image."""
    if isinstance(tensor, PatchMatrix) and len(spec.shape) == 4:
        return tensor.image()
    return tensor.numpy()


def _fitted(array: Array, spec: TensorSpec) -> Array:
    """The array in the input's type: scripts give float16 and int32 for float32 and int64."""
    target = np.dtype(spec.dtype)
    same_kind = np.can_cast(array.dtype, target, "same_kind")
    if is_tiled(array.shape) and len(spec.shape) == 4:
        untiled = from_tiles(array, spec.shape)
        array = array if untiled is None else untiled
    samples = split_samples(spec, array.astype(target)) if same_kind else None
    if samples is None or len(samples) != 1:
        raise refusal(
            "Stream", f"tensor {array.dtype}{list(array.shape)} given", f"the network takes {spec}"
        )
    return samples[0]
