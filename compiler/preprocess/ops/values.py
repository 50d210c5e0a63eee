"""Process ops that turn 8-bit pixels into the numbers and the layout of a tensor."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.preprocess.pixels import Pixels, channels

NO_NORM = (None, "None", "none", "null", "")  # spellings of "no mean and std" in public files


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """y = (x / 255 if div255 else x), then (y - mean) / std; float32.

    Args:
        mean: One number, or one per channel in the order the channels have now; in the scale
            after the division by 255.
        std: Likewise; not 0.
        div255: None (YAML null) means false, as in the public files; absent means true.
        norm_type: null or the string "None" leaves mean and std out.
    """

    type: Literal["Normalize"] = "Normalize"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    div255: bool | None = True
    norm_type: str | None = "mean_std"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.norm_type not in (*NO_NORM, "mean_std"):
            raise ValueError(
                f"norm_type '{self.norm_type}' is not known; null means no mean and std, "
                "absent means both apply"
            )
        if self.applies_mean_std and (self.mean is None or self.std is None):
            raise ValueError("give mean and std, or norm_type: null")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not (values and all(map(math.isfinite, values))):
                raise ValueError(f"{name} {list(values)} is not a list of numbers")
        if self.std is not None and 0 in self.std:
            raise ValueError(f"std {list(self.std)} contains 0")

    @property
    def applies_mean_std(self) -> bool:
        """Whether mean and std are used."""
        return self.norm_type not in NO_NORM

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Normalize; every step in float32."""
        values: NDArray[np.float32] = image.astype(np.float32)
        if self.div255:
            values /= np.float32(255)
        if self.applies_mean_std:
            values -= self._per_channel("mean", self.mean, image)
            values /= self._per_channel("std", self.std, image)
        return values

    @staticmethod
    def _per_channel(
        name: str, values: tuple[float, ...] | None, image: Pixels
    ) -> NDArray[np.float32]:
        vector = np.asarray(values, np.float32)
        if vector.size not in (1, channels(image)):
            raise ValueError(f"{name} has {vector.size} numbers for {channels(image)} channel(s)")
        return vector


@dataclass(frozen=True, kw_only=True)
class RoundToFloat16:
    """Round every value once to the nearest float16, as a tensor of 16 bits would hold it."""

    type: Literal["RoundToFloat16"] = "RoundToFloat16"

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Round; delivered as float32. Values beyond ±65504 become that."""
        limit = np.finfo(np.float16).max
        return np.clip(image, -limit, limit).astype(np.float16).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ToTensor:
    """H×W×C → 1×C×H×W float32; values stay as they are (torchvision's op would divide by 255)."""

    type: Literal["ToTensor"] = "ToTensor"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Add the batch dimension and put channels first."""
        planes = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
        return np.ascontiguousarray(planes[None], np.float32)
