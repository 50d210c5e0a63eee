"""Write the full-size UNet3+ with seeded weights, and pictures to calibrate it with.

    python -m compiler.zoo.full_size --out bench

writes `unet3p_full.onnx` (26.97 million parameters, 108 MB) and `images/`. The network is not
trained: it serves to measure memory and time, for which only shapes and sane values matter.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compiler.zoo.command import exit_code_of, require_torch
from compiler.zoo.portraits import portrait, write_portraits

logger = logging.getLogger(__name__)

BASE = 64
SKIP = 64
SETTLING_SEEDS = range(2000, 2008)


def write_full_size(out: Path, *, images: int = 50, base: int = BASE, skip: int = SKIP) -> Path:
    """Write the network and its pictures.

    Weights follow Kaiming; scales, shifts and biases are spread around 1 and 0, so that no two
    tensors are equal. Running means and variances are those of a batch of portraits.

    Args:
        out: Folder of the result; made if absent.
        images: Number of calibration pictures, 128×128.
        base: Channels of the first encoder level.
        skip: Channels of each decoder branch.

    Returns:
        The ONNX file.

    Raises:
        MissingRequirementError: PyTorch is not installed.
    """
    require_torch("compiler.zoo.full_size")
    import torch

    from compiler.zoo.unet3p import UNet3Plus, export_onnx

    write_portraits(out / "images", range(images))
    torch.manual_seed(0)
    network = UNet3Plus(base=base, skip=skip)
    pictures = np.stack([portrait(seed)[0][..., ::-1] for seed in SETTLING_SEEDS])
    batch = torch.from_numpy(pictures.transpose(0, 3, 1, 2) / np.float32(255))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_(1, 0.1)
                module.momentum = None  # a plain average instead of a moving one
            if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.Conv2d)):
                module.bias.normal_(0, 0.1)
        network.train()(batch)
    checkpoint = out / "unet3p_full.onnx"
    export_onnx(network, checkpoint)
    count = sum(weight.numel() for weight in network.parameters())
    logger.info("%s: %.2f million parameters", checkpoint, count / 1e6)
    return checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compiler.zoo.full_size", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--images", type=int, default=50, help="number of pictures (default 50)")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: write_full_size(options.out, images=options.images))


if __name__ == "__main__":
    raise SystemExit(main())
