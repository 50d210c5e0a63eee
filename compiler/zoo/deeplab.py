"""DeepLabV3 and DeepLabV3+ in PyTorch, on features at a sixteenth of the input's size.

Both read the features through atrous spatial pyramid pooling: a 1×1 convolution, plain 3×3
convolutions dilated by 6, 12 and 18, and the mean over the image, concatenated and projected to
256 channels. Dropout, which inference does not know, is left out.

Sources: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017
(DeepLabV3), and "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV 2018 (DeepLabV3+); of the variants of both, the one with plain convolutions
and a single 3×3 convolution before the classifier, as DeepLabV3Plus-Pytorch writes it.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.zoo.backbones import MobileNetV2, ResNet50, conv_norm

RATES = (6, 12, 18)
LOW_CHANNELS = 48


class DeepLabV3(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """DeepLabV3 on MobileNetV2: 5.11 million parameters, 6.0 GMAC at 513×513.

    Args:
        width: Channels of each pyramid branch and of the layers behind it.
        classes: Channels of the output.

    The input has shape (N, 3, H, W), the output, logits, (N, classes, H, W).
    """

    def __init__(self, *, width: int, classes: int = 21) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.pyramid = _Pyramid(self.backbone.channels, width)
        self.classifier = _classifier(width, width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        return _enlarge(self.classifier(self.pyramid(self.backbone(image))), image)


class DeepLabV3Plus(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """DeepLabV3+ on ResNet-50: 39.76 million parameters, 62.4 GMAC at 513×513.

    Args:
        base: Channels of the first convolution of ResNet-50.
        width: Channels of each pyramid branch and of the layers behind it.
        classes: Channels of the output.

    The input has shape (N, 3, H, W), the output, logits, (N, classes, H, W).
    """

    def __init__(self, *, base: int, width: int, classes: int = 21) -> None:
        super().__init__()
        self.backbone = ResNet50(base=base)
        self.pyramid = _Pyramid(self.backbone.channels, width)
        self.low = nn.Sequential(*conv_norm(self.backbone.low_channels, LOW_CHANNELS, 1), nn.ReLU())
        self.classifier = _classifier(LOW_CHANNELS + width, width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of every pixel."""
        low, features = self.backbone(image)
        low = self.low(low)
        pyramid = _enlarge(self.pyramid(features), low)
        return _enlarge(self.classifier(torch.cat([low, pyramid], dim=1)), image)


class _Pyramid(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """Atrous spatial pyramid pooling."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Sequential(*conv_norm(inputs, width, 1), nn.ReLU())])
        for rate in RATES:
            conv, norm = conv_norm(inputs, width, 3, dilation=rate)
            self.branches.append(nn.Sequential(conv, norm, nn.ReLU()))
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_norm(inputs, width, 1), nn.ReLU())
        branches = len(self.branches) + 1
        self.project = nn.Sequential(*conv_norm(branches * width, width, 1), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        branches = [branch(features) for branch in self.branches]
        branches.append(_enlarge(self.mean(features), features))
        return cast(Tensor, self.project(torch.cat(branches, dim=1)))


def _classifier(inputs: int, width: int, classes: int) -> nn.Module:
    logits = nn.Conv2d(width, classes, 1)
    nn.init.kaiming_normal_(logits.weight, nonlinearity="relu")
    return nn.Sequential(*conv_norm(inputs, width, 3), nn.ReLU(), logits)


def _enlarge(features: Tensor, like: Tensor) -> Tensor:
    """Bring `features` bilinearly to the height and width of `like`.

    A factor, unlike a size, becomes a constant of the exported graph, in float32. Whoever reads it
    multiplies and rounds down, so the factor is rounded up.
    """
    factors = [
        float(np.nextafter(np.float32(int(wanted) / int(length)), np.float32(np.inf)))
        for wanted, length in zip(like.shape[-2:], features.shape[-2:], strict=True)
    ]
    return F.interpolate(features, scale_factor=factors, mode="bilinear")
