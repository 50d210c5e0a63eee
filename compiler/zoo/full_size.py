"""Write full-size networks with seeded weights, and pictures to calibrate them with.

    python -m compiler.zoo.full_size --out bench

writes `unet3p_full.onnx` (26.97 million parameters, 108 MB) and `images/`. `--network` chooses
other networks, or `all`; each becomes `<name>_full.onnx`. The networks are not trained: they
serve to measure memory and time, for which only shapes and sane values matter.
"""

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compiler.zoo.command import exit_code_of, require_torch
from compiler.zoo.portraits import portrait, write_portraits

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

SETTLING_SEEDS = range(2000, 2008)


@dataclass(frozen=True, slots=True)
class Network:
    """One row: how a network is built, and the size it is exported for."""

    builder: str  # module:name; imported when called, for it needs PyTorch
    options: Mapping[str, int]  # the builder's arguments
    size: int  # height and width of the input in pixels


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "unet3p": Network("compiler.zoo.unet3p:UNet3Plus", {"base": 64, "skip": 64}, 128),
        "unet_bilinear": Network("compiler.zoo.unet:unet_bilinear", {"base": 64}, 512),
        "unet_transpose": Network("compiler.zoo.unet:unet_transpose", {"base": 64}, 512),
        "unet_nearest": Network("compiler.zoo.unet:unet_nearest", {"base": 64}, 256),
        "deeplabv3p_resnet50": Network(
            "compiler.zoo.deeplab:DeepLabV3Plus", {"base": 64, "width": 256}, 513
        ),
        "deeplabv3_mobilenetv2": Network("compiler.zoo.deeplab:DeepLabV3", {"width": 256}, 513),
    }
)


def write_full_size(
    out: Path, *, names: Iterable[str] = ("unet3p",), images: int = 50
) -> tuple[Path, ...]:
    """Write networks of the table and their pictures.

    Args:
        out: Folder of the result; made if absent.
        names: Keys of `NETWORKS`.
        images: Number of calibration pictures, 128×128.

    Returns:
        The ONNX files, `<name>_full.onnx`.

    Raises:
        MissingRequirementError: PyTorch is not installed.
    """
    require_torch("compiler.zoo.full_size")
    write_portraits(out / "images", range(images))
    return tuple(write_network(NETWORKS[name], out / f"{name}_full.onnx") for name in names)


def write_network(network: Network, path: Path) -> Path:
    """Write one network with seeded weights.

    Weights follow Kaiming; scales, shifts and biases are spread around 1 and 0, so that no two
    tensors are equal. Running means and variances are those of a batch of portraits. A network
    without BatchNormalization has its convolutions scaled and shifted instead, so that on this
    batch each channel has mean 0 and variance 1: left alone, its output would hardly vary.

    Args:
        network: What to build.
        path: ONNX file to write; its folder is made if absent.

    Returns:
        `path`.

    Source: Mishkin & Matas, "All You Need Is a Good Init", ICLR 2016, for the standardising.
    """
    import torch

    from compiler.zoo.unet3p import export_onnx

    torch.manual_seed(0)
    module = resolve_name(network.builder)(**network.options)
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    biased = [layer for layer in module.modules() if getattr(layer, "bias", None) is not None]
    with torch.no_grad():
        for layer in biased:
            if layer in norms:
                layer.weight.normal_(1, 0.1)
                layer.momentum = None  # a plain average instead of a moving one
            layer.bias.normal_(0, 0.1)
        hooks = [] if norms else [layer.register_forward_hook(_standardise) for layer in biased]
        module.train()(torch.from_numpy(_settling_batch(network.size)))
    for hook in hooks:
        hook.remove()
    export_onnx(module, path, shape=(1, 3, network.size, network.size))
    count = sum(weight.numel() for weight in module.parameters())
    logger.info("%s: %.2f million parameters", path, count / 1e6)
    return path


def _standardise(conv: "nn.Conv2d", _inputs: object, outputs: "Tensor") -> "Tensor":
    """Change weight and bias so that each output channel has mean 0 and variance 1."""
    mean, deviation = outputs.mean((0, 2, 3)), outputs.std((0, 2, 3))
    conv.weight /= deviation.reshape(-1, 1, 1, 1)
    conv.bias.sub_(mean).div_(deviation)
    return (outputs - mean.reshape(-1, 1, 1)) / deviation.reshape(-1, 1, 1)


def _settling_batch(size: int) -> NDArray[np.float32]:
    """Portraits resized to `size`, BGR, 0…1, shape (N, 3, size, size)."""
    pictures = [
        np.asarray(Image.fromarray(portrait(seed)[0]).resize((size, size)))[..., ::-1]
        for seed in SETTLING_SEEDS
    ]
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compiler.zoo.full_size", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--network",
        nargs="+",
        choices=[*NETWORKS, "all"],
        default=["unet3p"],
        metavar="NAME",
        help=f"{', '.join(NETWORKS)} or all (default unet3p)",
    )
    parser.add_argument("--images", type=int, default=50, help="number of pictures (default 50)")
    options = parser.parse_args(arguments)
    names = NETWORKS if "all" in options.network else options.network
    return exit_code_of(partial(write_full_size, options.out, names=names, images=options.images))


if __name__ == "__main__":
    raise SystemExit(main())
