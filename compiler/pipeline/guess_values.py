"""The order of channels and the scale of values that a network is most certain about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from compiler.graph.convert import save_model
from compiler.pipeline.alternatives import (
    IMAGENET,
    SIGNED,
    UNIT,
    Alternative,
    is_bgr,
    reversed_channels,
    with_order,
    with_values,
)
from compiler.pipeline.certainty import find_head
from compiler.pipeline.guess_inputs import NetworkFacts
from compiler.pipeline.lint_preprocessing import FEWEST_IMAGES, LEAST_CERTAINTY
from compiler.pipeline.record import inputs_of
from compiler.pipeline.sessions import open_as_deployed
from compiler.pipeline.spread import spread
from compiler.pipeline.try_preprocessing import Bench, Trial
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import Normalize, Op

STAGES: Final = ((4, 0.0), (8, 0.6), (24, 0.85))
"""Images looked at so far, and the share of the best certainty that it takes to go on."""

_SIGNED_GREY: Final = Normalize(mean=(0.5,), std=(0.5,))
# As some portrait networks have it: (x - mean) / std / 255 of values from 0 to 255.
_SMALL: Final = Normalize(
    div255=False,
    mean=(123.675, 116.28, 103.53),
    std=tuple(round(255 * std, 3) for std in (58.395, 57.12, 57.375)),
)


@dataclass(frozen=True, slots=True)
class Rated:
    """A candidate and how certain the network is under it.

    Args:
        ops: The whole chain.
        name: Order and scale, in words.
        certainty: Mean over images.
        images: Behind it.
    """

    ops: tuple[Op, ...]
    name: str
    certainty: float
    images: int

    @property
    def order(self) -> str:
        """Of the channels: "BGR" or "RGB"."""
        return "BGR" if is_bgr(self.ops) else "RGB"


def rate_values(
    facts: NetworkFacts, ops: Sequence[Op], files: Sequence[Path]
) -> tuple[tuple[Rated, ...], str]:
    """Run a network under every order and scale that is usual.

    Args:
        facts: Of a network that reads one image.
        ops: A chain without Normalize, in RGB order or grey.
        files: Images.

    Returns:
        The candidates, the one that the network is most certain about first, and certainty's unit;
        nothing where certainty cannot be told or is next to none.
    """
    head = find_head(facts.graph)
    if head is None or facts.image is None:
        return (), ""
    trials = [Trial(way) for way in _ways(facts, ops)]
    with TemporaryDirectory(prefix="modc_init_") as folder:
        model = Path(folder) / "net.onnx"
        save_model(facts.graph, model, model.with_suffix(".params"))
        with open_as_deployed(model) as run:
            [image] = inputs_of(facts.graph)
            bench = Bench(run, image, facts.graph.outputs[0].name, head)
            trials = _race(bench, trials, files)
    if not trials or len(trials[0].answers) < min(FEWEST_IMAGES, len(files)):
        return (), ""
    rated = tuple(
        Rated(
            trial.alternative.ops,
            trial.alternative.name,
            _certainty(bench, trial),
            len(trial.answers),
        )
        for trial in trials
    )
    return (rated, head.unit) if rated[0].certainty >= LEAST_CERTAINTY else ((), "")


def _race(bench: Bench, trials: Sequence[Trial], files: Sequence[Path]) -> list[Trial]:
    """All trials, the best first; only what is close to the best gets to see more images."""
    chosen = spread(files, STAGES[-1][0])
    order = [one for start in range(4) for one in chosen[start::4]]  # the first few spread too
    running, seen = list(trials), 0
    for count, share in STAGES:
        best = max((_certainty(bench, trial) for trial in running), default=0.0)
        running = [one for one in running if not seen or _certainty(bench, one) >= share * best]
        if len(running) > 1 or not seen:
            bench.look(running, order[seen:count])
        seen = count
    return sorted(trials, key=lambda one: (one in running, _certainty(bench, one)), reverse=True)


def _certainty(bench: Bench, trial: Trial) -> float:
    certain = bench.certainties(trial, len(trial.answers))
    return float(np.mean(certain)) if len(certain) else 0.0


def _ways(facts: NetworkFacts, ops: Sequence[Op]) -> Iterator[Alternative]:
    """The usual first: it stays first where others are not more certain."""
    colour = facts.image is not None and facts.image[0] == 3
    for ordered in (tuple(ops), with_order(ops)) if colour else (tuple(ops),):
        order = ("BGR, " if is_bgr(ordered) else "RGB, ") if colour else ""
        for name, steps in _scales(facts, colour=colour, bgr=is_bgr(ordered)):
            way = with_values(ordered, steps)
            load = Chain(way, facts.image)
            yield Alternative(f"{order}{name}", "values", "", "", way, load)


def _scales(
    facts: NetworkFacts, *, colour: bool, bgr: bool
) -> Iterator[tuple[str, Sequence[Normalize]]]:
    if facts.pixels:
        yield "8-bit pixels", ()
        return
    yield "0 … 1", (UNIT,)
    yield "0 … 255", ()
    if facts.scaled:
        return
    if not colour:
        yield "-1 … 1", (_SIGNED_GREY,)
        return
    imagenet, small = (reversed_channels(step) if bgr else step for step in (IMAGENET, _SMALL))
    yield "ImageNet mean and std", (imagenet,)
    yield "-1 … 1", (SIGNED,)
    yield "ImageNet mean and std, then 1/255", (small,)
