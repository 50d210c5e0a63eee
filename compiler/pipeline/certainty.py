"""How certain a network is of an image, in bits that survive a mirror.

Softmax alone is a bad witness: a network that gets values 255 times too large saturates and is sure
of everything, and one that gets values 255 times too small says "background" everywhere, sure
again. So the network answers twice, for the image and for its mirror image, and what counts is the
mutual information of the two answers at the same pixel: it is high only where the network
distinguishes classes (one answer everywhere carries no information), is certain (vague
probabilities carry little), and says the same of both views (noise does not).

    J[a, b] = mean over pixels of p(a | image) p(b | mirror image, mirrored back), made symmetric
    certainty = sum of J log2(J / (J's rows summed × J's columns summed))

0 bits: the answer says nothing; 1 bit: two classes, as many pixels of each, without a doubt.

Of class scores for the whole image there is one "pixel", so that other images take the place of
other pixels: certainty is then how much more likely the two views of one image are given the same
class than views of two images are.

Source: Ji, Henriques, Vedaldi, "Invariant Information Clustering for Unsupervised Image
Classification and Segmentation", 2019 (the objective); here it judges inputs instead of weights,
and per image, because images with a small foreground would drown in a common J.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.graph.head import is_class_map, threshold_of
from compiler.graph.query import rank
from compiler.runner.engine import Tensor

Answer: TypeAlias = NDArray[np.float64]
"""What is kept of an image and its mirror image: [bits] of a map, else (2, classes)."""


@dataclass(frozen=True, slots=True)
class Head:
    """How the first output of a network is read.

    Args:
        kind: "map" for a class or scores per pixel, (1, C, H, W); "scores" of an image, (1, C).
        numbers: Whether it holds class numbers instead of scores.
        sigmoid: Whether a Sigmoid made its scores.
    """

    kind: Literal["map", "scores"]
    numbers: bool
    sigmoid: bool

    @property
    def unit(self) -> str:
        """What certainty is counted in."""
        return "bits per pixel" if self.kind == "map" else "agreement"


def find_head(graph: gs.Graph) -> Head | None:
    """How certainty is read from a network; None where its first output is neither kind."""
    output = graph.outputs[0]
    kinds: dict[int | None, Literal["map", "scores"]] = {4: "map", 2: "scores"}
    kind = kinds.get(rank(output))
    numbers = is_class_map(output)
    channels = None if kind is None else output.shape[1]
    if kind is None or not isinstance(channels, int) or output.shape[0] != 1:
        return None
    if numbers and (kind == "scores" or channels != 1):
        return None
    if kind == "map" and output.shape[2:] == [1, 1]:
        kind = "scores"
    return Head(kind, numbers, threshold_of(output) > 0)


def answer(head: Head, output: Tensor, mirrored: Tensor) -> Answer:
    """What to keep of the outputs for an image and for its mirror image."""
    if head.kind == "scores":
        views = [_probabilities(head, one.reshape(one.shape[1], 1)) for one in (output, mirrored)]
        return np.stack([view[:, 0] for view in views]).astype(np.float64)
    planes = output[0], mirrored[0, :, :, ::-1]
    first, second = (one.reshape(len(one), -1) for one in planes)
    if head.numbers:
        classes, codes = np.unique(np.concatenate([first, second], 1), return_inverse=True)
        one_hot = np.eye(len(classes), dtype=np.float32)[codes.reshape(-1)].T
        views = np.split(one_hot, 2, axis=1)
    else:
        views = [_probabilities(head, first), _probabilities(head, second)]
    joint = (views[0] @ views[1].T).astype(np.float64) / first.shape[1]
    return np.array([information(joint)])


def certainties(head: Head, answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Certainty of each image, shape (n,)."""
    if head.kind == "map":
        return np.concatenate(list(answers))
    stacked = np.stack(answers)
    same = stacked[:, 0] @ stacked[:, 1].T
    others = (same.sum(1) - np.diag(same)) / max(1, len(same) - 1)
    return np.asarray(np.diag(same) - others)


def information(joint: NDArray[np.float64]) -> float:
    """Mutual information in bits of a joint distribution, shape (C, C); 0 of what is not finite."""
    if not np.isfinite(joint).all() or joint.sum() <= 0:
        return 0.0
    joint = (joint + joint.T) / (2 * joint.sum())
    margin = joint.sum(1)
    likely = joint > 0
    quotient = joint[likely] / np.outer(margin, margin)[likely]
    return max(0.0, float((joint[likely] * np.log2(quotient)).sum()))


def _probabilities(head: Head, scores: NDArray[Any]) -> NDArray[np.float32]:  # Any: float types
    """Probabilities of the classes, shape (C, pixels); one channel becomes background and it."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = scores.astype(np.float32)
        if len(values) == 1:
            one = values if head.sigmoid else 1 / (1 + np.exp(-values))
            return np.concatenate([1 - one, one])
        if head.sigmoid or _are_probabilities(values):
            return np.asarray(values / np.maximum(values.sum(0), 1e-12))
        exponents = np.exp(values - values.max(0))
        return np.asarray(exponents / exponents.sum(0))


def _are_probabilities(values: NDArray[np.float32]) -> bool:
    return bool(values.min() >= 0 and np.allclose(values.sum(0), 1, atol=1e-3))
