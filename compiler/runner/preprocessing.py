"""The chain that makes a bundle's input from an image: its own, or that of a vdsp JSON."""

import logging
from pathlib import Path

from compiler.errors import BundleError
from compiler.preprocess.chain import Chain
from compiler.runner.manifest import Manifest
from compiler.runner.read import Bundle

_LOG = logging.getLogger(__name__)


def find_chain(
    bundle: Bundle, vdsp_params: str | Path | None, *, allow_custom_code: bool = False
) -> Chain:
    """The preprocessing to use for images.

    Args:
        bundle: With preprocessing of its own, unless a JSON is given.
        vdsp_params: JSON of a vdsp operator that replaces the bundle's own; where the two differ,
            the log warns with both formulas.
        allow_custom_code: Whether a CustomFunc of the bundle may run.

    Raises:
        BundleError: The bundle's chain needs custom code that is not allowed.
        BuildFileError: The JSON cannot be used.
    """
    if vdsp_params is None:
        return bundle_chain(bundle, allow_custom_code=allow_custom_code)
    return vdsp_chain(bundle, Path(vdsp_params))


def bundle_chain(bundle: Bundle, *, allow_custom_code: bool = False) -> Chain:
    """The chain that was used when the bundle was built."""
    facts = bundle.manifest.preprocessing
    if facts is None:
        raise BundleError(
            "the bundle has no preprocessing", where=str(bundle.prefix), fix="give tensors"
        )
    try:
        return Chain.from_list(facts.ops, facts.shape, allow_custom_code=allow_custom_code)
    except ValueError as error:
        raise BundleError(
            f"its preprocessing cannot be used: {error}",
            where=str(bundle.prefix),
            fix="allow custom code if you trust the bundle, or give tensors",
        ) from error


def vdsp_chain(bundle: Bundle, path: Path) -> Chain:
    """The chain that a vdsp JSON describes, for this bundle's input."""
    from compiler.preprocess.vdsp import read_vdsp
    from compiler.preprocess.vdsp_correct import contradiction

    params = read_vdsp(path)
    normalize = bundle.manifest.inputs[0].dtype != "uint8"
    chain = params.chain(image_shape(bundle.manifest), normalize=normalize)
    facts = bundle.manifest.preprocessing
    if facts is not None:
        own = Chain.from_list(facts.ops, facts.shape, allow_custom_code=True)  # it is not called
        if difference := contradiction(params, chain, own, normalize=normalize):
            _LOG.warning("%s: %s", path, difference)
    return chain


def image_shape(manifest: Manifest) -> tuple[int, int, int] | None:
    """(channels, height, width) of the first input; None if it is no image or its size is open."""
    shape = manifest.inputs[0].shape
    if len(shape) != 4 or min(shape[1:]) < 0:
        return None
    return shape[1], shape[2], shape[3]
