"""The metric of the task for several networks side by side, on the same images.

Only images that every network could be evaluated on count, so that all figures are of one set.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from compiler.errors import BuildFileError
from compiler.evaluate.intervals import difference_intervals, figure_intervals
from compiler.evaluate.metric import Metric, Vector, mean_of_defined, ratio
from compiler.pipeline.clock import Report
from compiler.pipeline.evaluation.contenders import Contender, Outputs
from compiler.pipeline.evaluation.result import Agreement, Evaluation, Measured, Row, Scale
from compiler.pipeline.evaluation.run import Item, Open, Outcome, common_of, run_over
from compiler.runner.engine import Tensor

Classes: TypeAlias = NDArray[np.int64]
Read: TypeAlias = Callable[[Contender, Outputs], Classes | None]
Save: TypeAlias = Callable[[Contender, str, Classes], None]
Metrics: TypeAlias = Callable[[Contender], Sequence[Metric]]

_FASTEST: Final = 1  # zlib level: masks shrink to a hundredth at any


@dataclass(frozen=True, slots=True)
class _Packed:
    """A class map in little memory: those of the base are kept for all images."""

    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, classes: Classes) -> "_Packed":
        return cls(classes.shape, zlib.compress(classes.astype(np.int32).tobytes(), _FASTEST))

    def unpacked(self) -> Classes:
        values = np.frombuffer(zlib.decompress(self.data), np.int32)
        return values.reshape(self.shape).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Sparse:
    """A confusion matrix of one image, where most pairs of classes do not occur."""

    side: int
    places: NDArray[np.int32]
    pixels: Vector

    @classmethod
    def of(cls, matrix: Vector) -> "_Sparse":
        places = np.flatnonzero(matrix).astype(np.int32)
        return cls(len(matrix), places, matrix.ravel()[places])

    def add_to(self, total: Vector) -> None:
        total.ravel()[self.places] += self.pixels


@dataclass(frozen=True, slots=True)
class _Judged:
    """One image.

    Args:
        statistics: By metric.
        confusions: Likewise; None where the metric has none.
        classes: Of the base.
        shared: Of the others: pixels of every class that both agree on, that the base has, and
            that this network has, shape (3, classes).
    """

    statistics: tuple[Vector, ...]
    confusions: tuple[_Sparse | None, ...]
    classes: _Packed | None = None
    shared: NDArray[np.int64] | None = None


def evaluate(
    networks: Sequence[Open],
    items: Sequence[Item],
    metrics: Metrics,
    *,
    read: Read,
    save: Save | None = None,
    progress: Report,
    classes: tuple[str, ...] = (),
    alone: dict[str, tuple[str, ...]] | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Measure networks one after another.

    Args:
        networks: Open each; the first is what the others are compared with.
        items: Images, with truths unless there is no metric.
        metrics: Of a network, which says how its outputs are read; of the same kinds and in the
            same order for each.
        read: Outputs → classes, by which networks agree or not; None where there are none.
        save: Keeps the classes of an item.
        progress: Called as progress(stage, done, total).
        classes: Their names.
        alone: As in `Evaluation`.
        notes: As in `Evaluation`.

    Raises:
        ModcError: A network cannot be opened, or used on any image.
    """
    outcomes: list[Outcome[_Judged]] = []
    scales: list[Sequence[Metric]] = []
    for open_ in networks:
        with open_() as contender:
            base = outcomes[0].found if outcomes else None
            scales.append(metrics(contender))
            judge = partial(_judge, contender, items, scales[-1], read, save, base)
            outcomes.append(run_over(contender, items, judge, progress))
    common = common_of(outcomes)
    judged = [[one.found[number] for number in common] for one in outcomes]
    kept = [[one for one in row if one is not None] for row in judged]
    rows = [
        Row(
            outcome.contender,
            tuple(
                _measured(metric, kept[0] if number else None, mine, place)
                for place, metric in enumerate(scales[number])
            ),
            _agreement(mine) if number else None,
            outcome.per_second,
        )
        for number, (outcome, mine) in enumerate(zip(outcomes, kept, strict=True))
    ]
    return Evaluation(
        base=outcomes[0].contender.name,
        rows=tuple(rows),
        images=tuple(items[number].name for number in common),
        asked=len(items),
        failures=tuple(failure for one in outcomes for failure in one.failures),
        alone=alone or {},
        classes=classes,
        notes=tuple(notes),
    )


def _judge(
    contender: Contender,
    items: Sequence[Item],
    metrics: Sequence[Metric],
    read: Read,
    save: Save | None,
    base: Sequence[_Judged | None] | None,
    number: int,
    outputs: Outputs,
) -> _Judged:
    item = items[number]
    try:
        judged = _measure(metrics, outputs[0], item.truth)
        classes = read(contender, outputs)
    except ValueError as error:
        raise BuildFileError(
            str(error),
            where=str(item.file),
            fix="give a metric that suits this network (--metric), or leave the network out",
        ) from error
    if classes is None:
        return judged
    if save is not None:
        save(contender, item.name, classes)
    if base is None:
        return replace(judged, classes=_Packed.of(classes))
    other = base[number]
    expected = None if other is None or other.classes is None else other.classes.unpacked()
    if expected is None or expected.shape != classes.shape:
        return judged
    return replace(judged, shared=_shared(expected, classes))


def _measure(metrics: Sequence[Metric], output: Tensor, truth: Path | None) -> _Judged:
    if truth is None:
        return _Judged((), ())
    statistics: list[Vector] = []
    confusions: list[_Sparse | None] = []
    for metric in metrics:
        maps = metric.maps(output, truth)
        statistics.append(metric.compared(*maps, truth))
        confusions.append(_Sparse.of(metric.confusion(*maps)) if metric.confusion else None)
    return _Judged(tuple(statistics), tuple(confusions))


def _shared(expected: Classes, classes: Classes) -> NDArray[np.int64]:
    count = int(max(expected.max(), classes.max())) + 1
    same = expected[expected == classes]
    maps = (same, expected, classes)
    return np.stack([np.bincount(one.ravel(), minlength=count) for one in maps])


def _measured(
    metric: Metric, base: Sequence[_Judged] | None, mine: Sequence[_Judged], place: int
) -> Measured:
    statistics = np.stack([one.statistics[place] for one in mine])
    units = metric.units(statistics)
    differences = None
    if base is not None:
        reference = metric.units(np.stack([one.statistics[place] for one in base]))
        differences = difference_intervals(metric.figures, reference, units, total=metric.total)
    total = metric.total(units)
    return Measured(
        Scale(metric.name, metric.title, metric.figure, metric.lower_is_better, metric.nothing),
        figure_intervals(metric.figures, units, total=metric.total),
        differences,
        metric.use(statistics),
        dict(metric.per_class(total)) if metric.per_class else None,
        _confusion([one.confusions[place] for one in mine]),
        tuple(metric.values(statistics[i : i + 1]) for i in range(len(statistics))),
    )


def _confusion(images: Sequence[_Sparse | None]) -> Vector | None:
    total: Vector | None = None
    for one in images:
        if one is not None:
            total = np.zeros((one.side, one.side)) if total is None else total
            one.add_to(total)
    return total


def _agreement(mine: Sequence[_Judged]) -> Agreement | None:
    shared = [one.shared for one in mine if one.shared is not None]
    if len(shared) < len(mine):
        return None
    total = np.zeros((3, max(one.shape[1] for one in shared)), np.int64)
    for one in shared:
        total[:, : one.shape[1]] += one
    same, base, own = total
    iou = 100 * ratio(same, base + own - same)
    if base.sum() == len(mine):  # one class per image
        iou[:] = np.nan
    return Agreement(
        100 * float(same.sum() / base.sum()),
        float(iou[1] if len(iou) == 2 else mean_of_defined(iou)),
        tuple(100 * float(one[0].sum() / one[1].sum()) for one in shared),
    )
