"""UNet in PyTorch, with the three decoders that it is usually written with.

Five levels of base, 2 base, 4 base, 8 base and 16 base channels with two padded 3×3 convolutions
each; a decoder level enlarges the result of the deeper one and reads it beside the encoder's.

Source: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. The decoders are those of two widely used implementations, Pytorch-UNet (bilinear and
transposed, with BatchNormalization) and zhixuhao/unet in Keras (nearest, without).
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEPTH = 4  # levels above the deepest one


class UNet(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """Encoder and decoder of any widths; the functions of this module choose them.

    Args:
        encoder: One module per level, shallow to deep; between two of them the size is halved.
        enlargers: One module per decoder level, shallow to deep, that doubles the size.
        decoder: One module per decoder level, shallow to deep, for the concatenated channels.
        head: Makes the output of the shallowest decoder level's result.

    The input has shape (N, 3, H, W) with H and W multiples of 16, the output (N, classes, H, W).
    """

    def __init__(
        self,
        encoder: Iterable[nn.Module],
        enlargers: Iterable[nn.Module],
        decoder: Iterable[nn.Module],
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.enlargers = nn.ModuleList(enlargers)
        self.decoder = nn.ModuleList(decoder)
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Return the head's result for every pixel."""
        skips: list[Tensor] = []
        for encode in self.encoder:
            image = encode(F.max_pool2d(image, 2) if skips else image)
            skips.append(image)
        for level in reversed(range(DEPTH)):
            enlarged = self.enlargers[level](image)
            image = self.decoder[level](torch.cat([skips[level], enlarged], dim=1))
        return cast(Tensor, self.head(image))


def unet_bilinear(*, base: int) -> UNet:
    """Enlarge bilinearly between aligned corners: 17.26 million parameters, 159.9 GMAC at 512×512.

    Enlarging keeps the channels, so the deepest level has 8 base channels, and a decoder level
    hands on as many channels as the next one's encoder has. The output is one logit.
    """
    widths = [*_widths(base), base << DEPTH - 1]
    return UNet(
        _encoder(widths, normalised=True),
        (nn.UpsamplingBilinear2d(scale_factor=2) for _ in range(DEPTH)),
        (
            _pair(2 * width, width, outputs, normalised=True)
            for width, outputs in zip(_widths(base), [base, *widths], strict=False)
        ),
        _conv(base, 1, 1),
    )


def unet_transpose(*, base: int) -> UNet:
    """Enlarge by a 2×2 convolution transposed: 31.04 million parameters, 192.7 GMAC at 512×512.

    The output is one logit.
    """
    return UNet(
        _encoder([*_widths(base), base << DEPTH], normalised=True),
        (_kaiming(nn.ConvTranspose2d(2 * width, width, 2, stride=2)) for width in _widths(base)),
        (_pair(2 * width, width, width, normalised=True) for width in _widths(base)),
        _conv(base, 1, 1),
    )


def unet_nearest(*, base: int) -> UNet:
    """Enlarge to nearest neighbours: 31.03 million parameters, 54.7 GMAC at 256×256.

    A 2×2 convolution smooths the result; to keep the size, it sees one row and one column of
    zeros at the end. No BatchNormalization; the output is one probability.
    """
    return UNet(
        _encoder([*_widths(base), base << DEPTH], normalised=False),
        (
            nn.Sequential(
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.ZeroPad2d((0, 1, 0, 1)),
                _conv(2 * width, width, 2),
                nn.ReLU(),
            )
            for width in _widths(base)
        ),
        (_pair(2 * width, width, width, normalised=False) for width in _widths(base)),
        nn.Sequential(_conv(base, 2, 3, padding=1), nn.ReLU(), _conv(2, 1, 1), nn.Sigmoid()),
    )


def _widths(base: int) -> list[int]:
    return [base << level for level in range(DEPTH)]


def _encoder(widths: Sequence[int], *, normalised: bool) -> Iterable[nn.Module]:
    for inputs, width in zip([3, *widths], widths, strict=False):
        yield _pair(inputs, width, width, normalised=normalised)


def _pair(inputs: int, middle: int, outputs: int, *, normalised: bool) -> nn.Module:
    return nn.Sequential(
        *_block(inputs, middle, normalised=normalised),
        *_block(middle, outputs, normalised=normalised),
    )


def _block(inputs: int, outputs: int, *, normalised: bool) -> Sequence[nn.Module]:
    if not normalised:
        return _conv(inputs, outputs, 3, padding=1), nn.ReLU()
    conv = _conv(inputs, outputs, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def _conv(
    inputs: int, outputs: int, size: int, *, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    return _kaiming(nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias))


def _kaiming(conv: nn.Module) -> nn.Module:
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv
