"""ResNet-50 and MobileNetV2 in PyTorch, as feature extractors at a sixteenth of the input's size.

Where the classifier would halve the size a fifth time, the convolutions keep it and are dilated
by 2 instead. The layer that would have halved it still sees the undilated size, so dilation
starts with the layer after it.

Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride in
the 3×3 convolution (ResNet v1.5); Sandler et al., "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018; output stride after Chen et al., "Rethinking Atrous Convolution for
Semantic Image Segmentation", 2017.
"""

from typing import cast

import torch
from torch import Tensor, nn

RESNET50_STAGES = ((3, 1, 1), (4, 2, 1), (6, 2, 1), (3, 1, 2))  # blocks, stride, dilation
EXPANSION = 4  # of a bottleneck
MOBILENET_STAGES = (  # expansion, channels, blocks, stride, dilation
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 2, 1),
    (6, 96, 3, 1, 1),
    (6, 160, 3, 1, 2),
    (6, 320, 1, 1, 2),
)


class ResNet50(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """ResNet-50 up to its last stage.

    Args:
        base: Channels inside a bottleneck of the first stage; 64 in the paper.
    """

    def __init__(self, *, base: int) -> None:
        super().__init__()
        self.low_channels = EXPANSION * base
        self.channels = 8 * self.low_channels
        self.stem = nn.Sequential(
            *conv_norm(3, base, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages = nn.ModuleList()
        inputs, before = base, 1
        for stage, (blocks, stride, dilation) in enumerate(RESNET50_STAGES):
            width = base << stage
            layers = [_Bottleneck(inputs, width, stride=stride, dilation=before)]
            inputs, before = EXPANSION * width, dilation
            for _ in range(blocks - 1):
                layers.append(_Bottleneck(inputs, width, stride=1, dilation=dilation))
            self.stages.append(nn.Sequential(*layers))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the first stage (1/4 of the size) and of the last (1/16)."""
        first, *deeper = self.stages
        low = first(self.stem(image))
        features = low
        for stage in deeper:
            features = stage(features)
        return low, features


class MobileNetV2(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """MobileNetV2 up to its last inverted residual, of 320 channels."""

    def __init__(self) -> None:
        super().__init__()
        inputs, before = 32, 1
        layers = [*conv_norm(3, inputs, 3, stride=2), nn.ReLU6()]
        for expansion, width, blocks, stride, dilation in MOBILENET_STAGES:
            for block in range(blocks):
                layers.append(
                    _InvertedResidual(
                        inputs,
                        width,
                        expansion=expansion,
                        stride=1 if block else stride,
                        dilation=dilation if block else before,
                    )
                )
                inputs = width
            before = dilation
        self.layers = nn.Sequential(*layers)
        self.channels = inputs

    def forward(self, image: Tensor) -> Tensor:
        """Return the features at 1/16 of the size."""
        return cast(Tensor, self.layers(image))


class _Bottleneck(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """1×1, 3×3 and 1×1 convolution beside an identity, or a 1×1 convolution where shapes differ."""

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.residual = nn.Sequential(
            *conv_norm(inputs, width, 1),
            nn.ReLU(),
            *conv_norm(width, width, 3, stride=stride, dilation=dilation),
            nn.ReLU(),
            *conv_norm(width, outputs, 1),
        )
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1, stride=stride))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.residual(features) + self.shortcut(features))


class _InvertedResidual(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """1×1 expansion, depthwise 3×3, linear 1×1; added to its input where the shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, *, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        width = expansion * inputs
        expand = [*conv_norm(inputs, width, 1), nn.ReLU6()] if expansion > 1 else []
        self.residual = nn.Sequential(
            *expand,
            *conv_norm(width, width, 3, stride=stride, dilation=dilation, groups=width),
            nn.ReLU6(),
            *conv_norm(width, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        residual = cast(Tensor, self.residual(features))
        return features + residual if self.adds else residual


def conv_norm(
    inputs: int, outputs: int, size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Return a square convolution, padded to keep the size at stride 1, and its normalisation."""
    padding = dilation * (size // 2)
    conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv, nn.BatchNorm2d(outputs)
