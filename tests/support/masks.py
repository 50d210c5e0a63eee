"""Outputs of networks, and masks of every kind, from nested lists."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image


def one_hot(classes: ArrayLike, count: int, height: float = 1.0) -> NDArray[np.float32]:
    """Output of shape (1, count, H, W) whose argmax is a class map of shape (H, W)."""
    numbers = np.asarray(classes)
    planes = [np.where(numbers == i, height, 0.0) for i in range(count)]
    return np.stack(planes)[None].astype(np.float32)


def plane(values: ArrayLike) -> NDArray[np.float32]:
    """Output of one channel, shape (1, 1, H, W)."""
    return np.asarray(values, np.float32)[None, None]


def save_grey(path: Path, values: ArrayLike, dtype: type[np.generic] = np.uint8) -> Path:
    """Write a grey mask of 8 or 16 bits."""
    Image.fromarray(np.asarray(values, dtype)).save(path)
    return path


def save_palette(path: Path, values: ArrayLike, colours: Sequence[int] | None = None) -> Path:
    """Write a mask of palette indices; `colours` are red, green and blue of each, in turn."""
    numbers = np.asarray(values, np.uint8)
    image = Image.new("P", numbers.shape[::-1])
    image.putpalette(colours or [level for level in range(256) for _ in range(3)])
    image.putdata(numbers.ravel().tolist())
    image.save(path)
    return path
