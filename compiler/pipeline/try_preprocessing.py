"""A network under several ways to preprocess the same images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CalibrationError
from compiler.evaluate.metric import Metric, Vector
from compiler.evaluate.pairs import Pair
from compiler.pipeline.alternatives import Alternative, Values
from compiler.pipeline.certainty import Answer, Head, answer, certainties
from compiler.pipeline.samples import Input
from compiler.pipeline.sessions import Run
from compiler.preprocess.chain import Image
from compiler.preprocess.ops import CustomFunc, DecodeImage
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import Window, class_mask, on_image, seen_window


@dataclass(slots=True)
class Trial:
    """What a network made of one way of preprocessing.

    Args:
        alternative: The way.
        differs: Whether its result differed from that of the first way on any image so far.
        answers: Of the images so far.
        statistics: Of the metric, of the pairs so far.
    """

    alternative: Alternative
    differs: bool = False
    answers: list[Answer] = field(default_factory=list)
    statistics: list[Vector] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs a network on images under several ways of preprocessing; each image is decoded once.

    Args:
        run: The network.
        image: Its only input.
        output: Name of its first output.
        head: How that is read; None if certainty cannot be told.
    """

    run: Run
    image: Input
    output: str
    head: Head | None

    def look(self, trials: Sequence[Trial], files: Iterable[Path]) -> int:
        """Let every trial answer for images and their mirror images.

        Files that cannot be decoded are left out.

        Returns:
            The number of images that were looked at.
        """
        looked = 0
        for path in files:
            tensors = _load(trials, path)
            if tensors is None:
                continue
            looked += 1
            answers: dict[int, Answer] = {}
            for number, trial in enumerate(trials):
                first = _first_equal(tensors, number)
                trial.differs |= first > 0
                if first not in answers:
                    answers[first] = self._answer(tensors[first])
                trial.answers.append(answers[first])
        return looked

    def compare(
        self,
        trials: Sequence[Trial],
        pairs: Iterable[Pair],
        metric: Metric,
        rule: Postprocessing,
        shape: tuple[int, int, int] | None,
    ) -> int:
        """Compare the class maps of every trial with masks.

        All ways are measured on the whole image: what a crop hides counts as background.

        Args:
            trials: Ways of preprocessing.
            pairs: Images and masks.
            metric: Of class numbers.
            rule: How the output becomes a class map.
            shape: Declared (channels, height, width).

        Returns:
            The number of pairs that were compared.

        Raises:
            CalibrationError: A mask cannot be read or holds values that are no class.
        """
        compared = 0
        for pair in pairs:
            pixels = _decode(trials[0].alternative, pair.image)
            if pixels is None:
                continue
            compared += 1
            for trial in trials:
                output = self._run(trial.alternative.load(pixels))
                classes = class_mask(output, rule)
                if isinstance(pixels, np.ndarray):
                    classes = _of_whole_image(classes, trial.alternative, pixels, shape)
                trial.statistics.append(metric.statistics(classes[None, None], pair.mask))
        return compared

    def certainties(self, trial: Trial, count: int) -> Vector:
        """Of the first `count` images, shape (n,); nothing where none can be told."""
        if self.head is None or not trial.answers:
            return np.zeros(0)
        return certainties(self.head, trial.answers[:count])

    def _answer(self, tensor: Values) -> Answer:
        if self.head is None:
            return np.zeros(1)
        mirrored = np.ascontiguousarray(tensor[..., ::-1])
        return answer(self.head, self._run(tensor), self._run(mirrored))

    def _run(self, tensor: Values) -> Tensor:
        return self.run({self.image.name: tensor.astype(self.image.dtype, copy=False)})[self.output]


def _of_whole_image(
    classes: NDArray[np.int64],
    alternative: Alternative,
    pixels: NDArray[np.uint8],
    shape: tuple[int, int, int] | None,
) -> NDArray[np.int64]:
    """A class map of what the network saw as one of the whole image, of the same size."""
    height, width = pixels.shape[:2]
    seen = seen_window(alternative.ops, shape, height, width)
    down, right = classes.shape[0] / height, classes.shape[1] / width
    window = Window(seen.top * down, seen.left * right, seen.bottom * down, seen.right * right)
    return on_image(classes, window, *classes.shape)


def _load(trials: Sequence[Trial], path: Path) -> list[Values] | None:
    """What every trial makes of a file; None if one of them cannot use it."""
    pixels = _decode(trials[0].alternative, path)
    if pixels is None:
        return None
    try:
        return [trial.alternative.load(pixels) for trial in trials]
    except CalibrationError:
        return None


def _decode(alternative: Alternative, path: Path) -> Image | None:
    """The pixels of a file, or the file where the user's own code reads it; None if unreadable."""
    reader = alternative.ops[0]
    if isinstance(reader, CustomFunc) or not isinstance(reader, DecodeImage):
        return path
    try:
        return reader(path)
    except CalibrationError:
        return None


def _first_equal(tensors: Sequence[Values], number: int) -> int:
    """Index of the first tensor that equals this one."""
    return next(
        index for index in range(number + 1) if np.array_equal(tensors[index], tensors[number])
    )
