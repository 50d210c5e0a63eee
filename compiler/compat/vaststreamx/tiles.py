"""The tiled layout in which a device keeps feature maps: [1, W/8, H/8, C/4, 256].

A tile is 4 channels of 8×8 pixels, channel first, then row, then column; channels and sides are
filled up with zeros.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from compiler.compat.vaststreamx.containers import Array

_CHANNELS: Final = 4
_SIDE: Final = 8
_TILE: Final = _CHANNELS * _SIDE * _SIDE


def is_tiled(shape: Sequence[int]) -> bool:
    """Whether a shape is one of tiles."""
    return len(shape) == 5 and shape[0] == 1 and shape[4] == _TILE


def to_tiles(array: Array) -> Array:
    """Tiles of an array (1, C, H, W)."""
    _, channels, height, width = array.shape
    fill = [(0, 0), (0, -channels % _CHANNELS), (0, -height % _SIDE), (0, -width % _SIDE)]
    filled = np.pad(array, fill)
    groups, rows, columns = _tiles(filled.shape)
    split = filled.reshape(1, groups, _CHANNELS, rows, _SIDE, columns, _SIDE)
    return split.transpose(0, 5, 3, 1, 2, 4, 6).reshape(1, columns, rows, groups, _TILE)


def from_tiles(tiles: Array, shape: Sequence[int]) -> Array | None:
    """The array (1, C, H, W) of this shape; None where the tiles are not its."""
    groups, rows, columns = _tiles(shape)
    if tiles.shape != (1, columns, rows, groups, _TILE):
        return None
    split = tiles.reshape(1, columns, rows, groups, _CHANNELS, _SIDE, _SIDE)
    filled = split.transpose(0, 3, 4, 2, 5, 1, 6).reshape(
        1, groups * _CHANNELS, rows * _SIDE, columns * _SIDE
    )
    return filled[:, : shape[1], : shape[2], : shape[3]]


def _tiles(shape: Sequence[int]) -> tuple[int, int, int]:
    """Groups of channels, rows and columns of tiles that cover a shape (1, C, H, W)."""
    _, channels, height, width = shape
    return -(-channels // _CHANNELS), -(-height // _SIDE), -(-width // _SIDE)
