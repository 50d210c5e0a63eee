"""UNet3+ in PyTorch: five levels, each decoder level reading all the others.

With `base` filters the encoder has base, 2 base, 4 base, 8 base and 16 base channels. A decoder
level takes every shallower encoder level (max pooled), its own encoder level, every deeper decoder
level and the deepest encoder level (bilinearly enlarged), brings each of these five to `skip`
channels, and mixes the 5 skip channels that their concatenation has.

Source: Huang et al., "UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation",
ICASSP 2020, without deep supervision and the classification-guided module.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 5
OPSET = 17


class UNet3Plus(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """One-logit segmentation network.

    Args:
        base: Channels of the first encoder level; 64 in the paper.
        skip: Channels of each of the five branches of a decoder level; 64 in the paper.

    The input has shape (N, 3, H, W) with H and W multiples of 16, the output (N, 1, H, W).
    """

    def __init__(self, *, base: int, skip: int) -> None:
        super().__init__()
        widths = [base << level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(
            nn.Sequential(*_block(before, width), *_block(width, width))
            for before, width in zip([3, *widths], widths, strict=False)
        )
        self.decoder = nn.ModuleList(
            _DecoderLevel(level, widths, skip) for level in range(LEVELS - 1)
        )
        self.head = _conv(LEVELS * skip, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit of the foreground for every pixel."""
        features: list[Tensor] = []
        for encode in self.encoder:
            image = encode(F.max_pool2d(image, 2) if features else image)
            features.append(image)
        # From the deepest level up, each encoder result gives way to the decoder's.
        for level in reversed(range(LEVELS - 1)):
            features[level] = self.decoder[level](features)
        return cast(Tensor, self.head(features[0]))


class _DecoderLevel(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """One decoder level; reads encoder levels up to its own and the results of deeper levels."""

    def __init__(self, level: int, widths: Sequence[int], skip: int) -> None:
        super().__init__()
        mixed = LEVELS * skip
        self.level = level
        # The deepest level has no decoder: the encoder's result is read there.
        self.branches = nn.ModuleList(
            nn.Sequential(*_block(mixed if level < source < LEVELS - 1 else width, skip))
            for source, width in enumerate(widths)
        )
        self.mixer = nn.Sequential(*_block(mixed, mixed))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        scaled = [_rescale(feature, self.level - i) for i, feature in enumerate(features)]
        branched = [branch(each) for branch, each in zip(self.branches, scaled, strict=True)]
        return cast(Tensor, self.mixer(torch.cat(branched, dim=1)))


def export_onnx(network: UNet3Plus, path: Path, *, shape: Sequence[int] = (1, 3, 128, 128)) -> None:
    """Write the network in inference mode, BatchNormalization kept as nodes of their own.

    Args:
        network: Trained or seeded network, on the CPU.
        path: ONNX file to write; its folder is made if absent.
        shape: Input shape (N, 3, H, W).
    """
    network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # It advises against folding constants beside PRESERVE; here only Resize's scales fold.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(*shape),),
            path,
            input_names=["input"],
            output_names=["output"],
            opset_version=OPSET,
            dynamo=False,  # `training` is an option of this exporter alone
            training=torch.onnx.TrainingMode.PRESERVE,  # EVAL folds BatchNormalization
            do_constant_folding=True,
        )


def _block(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return _conv(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


def _rescale(feature: Tensor, levels: int) -> Tensor:
    """Bring a feature map up by `levels` levels of size: positive shrinks, negative enlarges."""
    if levels > 0:
        return F.max_pool2d(feature, 1 << levels, ceil_mode=True)
    if levels < 0:
        return F.interpolate(feature, scale_factor=float(1 << -levels), mode="bilinear")
    return feature
