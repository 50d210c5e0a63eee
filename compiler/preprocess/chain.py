"""One preprocessing definition: the same object feeds calibration, verification and the runner."""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CalibrationError
from compiler.preprocess.checks import (
    Shape,
    chain_warnings,
    check_ops,
    complete_ops,
    implied_pad,
)
from compiler.preprocess.ops import (
    CustomFunc,
    DecodeImage,
    GeometryOp,
    Normalize,
    Op,
    Pad,
    Resize,
    RoundToFloat16,
    ToTensor,
)
from compiler.preprocess.pixels import Pixels, look_up, resize_opencv
from compiler.preprocess.serialise import op_from_dict, op_to_dict

_LOG = logging.getLogger(__name__)

Image = Path | str | bytes | NDArray[np.uint8]


class Chain:
    """Process ops in order, ending in the tensor that the network reads.

    Args:
        ops: As in the build file; a missing DecodeImage or ToTensor is added (see `notes`).
        shape: Declared input (channels, height, width). When given, results that keep their ratio
            without a Pad are padded to it, images without any Resize are stretched to it, and
            everything else that does not fit is an error.
        allow_custom_code: Whether CustomFunc may import and call the user's Python file.

    Raises:
        ValueError: An order or a size that cannot work, or CustomFunc without permission.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        shape: Shape | None = None,
        *,
        allow_custom_code: bool = False,
    ) -> None:
        custom = [op for op in ops if isinstance(op, CustomFunc)]
        if custom and not allow_custom_code:
            raise ValueError(
                f"CustomFunc would run {custom[0].func_name} of {custom[0].module_path}; "
                "running code that a build file names must be allowed explicitly "
                "(--allow-custom-code)"
            )
        self.shape = shape
        self.ops, self.notes = complete_ops(ops)
        check_ops(self.ops, shape)
        self._warnings = dict.fromkeys(chain_warnings(self.ops, shape))
        self._reader = next(op for op in self.ops if isinstance(op, DecodeImage | CustomFunc))
        after_decode = [op for op in self.ops if not isinstance(op, DecodeImage | CustomFunc)]
        geometry = [isinstance(op, GeometryOp) for op in after_decode]
        last = len(geometry) - geometry[::-1].index(True) if any(geometry) else 0
        valued = [isinstance(op, Normalize | RoundToFloat16 | ToTensor) for op in after_decode]
        first = valued.index(True) if any(valued) else last
        self._geometry, self._colours = after_decode[:last], after_decode[last:first]
        self._values = after_decode[first:]
        self._tables: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """One image → one sample, shape (1, C, H, W).

        Args:
            image: File, its bytes, or decoded pixels (H×W×3 RGB or H×W gray, uint8).

        Raises:
            CalibrationError: An image that cannot be read or does not fit the chain.
        """
        where = str(image) if isinstance(image, Path | str) else f"image {type(image).__name__}"
        reader = self._reader
        try:
            if isinstance(reader, CustomFunc):
                return self._run_custom(reader, image)
            pixels = reader.from_array(image) if isinstance(image, np.ndarray) else reader(image)
            return self._run(pixels, where)
        except ValueError as error:
            raise CalibrationError(
                str(error), where=where, fix="correct the preprocessing, or remove the image"
            ) from error

    def warnings(self) -> tuple[str, ...]:
        """Likely mistakes in the ops, and what happened to images that did not fit; each once."""
        return tuple(self._warnings)

    def recall(self, warnings: Iterable[str]) -> None:
        """Take over warnings that another chain of these ops had about the same images."""
        self._warnings |= dict.fromkeys(warnings)

    def to_list(self) -> list[dict[str, Any]]:
        """The completed ops as JSON-able values, every field written out."""
        return [op_to_dict(op) for op in self.ops]

    @classmethod
    def from_list(
        cls,
        data: Sequence[Mapping[str, Any]],
        shape: Shape | None = None,
        *,
        allow_custom_code: bool = False,
    ) -> "Chain":
        """The chain that `to_list` described.

        Raises:
            ValueError: An unknown op or field, or as the constructor.
        """
        ops = [op_from_dict(item) for item in data]
        return cls(ops, shape, allow_custom_code=allow_custom_code)

    def _run(self, pixels: Pixels, where: str) -> NDArray[np.float32]:
        for op in self._geometry:
            pixels = op(pixels)
        pixels = self._fit(pixels, where)
        for op in self._colours:
            pixels = op(pixels)
        pixels = self._to_tensor(pixels)
        if self.shape and pixels.shape[1:] != self.shape:
            raise ValueError(
                f"the preprocessing gives {list(pixels.shape)}, the network's input is "
                f"{[1, *self.shape]}; for one channel set cv2_flags: 0 at DecodeImage "
                "or use ChannelSplit"
            )
        return pixels

    def _to_tensor(self, pixels: Pixels) -> NDArray[np.float32]:
        """Apply the last ops, which map every value by itself: of 8 bits, by a table of theirs.

        OpenCV is quicker with tables than numpy; a chain that has not loaded it does without.
        """
        if pixels.dtype == np.uint8 and sys.modules.get("cv2"):
            return look_up(pixels, self._table(pixels.shape[2:]))
        for op in self._values:
            pixels = op(pixels)
        return pixels

    def _table(self, channels: tuple[int, ...]) -> NDArray[np.float32]:
        """What the last ops make of every 8-bit value, shape (C, 256).

        Args:
            channels: (C,), or nothing for gray images that are H×W.
        """
        if channels not in self._tables:
            ramp: Pixels = np.indices((256, 1, *channels), np.uint8)[0]
            for op in self._values:
                ramp = op(ramp)
            self._tables[channels] = ramp.reshape(-1, 256)
        return self._tables[channels]

    def _fit(self, pixels: Pixels, where: str) -> Pixels:
        """Bring an image to the declared size where the public files rely on it; else refuse."""
        size = pixels.shape[:2]
        if self.shape is None or size == self.shape[1:]:
            return pixels
        height, width = self.shape[1:]
        text = (
            f"the preprocessing gives {size[0]}×{size[1]}, the network's input is {height}×{width}"
        )
        if any(isinstance(op, Resize) and op.keeps_ratio for op in self._geometry):
            if size[0] > height or size[1] > width:
                raise ValueError(f"{text}; correct size at Resize")
            pad = next((op for op in self._geometry if isinstance(op, Pad)), Pad())
            padded = f"the preprocessing gives other sizes: images are padded to {height}×{width}"
            self._warn(implied_pad(self.ops, self.shape) or padded, where)
            return pad.pad_to(pixels, height, width)
        if any(isinstance(op, GeometryOp) and not isinstance(op, Pad) for op in self._geometry):
            raise ValueError(f"{text}; correct size at Resize or crop_size at CenterCrop")
        self._warn(f"no Resize: images are stretched to {height}×{width}", where)
        return resize_opencv(pixels, height, width)

    def _warn(self, text: str, where: str) -> None:
        if text not in self._warnings:
            self._warnings[text] = None
            _LOG.warning("%s (first: %s)", text, where)

    def _run_custom(self, op: CustomFunc, image: Image) -> NDArray[np.float32]:
        if not isinstance(image, Path | str):
            raise ValueError("CustomFunc reads image files itself; give a path")
        result = op(image)
        planes = result[0] if result.ndim == 4 and len(result) == 1 else result
        if self.shape and planes.shape == (*self.shape[1:], self.shape[0]) != self.shape:
            planes = planes.transpose(2, 0, 1)
        if result.dtype.kind not in "biuf":
            raise ValueError(f"{op.func_name} returned {result.dtype} values; expected numbers")
        if planes.ndim != 3 or (self.shape and planes.shape != self.shape):
            expected = list(self.shape) if self.shape else "[channels, height, width]"
            raise ValueError(
                f"{op.func_name} returned shape {list(result.shape)}; expected {expected}"
            )
        return np.ascontiguousarray(planes[None], np.float32)
