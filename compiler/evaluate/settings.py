"""What a metric has to be told besides the masks, and how the outputs are read by it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.evaluate.masks import See, Size, resized
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import class_mask


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network's output and the masks are meant.

    Args:
        rule: How the output becomes a class map (the bundle's manifest has it).
        classes: Number of classes; None: of the definition.
        ignore: Value of the masks whose pixels do not count; None: of the definition.
        size: Height and width at which prediction and truth meet, such as those of the network's
            input; None: those of the output.
        see: (Height, width) of a mask -> its part that the network sees, for preprocessing that
            crops or pads (`runner.masks.seen_window`); None: all of it. A mask has the size of
            its image, or the crop comes after a resize. The published scripts take all of it.
    """

    rule: Postprocessing
    classes: int | None = None
    ignore: int | None = None
    size: Size | None = None
    see: See | None = None

    @property
    def known_classes(self) -> int:
        """The number of classes.

        Raises:
            ValueError: It is not given.
        """
        if self.classes is None:
            raise ValueError("the metric needs the number of classes")
        return self.classes


def predicted_classes(output: Tensor, settings: Settings) -> NDArray[np.int64]:
    """Class map by the bundle's own rule, shape (H, W).

    Raises:
        ValueError: The output has another shape than the rule reads.
    """
    if settings.rule.kind == "classes":
        numbers = class_mask(output, settings.rule)
        size = settings.size
        return numbers if size is None else resized(numbers.astype(np.int32), size, "nearest")
    return class_mask(at_size(output, settings.size), settings.rule)


def probability(output: Tensor, rule: Postprocessing) -> NDArray[np.float32]:
    """Foreground of one channel as a probability, shape (H, W).

    Raises:
        ValueError: The output has another shape, or is no probability or logit.
    """
    values = one_channel(output)
    if rule.kind != "binary":
        raise ValueError("a soft figure needs one channel of logits or probabilities, not classes")
    return values if rule.threshold else sigmoid(values)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in float32, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits < 0, small, np.float32(1)) / (1 + small), np.float32)


def one_channel(output: Tensor) -> NDArray[np.float32]:
    """The single channel of an output, float32, shape (H, W).

    Raises:
        ValueError: The output has another shape.
    """
    return np.asarray(channels(output, 1)[0])


def channels(output: Tensor, count: int) -> NDArray[np.float32]:
    """The channels of an output, float32, shape (C, H, W).

    Raises:
        ValueError: The output has another shape.
    """
    if output.ndim != 4 or output.shape[:2] != (1, count):
        raise ValueError(f"output of shape {list(output.shape)}; expected [1, {count}, H, W]")
    return np.asarray(output[0], np.float32)


def at_size(output: Tensor, size: Size | None) -> Tensor:
    """An output of shape (1, C, H, W) at another size: bilinear, corners not aligned."""
    if size is None or output.shape[-2:] == size:
        return output
    planes = [resized(plane, size) for plane in output[0].astype(np.float32)]
    return np.stack(planes)[None]
