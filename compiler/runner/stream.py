"""Results of an iterable's items, in order, while others are at work.

with stream(paths, prepare=load, infer=run, instances=2) as results:
for result in results:
print(result.index, result.error or result.outputs)
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from compiler.runner.cpu import cpus
from compiler.runner.line import DrainedError, Line, Result, join_thread

In = TypeVar("In")
P = TypeVar("P")
Out = TypeVar("Out")

_ITERABLE_SECONDS: Final = 5.0  # that closing a stream waits for an iterable to give its next item


class Stream(Generic[In, Out]):
    """Results of an iterable's items, in its order; an iterator that can be closed.

    One thread advances the iterable, as the line has places. An exception of the iterable itself
    is raised at its place, after the results of the items before it; then the stream is over.

    Made by `stream`.
    """

    def __init__(self, items: Iterator[In], line: Line[In, Any, Out]) -> None:
        self._line = line
        self._raised: list[BaseException] = []
        self._finalizer = weakref.finalize(self, line.cancel, wait=False)
        self._feeder = threading.Thread(
            target=_feed, args=(items, line, self._raised), name="modc-feed", daemon=True
        )
        self._feeder.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result[In, Out]:
        try:
            return self._line.get()
        except DrainedError:
            join_thread(self._feeder, _ITERABLE_SECONDS)
            if self._raised:
                raise self._raised.pop() from None
            raise StopIteration from None

    def close(self) -> None:
        """Drop what waits, finish what runs, and end the threads.

        The iterable may be at work on its next item: that is waited for at most 5 seconds, and
        its thread ends with the item.
        """
        self._line.cancel()
        join_thread(self._feeder, _ITERABLE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def stream(
    items: Iterable[In],
    *,
    prepare: Callable[[In], P],
    infer: Callable[[Sequence[P]], Sequence[Out]],
    instances: int,
    batch: int = 1,
    queue: int | None = None,
    preparers: int | None = None,
) -> Stream[In, Out]:
    """Stream items through `prepare` and `infer`, several at the same time.

    Args:
        items: Advanced one by one, by one thread, while the line has places.
        prepare: Item → what `infer` takes; thread-safe.
        infer: Prepared items → one output each; thread-safe.
        instances: Samples that are inferred at the same time.
        batch: Samples that a thread of these takes at once.
        queue: Items that are in the line, read ones apart, at most; one more waits for a place.
            None is enough for every thread to have one at work and one waiting.
        preparers: Items that are prepared at the same time; None is one per CPU.

    Raises:
        ValueError: A number below 1.
    """
    iterator = iter(items)
    preparers = preparers or cpus()

    line = Line(
        prepare,
        infer,
        preparers=preparers,
        instances=instances,
        batch=batch,
        queue=queue or 2 * (preparers + instances * batch),
    )
    return Stream(iterator, line)


def _feed(items: Iterator[In], line: Line[In, Any, Any], raised: list[BaseException]) -> None:
    try:
        for item in items:
            line.put(item)
    except BaseException as error:
        if not line.cancelled:
            raised.append(error)
    finally:
        line.close()
