"""One network on all images: decoding, inference and judging overlap, on all CPUs."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from compiler.errors import BundleError, CalibrationError, ModcError
from compiler.pipeline.clock import Report
from compiler.pipeline.evaluation.contenders import Contender, Outputs
from compiler.pipeline.evaluation.result import Failure
from compiler.runner.stream import stream

J = TypeVar("J")

Open: TypeAlias = Callable[[], AbstractContextManager[Contender]]


@dataclass(frozen=True, slots=True)
class Item:
    """Something to run a network on.

    Args:
        name: Different from those of all others.
        file: Image, or line of a datalist.
        truth: What a metric compares with: the mask, or the image itself where its label is known;
            None: nothing.
    """

    name: str
    file: Path
    truth: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[J]):
    """What became of all items with one network.

    Args:
        contender: The network.
        found: One per item; None where it failed.
        failures: Why.
        per_second: Items per second, comparison included.
    """

    contender: Contender
    found: Sequence[J | None]
    failures: tuple[Failure, ...]
    per_second: float


def run_over(
    contender: Contender,
    items: Sequence[Item],
    judge: Callable[[int, Outputs], J],
    progress: Report,
) -> Outcome[J]:
    """Run a network on all items.

    Args:
        contender: The network.
        items: Images.
        judge: Number of an item and the network's outputs → what to keep; called by several
            threads. An error that it raises is the item's.
        progress: Called as progress(stage, done, total).

    Raises:
        ModcError: No item could be used; it tells why the first could not.
    """

    def prepare(numbered: tuple[int, Item]) -> tuple[int, object]:
        return numbered[0], contender.prepare(numbered[1].file)

    def infer(prepared: Sequence[tuple[int, object]]) -> list[J]:
        return [judge(number, contender.infer(feeds)) for number, feeds in prepared]  # type: ignore[arg-type]  # what prepare gave

    found: list[J | None] = []
    failures = []
    start = time.perf_counter()
    with stream(
        enumerate(items), prepare=prepare, infer=infer, instances=contender.instances
    ) as results:
        for item, result in zip(items, results, strict=True):
            found.append(result.outputs)
            if result.error is not None:
                failures.append(Failure(contender.name, item.name, _of_file(result.error, item)))
            progress(f"eval {contender.name}", len(found), len(items))
    if len(failures) == len(items):
        first = failures[0].error
        raise type(first)(
            f"none of {len(items)} could be evaluated: {first.what}",
            where=f"{contender.name}, {first.where}",
            fix=first.fix,
        )
    seconds = time.perf_counter() - start
    return Outcome(contender, found, tuple(failures), len(items) / seconds)


def common_of(outcomes: Sequence[Outcome[J]]) -> list[int]:
    """Numbers of the items that every network could be evaluated on.

    Raises:
        CalibrationError: There is none.
    """
    common = [
        number
        for number in range(len(outcomes[0].found))
        if all(one.found[number] is not None for one in outcomes)
    ]
    if not common:
        raise CalibrationError(
            "no image could be evaluated on every network",
            where=", ".join(one.contender.name for one in outcomes),
            fix="evaluate them one by one, and repair the images that fail",
        )
    return common


def _of_file(error: ModcError, item: Item) -> ModcError:
    """Of what went wrong with an item, a BundleError knows the bundle alone."""
    if isinstance(error, BundleError) or type(error) is ModcError:
        return CalibrationError(error.what, where=str(item.file), fix=error.fix)
    return error
