"""Training loop of the zoo's segmentation networks."""

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from compiler.zoo.unet3p import UNet3Plus

logger = logging.getLogger(__name__)


def fit(
    network: UNet3Plus,
    inputs: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    *,
    epochs: int,
    batch: int = 16,
    peak_rate: float = 4e-3,
    seed: int = 0,
) -> None:
    """Train in place with Adam on binary cross-entropy plus Dice loss, flipping at random.

    Convolutions run in bfloat16 and channels last, which on a CPU is four times as fast; weights
    and their updates stay float32.

    Args:
        network: Network to train.
        inputs: Pictures, channels in the network's order, shape (N, H, W, 3).
        masks: 255 on the foreground and 0 elsewhere, shape (N, H, W).
        epochs: Passes over the pictures.
        batch: Pictures per step.
        peak_rate: Learning rate after the first tenth of the steps; it then falls to 0 along a
            cosine.
        seed: Seed of the order and of the flips.
    """
    generator = torch.Generator().manual_seed(seed)
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    pictures = torch.from_numpy(inputs).permute(0, 3, 1, 2)
    targets = torch.from_numpy(masks)[:, None]
    steps_per_epoch = len(pictures) // batch
    for epoch in range(epochs):
        order = torch.randperm(len(pictures), generator=generator)
        total = 0.0
        for step in range(steps_per_epoch):
            share = (epoch + step / steps_per_epoch) / epochs
            for group in optimizer.param_groups:
                group["lr"] = peak_rate * _rate(share)
            rows = order[step * batch : (step + 1) * batch]
            picture, target = pictures[rows].float() / 255, targets[rows].float() / 255
            flipped = torch.rand(batch, 1, 1, 1, generator=generator) < 0.5
            picture = torch.where(flipped, picture.flip(3), picture)
            target = torch.where(flipped, target.flip(3), target)
            with torch.autocast("cpu", torch.bfloat16):
                logit = network(picture.contiguous(memory_format=torch.channels_last))
            loss = _loss(logit.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        logger.info("epoch %d of %d: loss %.4f", epoch + 1, epochs, total / steps_per_epoch)
    network.eval().to(memory_format=torch.contiguous_format)


def _rate(share: float) -> float:
    """Learning rate relative to its peak, after `share` (0…1) of the training."""
    warm_up = 0.1
    if share < warm_up:
        return 0.05 + 0.95 * share / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (share - warm_up) / (1 - warm_up))


def _loss(logit: Tensor, target: Tensor) -> Tensor:
    seen = torch.sigmoid(logit)
    overlap = (seen * target).sum(dim=(1, 2, 3))
    dice = (2 * overlap + 1) / (seen.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logit, target) + (1 - dice).mean()
