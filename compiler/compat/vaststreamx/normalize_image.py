"""`opf_normalize`: the numbers of an image's pixels."""

from collections.abc import Sequence
from struct import Struct
from typing import ClassVar

import numpy as np

from compiler.compat.vaststreamx.containers import Array, Tensor
from compiler.compat.vaststreamx.operation import Operation, Shape, check_sizes, fitted
from compiler.preprocess.ops import Normalize, RoundToFloat16

_CHANNELS = 4  # for which a configuration has places


class NormalizeImage(Operation):
    """Planes of 8-bit pixels x → float16, by the same formulas as a vdsp JSON.

        0  x                      1  (x - mean) / std      2  (x / 255 - mean) / std
        3  x / 127.5 - 1          4  x / 255

    Args:
        numbers: Width and height; their pitches in the input, and in the result; number of
            channels; number of the formula; four means and four stds, as the bits of float16.

    Raises:
        ValueError: Sizes below 1, other pitches than the sizes, or an unknown formula.
    """

    layout: ClassVar[Struct] = Struct("<7Ii4H4H")
    inputs: ClassVar[int] = 1

    def __init__(self, *numbers: int) -> None:
        width, height, channels, formula = *numbers[:2], *numbers[6:8]
        for name, pitches in (("input", numbers[2:4]), ("output", numbers[4:6])):
            check_sizes(name, (width, height), pitches)
        if not 1 <= channels <= _CHANNELS:
            raise ValueError(f"{channels} channels given; expected 1 to {_CHANNELS}")
        self._shape = (channels, height, width)
        constants = np.array(numbers[8:], np.uint16).view(np.float16).astype(float).tolist()
        mean, std = constants[:channels], constants[_CHANNELS:][:channels]
        self._normalize = _normalize(formula, tuple(mean), tuple(std))

    @property
    def shapes(self) -> Sequence[Shape | None]:
        return [self._shape]

    def __call__(self, arrays: Sequence[Array]) -> list[Tensor]:
        if arrays[0].dtype != np.uint8:
            raise ValueError(f"{arrays[0].dtype} pixels given; expected uint8")
        pixels = fitted("image", arrays[0], self._shape).transpose(1, 2, 0)
        values = RoundToFloat16()(self._normalize(pixels) if self._normalize else pixels)
        return [Tensor(values.transpose(2, 0, 1).astype(np.float16))]


def _normalize(formula: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Normalize | None:
    match formula:
        case 0:
            return None
        case 1 | 2:
            return Normalize(div255=formula == 2, mean=mean, std=std)
        case 3:
            return Normalize(div255=False, mean=(127.5,), std=(127.5,))
        case 4:
            return Normalize(div255=True, norm_type=None)
        case _:
            raise ValueError(f"norma_type {formula} given; expected 0 to 4")
